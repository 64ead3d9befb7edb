package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/cluster"
)

const (
	// listed is how many previews there are when lists are measured.
	listed = 10_000
	// apiCalls is how many calls of each kind are measured at least: a p99 needs them.
	apiCalls = 200
)

// measureAPI measures lists of many previews, credentials, and branches. The many previews are rows in the state database of previews that
// sleep: a list reads nothing else.
func (b *bench) measureAPI(ctx context.Context) error {
	c, err := b.service.create(ctx, b.sizeProjects()[0])
	if err != nil {
		return err
	}
	state, err := b.service.stateDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = state.Close(context.WithoutCancel(ctx)) }()
	if err := fillList(ctx, state); err != nil {
		return err
	}
	calls := max(apiCalls, b.n)
	if err := b.measureLists(ctx, calls); err != nil {
		return err
	}
	credentials, err := timed(calls, func() error { _, err := b.service.api.Credentials(ctx, c.preview.Name); return err })
	if err != nil {
		return err
	}
	b.record(credentials.result("api_credentials_ms", "ms"), map[string]any{"what": "GET …/credentials, its entry in the audit log included", "previews": listed})
	if _, err := state.Exec(ctx, `delete from preview where project = 'many'`); err != nil {
		return fmt.Errorf("remove the many previews: %w", err)
	}
	if err := b.measureBranch(ctx, c); err != nil {
		return err
	}
	return b.service.remove(ctx, c.preview.Name)
}

// stateDatabase connects to the service's own state.
func (s *service) stateDatabase(ctx context.Context) (*pgx.Conn, error) {
	instances, err := s.engine.List(ctx, map[string]string{"role": "state"})
	if err != nil || len(instances) != 1 {
		return nil, errors.Join(err, fmt.Errorf("there are %d state databases", len(instances)))
	}
	conn, err := cluster.Connect(ctx, s.engine, instances[0].ID, "mayfly")
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "set search_path = mayfly")
	return conn, err
}

func fillList(ctx context.Context, state *pgx.Conn) error {
	_, err := state.Exec(ctx, `
		insert into preview (id, name, project, kind, state, want_suspended, observed_generation, labels, created_by, created_at, expires_at, last_used_at)
		select 'p' || md5(n::text), 'many-' || n, 'many', 'sandbox', 'suspended', true, 1, jsonb_build_object('team', 't' || n % 20), 'person' || n % 50,
			now() - n * interval '1 second', now() + n % 1000 * interval '1 hour' + interval '1 day', now() - n % 777 * interval '1 minute'
		from generate_series(1, $1) n`, listed)
	if err == nil {
		_, err = state.Exec(ctx, "analyze preview")
	}
	if err != nil {
		return fmt.Errorf("make many previews: %w", err)
	}
	return nil
}

func (b *bench) measureLists(ctx context.Context, calls int) error {
	for _, l := range []struct {
		name, what string
		options    client.ListOptions
	}{
		{"api_list_first_page_ms", "GET /previews, the first 100", client.ListOptions{}},
		{"api_list_by_expiry_ms", "GET /previews?sort=expires&order=desc, the first 100", client.ListOptions{Sort: "expires", Descending: true}},
		{"api_list_by_use_ms", "GET /previews?sort=last_used, the first 100", client.ListOptions{Sort: "last_used"}},
		{"api_list_label_ms", "GET /previews?label=team=t7, the first 100 of 500", client.ListOptions{Labels: []string{"team=t7"}}},
		{"api_list_name_ms", "GET /previews?q=99, the first 100", client.ListOptions{Query: "99"}},
	} {
		times, err := timed(calls, func() error {
			page, err := b.service.api.ListPreviews(ctx, l.options)
			if err == nil && len(page.Items) < 100 {
				err = fmt.Errorf("a page of %d", len(page.Items))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
		b.record(times.result(l.name, "ms"), map[string]any{"what": l.what, "previews": listed})
	}
	return nil
}

// timed calls do so many times, after a few that do not count.
func timed(calls int, do func() error) (series, error) {
	const warmUp = 5
	var s series
	for i := range calls + warmUp {
		began := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		if i >= warmUp {
			s.addMS(time.Since(began))
		}
	}
	return s, nil
}

// measureBranch branches a preview that somebody is connected to, whose statements tell for how long it was held.
func (b *bench) measureBranch(ctx context.Context, c *created) error {
	var answered, ready, longest series
	for range max(5, b.n/2) {
		conn, err := connectURL(ctx, c.credentials.URL)
		if err != nil {
			return err
		}
		watching, stop := context.WithCancel(ctx)
		pause := make(chan time.Duration, 1)
		go func() { pause <- longestStatement(watching, conn) }()
		began := time.Now()
		branch, err := b.service.api.CreatePreview(ctx, client.CreatePreview{Project: b.sizeProjects()[0], From: c.preview.Name})
		answered.addMS(time.Since(began))
		if err == nil {
			_, err = b.service.api.WaitReady(ctx, branch.Name, "")
		}
		ready.addMS(time.Since(began))
		stop()
		longest.addMS(<-pause)
		err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
		if err == nil {
			err = b.service.remove(ctx, branch.Name)
		}
		if err != nil {
			return fmt.Errorf("branch: %w", err)
		}
	}
	conditions := func(what string) map[string]any { return map[string]any{"what": what, "template": b.sizes[0].String()} }
	b.record(answered.result("branch_answered_ms", "ms"), conditions("POST /previews with from, until the data of the moment is kept"))
	b.record(ready.result("branch_ready_ms", "ms"), conditions("the same until the branch is ready"))
	b.record(longest.result("branch_pause_ms", "ms"), conditions("the longest SELECT 1 of a client of the source meanwhile"))
	return nil
}

func longestStatement(ctx context.Context, conn *pgx.Conn) time.Duration {
	var longest time.Duration
	for ctx.Err() == nil {
		began := time.Now()
		if _, err := conn.Exec(context.WithoutCancel(ctx), "select 1"); err != nil {
			return time.Hour // it shows: a client must not notice more than a pause
		}
		longest = max(longest, time.Since(began))
	}
	return longest
}
