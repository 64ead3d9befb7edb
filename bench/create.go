package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// sqlConnect connects as an application would, and returns with the first result.
func sqlConnect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, err := conn.PgConn().Exec(ctx, "SELECT 1").ReadAll(); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// connectURL is sqlConnect for a connection string.
func connectURL(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	return sqlConnect(ctx, config)
}

// created is a preview that was just made, and when what happened.
type created struct {
	preview     *client.Preview
	credentials *client.Credentials
	began       time.Time // before the request
	told        time.Time // the client has the credentials
	answered    time.Time // the client has the first result
}

// create makes a preview and connects to it at once: the gateway lets the client wait until it is there.
func (s *service) create(ctx context.Context, project string) (*created, error) {
	c := &created{began: time.Now()}
	var err error
	if c.preview, err = s.api.CreatePreview(ctx, client.CreatePreview{Project: project}); err != nil {
		return nil, err
	}
	if c.credentials, err = s.api.Credentials(ctx, c.preview.Name); err != nil {
		return nil, err
	}
	c.told = time.Now()
	conn, err := connectURL(ctx, c.credentials.URL)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.preview.Name, err)
	}
	c.answered = time.Now()
	return c, conn.Close(ctx)
}

// parts are where the time of a creation goes: from the timeline of the API, and the gaps around it.
type parts struct {
	names []string
	times map[string]*series
}

func (p *parts) addMS(name string, d time.Duration) {
	if p.times == nil {
		p.times = map[string]*series{}
	}
	if p.times[name] == nil {
		p.times[name] = &series{}
		p.names = append(p.names, name)
	}
	p.times[name].addMS(d)
}

// take reads the timeline of a preview and adds its parts.
func (p *parts) take(ctx context.Context, s *service, c *created) error {
	full, err := s.api.Preview(ctx, c.preview.Name)
	if err != nil {
		return err
	}
	if full.ReadyAt == nil || len(full.Steps) == 0 {
		return fmt.Errorf("%s answered, but has no timeline", full.Name)
	}
	p.addMS("request", c.told.Sub(c.began))
	p.addMS("queue", full.Steps[0].StartedAt.Sub(full.CreatedAt))
	for _, step := range full.Steps {
		p.addMS("step_"+step.Name, time.Duration(step.DurationMS*float64(time.Millisecond)))
	}
	p.addMS("steps", full.ReadyAt.Sub(full.Steps[0].StartedAt))
	p.addMS("connect", c.answered.Sub(*full.ReadyAt))
	return nil
}

func (p *parts) record(b *bench, prefix string, conditions map[string]any) {
	for _, name := range p.names {
		b.record(p.times[name].result(prefix+strings.ReplaceAll(name, " ", "_")+"_ms", "ms"), conditions)
	}
}

const coldConditions = "from POST /api/v1/previews to the first SELECT 1 through the gateway over TLS, credentials fetched in between; nothing prepared; " +
	"one at a time, deletion outside of the time"

// measureCreate makes previews of every size in turn, each beside a bare clone, and deletes them.
func (b *bench) measureCreate(ctx context.Context) error {
	cold := make([]series, len(b.sizes))
	bare := make([]series, len(b.sizes))
	var deletes series
	var ours, floor parts
	for i := range b.n + 1 {
		for j, project := range b.sizeProjects() {
			c, err := b.service.create(ctx, project)
			if err != nil {
				return err
			}
			if i > 0 && j == 0 {
				if err := ours.take(ctx, b.service, c); err != nil {
					return err
				}
			}
			began := time.Now()
			if err := b.service.remove(ctx, c.preview.Name); err != nil {
				return err
			}
			gone := time.Since(began)
			var theirs parts
			if err := b.bareClone(ctx, &theirs, project, i); err != nil {
				return err
			}
			if i == 0 {
				continue // files, pages and connections are warm after the first
			}
			cold[j].addMS(c.answered.Sub(c.began))
			bare[j] = append(bare[j], (*theirs.times["total"])...)
			if j > 0 {
				continue
			}
			deletes.addMS(gone)
			for _, name := range theirs.names {
				floor.addMS(name, time.Duration((*theirs.times[name])[0]*float64(time.Millisecond)))
			}
		}
	}
	b.recordCreate(cold, bare, deletes, &ours, &floor)
	return nil
}

