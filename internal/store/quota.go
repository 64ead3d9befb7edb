package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// Quota bounds what previews may use together. Zero fields are unbounded.
type Quota struct {
	// Previews are those that are not deleted, Running those of them that are not suspended.
	Previews, Running int
	// DiskBytes is what all of them may write by their own limits, MemoryBytes what the running ones may use by theirs.
	DiskBytes, MemoryBytes int64
	// Lifetime is how long all of them may live from creation to expiry, taken together. One without an end counts what it has lived.
	Lifetime time.Duration
}

// Limits are checked, under one lock, in the transactions that create previews, promote queued ones, wake and extend.
type Limits struct {
	// Project and Total are the same as Previews of OfProject and OfServer.
	Project, Total int
	// OfServer is for all previews, OfProject for those of one project, OfPerson and OfToken for those of one creator, and of one token.
	OfServer, OfProject, OfPerson, OfToken Quota
	// Queue stores a preview that there is no room for as queued. Otherwise it is CodeQuotaExceeded.
	Queue bool
	// Full, if not nil, is why the machine has no room for any other preview now.
	Full error
}

// SetLimits says which limits a project's previews have. It is called before the store is used. nil, or no call, is for no limits.
func (s *Store) SetLimits(of func(project string) Limits) { s.limits = of }

func (s *Store) limitsOf(project string) Limits {
	if s.limits == nil {
		return Limits{}
	}
	return s.limits(project)
}

// QuotaError says which limit was reached. It is the cause of an error with CodeQuotaExceeded.
type QuotaError struct {
	Scope QuotaScope
	// What is "previews", "running", "disk", "memory" or "lifetime".
	What string
}

// Error implements error.
func (e *QuotaError) Error() string { return "quota of " + e.What + " of the " + string(e.Scope) }

// QuotaScope is whose previews a quota is for.
type QuotaScope string

// The scopes of quotas.
const (
	OfServer  QuotaScope = "server"
	OfProject QuotaScope = "project"
	OfPerson  QuotaScope = "person"
	OfToken   QuotaScope = "token"
)

// claim is what a preview uses, or would.
type claim struct {
	id, project, person, token string
	previews, runs             int
	disk, memory               int64
	lifetime                   time.Duration
}

// claimOf returns what a preview that runs uses.
func claimOf(p *mayfly.Preview, now time.Time) claim {
	c := claim{
		id: p.ID, project: p.Project, person: p.CreatedBy, token: p.CreatedToken, previews: 1, runs: 1, disk: p.ReservedDisk, memory: p.ReservedMemory,
	}
	created := p.CreatedAt
	if created.IsZero() {
		created = now
	}
	if p.ExpiresAt != nil {
		c.lifetime = p.ExpiresAt.Sub(created)
	}
	return c
}

// usage is what all live previews use, in groups of the same project, person and token.
type usage struct {
	groups []claim
	// byProject counts the previews that run, for fairness.
	byProject map[string]int
}

func (u *usage) add(c claim) {
	u.groups = append(u.groups, c)
	u.byProject[c.project] += c.runs
}

// running is what holds a machine's memory: also what is being stopped or removed, until it is.
const running = `not (want_suspended and state = 'suspended')`

const lockRoom = `select pg_advisory_xact_lock(hashtextextended('create preview', 0))`

