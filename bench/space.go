package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const mib = 1 << 20

// settle is how long a preview has nothing to do before its memory is measured.
const settle = 3 * time.Second

// measureSpace makes previews and looks at what each takes: of the pool when fresh, of memory when idle, of the pool after an
// update of a hundredth of its rows.
func (b *bench) measureSpace(ctx context.Context) error {
	n := max(10, b.n/2)
	all := make([]*created, 0, n)
	var fresh, idle, updated series
	free, err := freeBytes(b.service.poolDir())
	if err != nil {
		return err
	}
	for range n {
		c, err := b.service.create(ctx, b.sizeProjects()[0])
		if err != nil {
			return err
		}
		all = append(all, c)
		if err := b.taken(&free, &fresh); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	for _, c := range all {
		memory, err := b.service.engine.Memory(ctx, c.instance())
		if err != nil {
			return err
		}
		idle.add(float64(memory) / mib)
	}
	if free, err = freeBytes(b.service.poolDir()); err != nil {
		return err
	}
	for _, c := range all {
		if err := b.updateHundredth(ctx, c); err != nil {
			return err
		}
		if err := b.taken(&free, &updated); err != nil {
			return err
		}
	}
	template := b.sizes[0].String()
	b.record(fresh.result("preview_disk_mib", "MiB"), map[string]any{
		"template": template, "what": "free space of the pool that creating a preview and SELECT 1 took, after syncing, one preview after the other",
	})
	b.record(updated.result("preview_disk_update_mib", "MiB"), map[string]any{
		"template": template, "what": "free space of the pool that updating 1% of the rows of pgbench_accounts in one range took, after suspending and syncing",
	})
	b.record(idle.result("preview_idle_mib", "MiB"), map[string]any{
		"template": template, "what": fmt.Sprintf("memory of the container's control group without the page cache, %s after its last connection", settle),
	})
	var names []string
	for _, c := range all {
		names = append(names, c.preview.Name)
	}
	return b.service.removeAll(ctx, names)
}

// taken adds what the pool has less than before.
func (b *bench) taken(free *int64, to *series) error {
	now, err := freeBytes(b.service.poolDir())
	if err != nil {
		return err
	}
	to.add(float64(*free-now) / mib)
	*free = now
	return nil
}

// instance is the engine's name of the preview's first generation.
func (c *created) instance() string { return fmt.Sprintf("%s-%d", c.preview.ID, c.preview.Generation) }

// updateHundredth updates a range of rows, and suspends the preview so that all of it reaches the volume.
func (b *bench) updateHundredth(ctx context.Context, c *created) error {
	conn, err := connectURL(ctx, c.credentials.URL)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid <= (SELECT max(aid) / 100 FROM pgbench_accounts)`)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("update %s: %w", c.preview.Name, err)
	}
	return b.service.suspend(ctx, c.preview.Name)
}

// measureHundred makes many previews one after the other and keeps them all.
func (b *bench) measureHundred(ctx context.Context) error {
	n := 100
	if b.quick {
		n = 10
	}
	var names []string
	var each series
	before, err := freeBytes(b.service.poolDir())
	if err != nil {
		return err
	}
	began := time.Now()
	for range n {
		c, err := b.service.create(ctx, b.sizeProjects()[0])
		if err != nil {
			return err
		}
		names = append(names, c.preview.Name)
		each.addMS(c.answered.Sub(c.began))
	}
	var total series
	total.add(time.Since(began).Seconds())
	after, err := freeBytes(b.service.poolDir())
	if err != nil {
		return err
	}
	conditions := map[string]any{
		"template": b.sizes[0].String(), "previews": n, "pool_mib": round(float64(before-after) / mib),
		"what": "previews created one after the other, each until its first SELECT 1, all kept",
	}
	b.record(total.result("clone_100_s", "s"), conditions)
	b.record(each.result("clone_100_each_ms", "ms"), conditions)
	return b.service.removeAll(ctx, names)
}