func (b *bench) recordCreate(cold, bare []series, deletes series, ours, floor *parts) {
	const bareText = "bare clone: reflink, container create, start, ready, one after the other by driver calls"
	for j, s := range b.sizes {
		name := "create_cold_ms"
		if j > 0 {
			name = "create_cold_" + s.key + "_ms"
		}
		b.record(cold[j].result(name, "ms").beside(bareText, bare[j]), map[string]any{"template": s.String(), "what": coldConditions})
	}
	if last := len(b.sizes) - 1; last > 0 {
		b.record(ratioOf(cold[last], cold[0], "create_cold_"+b.sizes[last].key+"_over_"+b.sizes[0].key),
			map[string]any{"what": "create_cold of the larger template by that of the smaller one, measured in turn"})
	}
	first := map[string]any{"template": b.sizes[0].String()}
	ours.record(b, "create_part_", first)
	floor.record(b, "create_floor_", first)
	b.record(deletes.result("delete_ms", "ms"), map[string]any{"template": b.sizes[0].String(), "what": "from the DELETE request until nothing of it is left"})
}

// ratioOf divides what belongs together: medians by medians, worst by worst.
func ratioOf(ours, theirs series, name string) Result {
	o, t := ours.result(name, "ratio"), theirs.result(name, "ratio")
	r := Result{Name: name, Unit: "ratio", N: o.N, Min: round(o.Min / t.Min), P50: round(o.P50 / t.P50), P99: round(o.P99 / t.P99), Max: round(o.Max / t.Max)}
	r.Baseline = &Baseline{What: "the smaller template, in ms", P50: t.P50}
	r.Ratio = r.P50
	return r
}

// bareClone does by direct calls what a preview cannot do without, waiting for each before the next, and cleans up.
func (b *bench) bareClone(ctx context.Context, times *parts, project string, i int) error {
	id := "bare-" + strconv.Itoa(i)
	began := time.Now()
	last := began
	lap := func(name string) {
		now := time.Now()
		times.addMS(name, now.Sub(last))
		last = now
	}
	if err := b.service.pool.Clone(ctx, b.templates[project], id, 0); err != nil {
		return err
	}
	lap("clone")
	if err := b.engine.Create(ctx, b.bareSpec(id)); err != nil {
		return err
	}
	lap("create")
	if err := b.engine.Start(ctx, id); err != nil {
		return err
	}
	lap("start")
	conn, err := b.awaitBare(ctx, id)
	if err != nil {
		return err
	}
	lap("ready")
	times.addMS("total", last.Sub(began))
	return errors.Join(conn.Close(ctx), b.removeBare(ctx, id))
}

func (b *bench) bareSpec(id string) driver.InstanceSpec {
	return driver.InstanceSpec{
		ID: id, Image: b.image.ID, Volume: id, Args: cluster.Args(cluster.Preview), Labels: map[string]string{"role": "bench"},
		Limits: driver.Limits{MemoryBytes: 1 << 30, CPUs: 2, Pids: 256},
	}
}

func (b *bench) awaitBare(ctx context.Context, id string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return cluster.WaitReady(ctx, b.engine, id, "app", nil)
}

func (b *bench) removeBare(ctx context.Context, id string) error {
	return errors.Join(b.engine.Remove(ctx, id), b.service.pool.Delete(ctx, id))
}

// measureWake suspends a preview and connects to it, again and again; beside it, a container that is stopped and started.
func (b *bench) measureWake(ctx context.Context) error {
	project := b.sizeProjects()[0]
	c, err := b.service.create(ctx, project)
	if err != nil {
		return err
	}
	config, err := pgx.ParseConfig(c.credentials.URL)
	if err != nil {
		return err
	}
	const id = "bare-wake"
	if err := b.service.pool.Clone(ctx, b.templates[project], id, 0); err != nil {
		return err
	}
	if err := b.engine.Create(ctx, b.bareSpec(id)); err != nil {
		return err
	}
	var ours, theirs series
	for range b.n {
		if err := b.service.suspend(ctx, c.preview.Name); err != nil {
			return err
		}
		began := time.Now()
		conn, err := sqlConnect(ctx, config)
		if err != nil {
			return fmt.Errorf("wake %s: %w", c.preview.Name, err)
		}
		ours.addMS(time.Since(began))
		if err := errors.Join(conn.Close(ctx), b.bareWake(ctx, id, &theirs)); err != nil {
			return err
		}
	}
	b.record(ours.result("wake_ms", "ms").beside("bare start of a stopped container, until ready, by driver calls", theirs), map[string]any{
		"template": b.sizes[0].String(), "what": "from connecting to a suspended preview until the first SELECT 1 through the gateway over TLS",
	})
	return errors.Join(b.removeBare(ctx, id), b.service.remove(ctx, c.preview.Name))
}

func (b *bench) bareWake(ctx context.Context, id string, times *series) error {
	began := time.Now()
	if err := b.engine.Start(ctx, id); err != nil {
		return err
	}
	conn, err := b.awaitBare(ctx, id)
	if err != nil {
		return err
	}
	times.addMS(time.Since(began))
	return errors.Join(conn.Close(ctx), b.engine.Stop(ctx, id, 30*time.Second))
}