func readUsage(ctx context.Context, tx pgx.Tx) (*usage, error) {
	rows, err := tx.Query(ctx, `
		select project, created_by, created_token, count(*), count(*) filter (where `+running+`), coalesce(sum(reserved_disk), 0)::bigint,
			coalesce(sum(reserved_memory) filter (where `+running+`), 0)::bigint,
			coalesce(sum(extract(epoch from coalesce(expires_at, now()) - created_at)), 0)::float8
		from preview where state not in ('deleted', 'queued') group by project, created_by, created_token`)
	if err != nil {
		return nil, err
	}
	u := &usage{byProject: map[string]int{}}
	var c claim
	var seconds float64
	_, err = pgx.ForEachRow(rows, []any{&c.project, &c.person, &c.token, &c.previews, &c.runs, &c.disk, &c.memory, &seconds}, func() error {
		c.lifetime = time.Duration(seconds * float64(time.Second))
		u.add(c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return u, u.addSnapshots(ctx, tx)
}

// addSnapshots counts as much disk for a snapshot as for the preview that it is of: that is what it may keep of its own. The
// origins of branches are not counted: nobody asked for them, and nobody can delete them.
func (u *usage) addSnapshots(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		select snapshot.project, snapshot.created_by, sum(preview.reserved_disk)::bigint
		from snapshot join preview on preview.id = snapshot.preview_id
		where snapshot.state <> 'deleted' and not branch group by snapshot.project, snapshot.created_by`)
	if err != nil {
		return err
	}
	var c claim
	_, err = pgx.ForEachRow(rows, []any{&c.project, &c.person, &c.disk}, func() error {
		u.add(c)
		return nil
	})
	return err
}

// admit returns nil if there is room for one more, or for the change that c is, and the limit that there is not, otherwise.
func (u *usage) admit(c claim, l Limits) error {
	if l.Full != nil {
		return l.Full
	}
	server, project := l.OfServer, l.OfProject
	server.Previews, project.Previews = tighter(server.Previews, l.Total), tighter(project.Previews, l.Project)
	for _, bound := range []struct {
		scope QuotaScope
		quota Quota
		same  func(claim) bool
		skip  bool
	}{
		{OfServer, server, func(claim) bool { return true }, false},
		{OfProject, project, func(g claim) bool { return g.project == c.project }, false},
		{OfPerson, l.OfPerson, func(g claim) bool { return g.person == c.person }, c.person == ""},
		{OfToken, l.OfToken, func(g claim) bool { return g.token == c.token }, c.token == ""},
	} {
		if bound.skip || bound.quota == (Quota{}) {
			continue
		}
		sum := c
		for _, g := range u.groups {
			if bound.same(g) {
				sum.previews, sum.runs, sum.disk = sum.previews+g.previews, sum.runs+g.runs, sum.disk+g.disk
				sum.memory, sum.lifetime = sum.memory+g.memory, sum.lifetime+g.lifetime
			}
		}
		if err := bound.quota.check(bound.scope, c, sum); err != nil {
			return err
		}
	}
	return nil
}

func tighter(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// check compares a sum with the quota. Only what the claim raises counts: whoever is over a quota that was lowered may still wake a
// preview if that is not what the quota is about.
func (q Quota) check(scope QuotaScope, c, sum claim) error {
	switch {
	case q.Previews > 0 && c.previews > 0 && sum.previews > q.Previews:
		return exceeded(scope, "previews", c, fmt.Sprintf("%d previews", q.Previews))
	case q.Running > 0 && c.runs > 0 && sum.runs > q.Running:
		return exceeded(scope, "running", c, fmt.Sprintf("%d running previews", q.Running))
	case q.DiskBytes > 0 && c.disk > 0 && sum.disk > q.DiskBytes:
		return exceeded(scope, "disk", c, fmt.Sprintf("%d MiB of disk", q.DiskBytes>>20))
	case q.MemoryBytes > 0 && c.memory > 0 && sum.memory > q.MemoryBytes:
		return exceeded(scope, "memory", c, fmt.Sprintf("%d MiB of memory", q.MemoryBytes>>20))
	case q.Lifetime > 0 && c.lifetime > 0 && sum.lifetime > q.Lifetime:
		return exceeded(scope, "lifetime", c, fmt.Sprintf("%s of lifetime", q.Lifetime))
	}
	return nil
}

func exceeded(scope QuotaScope, what string, c claim, limit string) error {
	whose := map[QuotaScope]string{
		OfServer: "this server", OfProject: "project " + c.project, OfPerson: c.person, OfToken: "this token",
	}[scope]
	hint := map[string]string{
		"previews": "remove one with mayfly rm", "running": "suspend one with mayfly suspend", "disk": "remove one with mayfly rm, or a snapshot with mayfly snapshot rm",
		"memory": "suspend one with mayfly suspend", "lifetime": "remove one with mayfly rm, or ask for a shorter --ttl",
	}[what]
	err := mayfly.Errorf(mayfly.CodeQuotaExceeded, "%s is at its limit of %s", whose, limit).
		WithHint("%s, or raise quotas.%s.%s in the server's configuration", hint, scope, what)
	err.Err = &QuotaError{Scope: scope, What: what}
	return err
}

// checkChange checks that a change of a preview does not exceed a limit: waking it takes memory, extending it lifetime.
func (s *Store) checkChange(ctx context.Context, tx pgx.Tx, before, after *mayfly.Preview) error {
	limits := s.limitsOf(after.Project)
	if limits.unbounded() || after.WantDeleted || before.State == mayfly.PreviewQueued {
		return nil
	}
	c := claim{project: after.Project, person: after.CreatedBy, token: after.CreatedToken}
	if before.WantSuspended && before.State == mayfly.PreviewSuspended && !after.WantSuspended {
		c.runs, c.memory = 1, after.ReservedMemory
	}
	if before.ExpiresAt != nil && after.ExpiresAt != nil && after.ExpiresAt.After(*before.ExpiresAt) {
		c.lifetime = after.ExpiresAt.Sub(*before.ExpiresAt)
	}
	if c.runs == 0 && c.lifetime == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, lockRoom); err != nil {
		return err
	}
	u, err := readUsage(ctx, tx)
	if err != nil {
		return err
	}
	return u.admit(c, limits)
}

// ReachedQuota returns which quota an error is about, nil for any other error.
func ReachedQuota(err error) *QuotaError {
	var reached *QuotaError
	if errors.As(err, &reached) {
		return reached
	}
	return nil
}
