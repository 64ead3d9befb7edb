package store_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// second returns another store on the same database: another process of the service.
func (b *bed) second(limits func(string) store.Limits) *store.Store {
	s := store.New(b.pool, recorder{}, slog.New(slog.DiscardHandler))
	s.SetLimits(limits)
	return s
}

func sandbox(project, name, by string) *mayfly.Preview {
	expires := time.Now().Add(time.Hour)
	return &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: project + "-" + name, Project: project, Kind: mayfly.KindSandbox, Generation: 1, CreatedBy: by,
		ExpiresAt: &expires, ReservedMemory: 1 << 30, ReservedDisk: 10 << 30,
	}
}

func (b *bed) log(t *testing.T, f store.AuditFilter) []store.AuditRecord {
	t.Helper()
	records, err := b.AuditLog(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestAuditIsAppendOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	who := mayfly.Actor{Subject: "alice", TokenID: "ab", Address: "192.0.2.7"}
	ctx := mayfly.WithActor(t.Context(), who)
	if err := b.Audit(ctx, store.AuditEntry{Action: "credentials.read", Project: "shop", Kind: "preview", Name: "shop-x"}); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`update audit set actor = 'bob'`, `delete from audit`, `truncate audit`, `truncate audit cascade`,
		`with d as (delete from audit returning 1) select from d`,
		`begin; set local mayfly.forget_audit = 'on'; delete from audit; commit`,
	} {
		if _, err := b.pool.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	got := b.log(t, store.AuditFilter{})
	if len(got) != 1 || got[0].Actor != who || got[0].Outcome != store.AuditDone {
		t.Errorf("the log has %+v", got)
	}

	// Retention takes what is old enough, says so, and leaves the rest.
	if _, err := b.pool.Exec(t.Context(), `insert into audit (at, actor, action) values (now() - interval '90 days', 'old', 'preview.create')`); err != nil {
		t.Fatal(err)
	}
	if n, err := b.ForgetAudit(t.Context(), time.Now(), 0); err != nil || n != 0 {
		t.Errorf("without retention %d entries are forgotten, %v", n, err)
	}
	if n, err := b.ForgetAudit(t.Context(), time.Now(), 60*24*time.Hour); err != nil || n != 1 {
		t.Errorf("%d entries are forgotten, %v", n, err)
	}
	if n, err := b.ForgetAudit(t.Context(), time.Now().Add(365*24*time.Hour), time.Second); err == nil || n != 0 {
		t.Errorf("a wrong clock empties the log: %d, %v", n, err)
	}
	if got := b.log(t, store.AuditFilter{Action: "audit"}); len(got) != 1 || !strings.Contains(string(got[0].Detail), `"entries": 1`) {
		t.Errorf("what retention did: %+v", got)
	}
}

func TestAuditGoesWithTheChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := mayfly.WithActor(t.Context(), mayfly.Actor{Subject: "alice", TokenID: "ab", Address: "192.0.2.7"})
	p := sandbox("shop", "a", "alice")
	if err := b.CreatePreview(ctx, p, store.Limits{}); err != nil {
		t.Fatal(err)
	}
	later := p.ExpiresAt.Add(time.Hour)
	for _, change := range []func(*mayfly.Preview){
		func(*mayfly.Preview) {}, // looked at: no entry
		func(p *mayfly.Preview) { p.ExpiresAt = &later },
		func(p *mayfly.Preview) { p.WantSuspended = true },
		func(p *mayfly.Preview) { p.WantSuspended = false },
		func(p *mayfly.Preview) { p.Generation++; p.PasswordSealed = []byte("new") },
		func(p *mayfly.Preview) { p.PasswordSealed = []byte("newer") },
		func(p *mayfly.Preview) { p.Labels["team"] = "x" },
		func(p *mayfly.Preview) { p.WantDeleted = true },
	} {
		if _, err := b.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error { change(p); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	refused := errors.New("no")
	if _, err := b.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error { p.Generation++; return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range b.log(t, store.AuditFilter{ObjectID: p.ID, Actor: "alice", TokenID: "ab"}) {
		actions = append(actions, r.Action)
	}
	slices.Reverse(actions)
	want := []string{
		"preview.create", "preview.extend", "preview.suspend", "preview.wake", "preview.reset", "credentials.rotate", "preview.label", "preview.delete",
	}
	if !slices.Equal(actions, want) {
		t.Errorf("the log has %v instead of %v", actions, want)
	}
	if got := b.log(t, store.AuditFilter{Action: "preview", Limit: 2}); len(got) != 2 || len(b.log(t, store.AuditFilter{Before: got[1].ID})) != len(want)-2 {
		t.Errorf("pages of the log do not go on: %+v", got)
	}
	if got := b.log(t, store.AuditFilter{Projects: []string{"till"}}); len(got) != 0 {
		t.Errorf("another project sees %+v", got)
	}
	// What cannot be recorded does not happen.
	if _, err := b.pool.Exec(t.Context(), `alter table audit rename to gone`); err != nil {
		t.Fatal(err)
	}
	other := sandbox("shop", "b", "alice")
	if err := b.CreatePreview(ctx, other, store.Limits{}); err == nil {
		t.Error("a preview is made without an entry in the log")
	}
	if _, err := b.PreviewByName(ctx, other.Name); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("and it is there: %v", err)
	}
}

// TestQuotaRaces creates, from two processes, far more at once than any quota allows.
func TestQuotaRaces(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		limits store.Limits
		want   int
	}{
		"server, previews":  {store.Limits{OfServer: store.Quota{Previews: 7}}, 7},
		"project, previews": {store.Limits{OfProject: store.Quota{Previews: 4}}, 8}, // of two projects
		"person, previews":  {store.Limits{OfPerson: store.Quota{Previews: 3}}, 6},  // of two people
		"token, previews":   {store.Limits{OfToken: store.Quota{Previews: 2}}, 2},
		"running":           {store.Limits{OfServer: store.Quota{Running: 5}}, 5},
		"memory":            {store.Limits{OfServer: store.Quota{MemoryBytes: 9<<30 + 5}}, 9},
		"disk":              {store.Limits{OfProject: store.Quota{DiskBytes: 35 << 30}}, 6},
		"lifetime":          {store.Limits{OfPerson: store.Quota{Lifetime: 150 * time.Minute}}, 4},
		"the old ones":      {store.Limits{Project: 3, Total: 5}, 5},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			limits := func(string) store.Limits { return c.limits }
			stores := []*store.Store{b.second(limits), b.second(limits)}
			ctx := mayfly.WithActor(t.Context(), mayfly.Actor{Subject: "ci", TokenID: "one"})
			var wg sync.WaitGroup
			var mu sync.Mutex
			admitted := 0
			for i := range 100 {
				wg.Go(func() {
					p := sandbox([]string{"shop", "till"}[i%2], strconv.Itoa(i), []string{"alice", "bob"}[i/2%2])
					asked := c.limits
					asked.Queue = i%3 == 0
					err := stores[i%2].CreatePreview(ctx, p, asked)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil && p.State == mayfly.PreviewPending:
						admitted++
					case err == nil && p.State == mayfly.PreviewQueued:
					case mayfly.ErrorCode(err) != mayfly.CodeQuotaExceeded || mayfly.ErrorHint(err) == "":
						t.Errorf("neither made, queued nor refused for the quota: %v", err)
					}
				})
			}
			wg.Wait()
			if admitted != c.want {
				t.Errorf("%d previews are admitted, and the quota allows %d", admitted, c.want)
			}
			if n, _, err := stores[0].Promote(t.Context(), nil); n != 0 || err != nil {
				t.Errorf("%d more are let in, %v", n, err)
			}
		})
	}
}

// TestSnapshotsAreDisk makes snapshots until there is no more disk; a preview is not let in then either, until one is deleted.
func TestSnapshotsAreDisk(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	limits := store.Limits{OfPerson: store.Quota{DiskBytes: 35 << 30}}
	s := b.second(func(string) store.Limits { return limits })
	template := &mayfly.Template{ID: mayfly.NewID("t"), Project: "shop"}
	if err := s.CreateTemplate(ctx, template); err != nil {
		t.Fatal(err)
	}
	p := sandbox("shop", "1", "alice") // 10 GiB
	if err := s.CreatePreview(ctx, p, limits); err != nil {
		t.Fatal(err)
	}
	snapshot := func(name, by string, branch bool) (*mayfly.Snapshot, error) {
		n := &mayfly.Snapshot{ID: mayfly.NewID("n"), Name: name, Project: "shop", PreviewID: p.ID, TemplateID: template.ID, CreatedBy: by, Branch: branch}
		return n, s.CreateSnapshot(ctx, nil, n, 20)
	}
	first, err := snapshot("one", "alice", false)
	if _, again := snapshot("two", "alice", false); err != nil || again != nil {
		t.Fatalf("there is room for two snapshots: %v, %v", err, again)
	}
	_, err = snapshot("three", "alice", false)
	code(t, err, mayfly.CodeQuotaExceeded)
	code(t, s.CreatePreview(ctx, sandbox("shop", "2", "alice"), limits), mayfly.CodeQuotaExceeded)
	if _, err := snapshot("four", "bob", false); err != nil {
		t.Errorf("somebody else is refused: %v", err)
	}
	if _, err := snapshot("five", "alice", true); err != nil {
		t.Errorf("the origin of a branch is refused: %v", err)
	}
	if err := s.DeleteSnapshot(ctx, first); err != nil {
		t.Fatal(err)
	}
	if err := s.CreatePreview(ctx, sandbox("shop", "2", "alice"), limits); err != nil {
		t.Errorf("no room after a snapshot was deleted: %v", err)
	}
}

// TestQueueIsFair fills a server with one project's previews and lets two wait; the other project's turn comes first.
func TestQueueIsFair(t *testing.T) {
	t.Parallel()
	b := setup(t)
	limits := store.Limits{OfServer: store.Quota{Previews: 3}, Queue: true}
	s := b.second(func(string) store.Limits { return limits })
	ctx := t.Context()
	create := func(project, name string) *mayfly.Preview {
		t.Helper()
		p := sandbox(project, name, "alice")
		if err := s.CreatePreview(ctx, p, limits); err != nil {
			t.Fatal(err)
		}
		return p
	}
	running := []*mayfly.Preview{create("shop", "1"), create("shop", "2"), create("shop", "3")}
	waiting := []*mayfly.Preview{create("shop", "4"), create("shop", "5"), create("till", "1"), create("till", "2"), create("shop", "6")}
	places, err := s.QueuePlaces(ctx)
	if err != nil || len(places) != 5 {
		t.Fatalf("%v, %v", places, err)
	}
	want := []int{3, 4, 1, 2, 5}
	for i, p := range waiting {
		if p.State != mayfly.PreviewQueued || places[p.ID].Position != want[i] || places[p.ID].Length != 5 || !strings.Contains(places[p.ID].Why, "limit of 3") {
			t.Errorf("%s is %s at %+v instead of %d", p.Name, p.State, places[p.ID], want[i])
		}
	}
	refused := limits
	refused.Queue = false
	if err := s.CreatePreview(ctx, sandbox("blog", "1", "bob"), refused); mayfly.ErrorCode(err) != mayfly.CodeQuotaExceeded {
		t.Errorf("somebody who does not queue: %v", err)
	}
	end := func(p *mayfly.Preview) {
		t.Helper()
		p.State = mayfly.PreviewDeleted
		if err := s.Observe(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	for len(order) < 5 {
		end(running[0])
		running = running[1:]
		// Several processes look at the queue at the same time: one preview is let in.
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, _, err := s.Promote(ctx, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, p := range waiting {
			now, err := s.Preview(ctx, p.ID)
			if err != nil {
				t.Fatal(err)
			}
			if now.State == mayfly.PreviewPending && !slices.Contains(order, p.Name) {
				order = append(order, p.Name)
				running = append(running, now)
				if now.QueuedAt != nil || !now.ExpiresAt.After(*p.ExpiresAt) {
					t.Errorf("%s waits on its own time: %v, %v", p.Name, now.ExpiresAt, p.ExpiresAt)
				}
			}
		}
	}
	// Each time the project's turn comes that has fewer running; with as many of both, the one that has waited for longer.
	if strings.Join(order, " ") != "till-1 shop-4 shop-5 till-2 shop-6" {
		t.Errorf("they are let in as %v", order)
	}
}

// TestQueueOfOneProject keeps a project's own quota from holding up others, and a full machine from letting anybody in.
func TestQueueOfOneProject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	of := func(project string) store.Limits {
		if project == "shop" {
			return store.Limits{OfProject: store.Quota{Previews: 1}, Queue: true}
		}
		return store.Limits{Queue: true}
	}
	s := b.second(of)
	states := func(previews ...*mayfly.Preview) string {
		var out []string
		for _, p := range previews {
			now, err := s.Preview(t.Context(), p.ID)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(now.State))
		}
		return strings.Join(out, " ")
	}
	first, second, other := sandbox("shop", "1", "a"), sandbox("shop", "2", "a"), sandbox("till", "1", "a")
	for _, p := range []*mayfly.Preview{first, second, other} {
		if err := s.CreatePreview(t.Context(), p, of(p.Project)); err != nil {
			t.Fatal(err)
		}
	}
	if got := states(first, second, other); got != "pending queued pending" {
		t.Errorf("the previews are %s", got)
	}
	full := mayfly.Errorf(mayfly.CodePoolFull, "the pool is full")
	limits := of("till")
	limits.Full = full
	third := sandbox("till", "2", "a")
	if err := s.CreatePreview(t.Context(), third, limits); err != nil || third.State != mayfly.PreviewQueued {
		t.Errorf("with a full pool: %s, %v", third.State, err)
	}
	limits.Queue = false
	if err := s.CreatePreview(t.Context(), sandbox("till", "3", "a"), limits); mayfly.ErrorCode(err) != mayfly.CodePoolFull {
		t.Errorf("with a full pool, without the queue: %v", err)
	}
	if n, held, err := s.Promote(t.Context(), full); n != 0 || !errors.Is(held, full) || err != nil {
		t.Errorf("%d, %v, %v", n, held, err)
	}
	if n, _, err := s.Promote(t.Context(), nil); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := states(first, second, other, third); got != "pending queued pending pending" {
		t.Errorf("the previews are %s", got)
	}
}

// TestWakingIsBounded lets a quota of running previews decide about waking, and one of lifetime about extending.
func TestWakingIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	limits := store.Limits{OfServer: store.Quota{Running: 1}, OfPerson: store.Quota{Lifetime: 3 * time.Hour}, Queue: true}
	s := b.second(func(string) store.Limits { return limits })
	asleep, awake := sandbox("shop", "1", "a"), sandbox("shop", "2", "a")
	if err := s.CreatePreview(t.Context(), asleep, limits); err != nil {
		t.Fatal(err)
	}
	want := func(suspended bool) error {
		_, err := s.ChangePreview(t.Context(), asleep.ID, func(p *mayfly.Preview) error { p.WantSuspended = suspended; return nil })
		return err
	}
	if err := want(true); err != nil {
		t.Fatal(err)
	}
	if err := s.CreatePreview(t.Context(), awake, limits); err != nil || awake.State != mayfly.PreviewQueued {
		t.Errorf("while the first is still being stopped: %s, %v", awake.State, err)
	}
	asleep.State, asleep.ObservedGeneration = mayfly.PreviewSuspended, 1
	if err := s.Observe(t.Context(), asleep); err != nil {
		t.Fatal(err)
	}
	if n, _, err := s.Promote(t.Context(), nil); n != 1 || err != nil {
		t.Errorf("once it is: %d, %v", n, err)
	}
	err := want(false)
	if reached := store.ReachedQuota(err); reached == nil || reached.What != "running" || reached.Scope != store.OfServer {
		t.Errorf("waking it: %v", err)
	}
	extend := func(by time.Duration) error {
		_, err := s.ChangePreview(t.Context(), awake.ID, func(p *mayfly.Preview) error {
			until := p.ExpiresAt.Add(by)
			p.ExpiresAt = &until
			return nil
		})
		return err
	}
	if err := extend(30 * time.Minute); err != nil {
		t.Error(err)
	}
	if reached := store.ReachedQuota(extend(2 * time.Hour)); reached == nil || reached.What != "lifetime" {
		t.Errorf("extending beyond the quota: %v", reached)
	}
}

func TestTokensAreOnRecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now().Truncate(time.Second)
	used := store.TokenRecord{ID: strings.Repeat("a1", 16), Subject: "ci", Scopes: []string{"previews:read"}, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
	ctx := mayfly.WithActor(context.Background(), mayfly.Actor{Subject: "ci", TokenID: used.ID, Address: "192.0.2.1"})
	for range 3 {
		if err := b.TokenUsed(ctx, used, now); err != nil {
			t.Fatal(err)
		}
	}
	made := used
	made.ID, made.CreatedBy = strings.Repeat("b2", 16), "admin"
	if err := b.RecordToken(ctx, made); err != nil {
		t.Fatal(err)
	}
	if err := b.RevokeToken(ctx, used.ID, used.ExpiresAt); err != nil {
		t.Fatal(err)
	}
	tokens, err := b.Tokens(ctx, now, 10)
	if err != nil || len(tokens) != 2 {
		t.Fatalf("%+v, %v", tokens, err)
	}
	for _, token := range tokens {
		if token.Revoked != (token.ID == used.ID) || (token.LastUsedAt == nil) != (token.ID == made.ID) {
			t.Errorf("%+v", token)
		}
	}
	var actions []string
	for _, r := range b.log(t, store.AuditFilter{Action: "token"}) {
		actions = append(actions, r.Action)
	}
	if !slices.Equal(actions, []string{"token.revoke", "token.create", "token.first_use"}) {
		t.Errorf("the log has %v", actions)
	}
	if err := b.PurgeTokens(ctx, now.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if revoked, err := b.TokenRevoked(ctx, used.ID); revoked || err != nil {
		t.Errorf("what expired long ago is remembered as revoked: %v", err)
	}
}

// TestQueueIsBounded lets one person ask for more than may wait: what waits counts against no quota, but costs everybody who asks after it.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	limits := store.Limits{OfServer: store.Quota{Previews: 1}, Queue: true}
	s := b.second(func(string) store.Limits { return limits })
	ctx := t.Context()
	for i := range store.MaxWaiting + 1 {
		if err := s.CreatePreview(ctx, sandbox("shop", strconv.Itoa(i), "mallory"), limits); err != nil {
			t.Fatalf("preview %d: %v", i, err)
		}
	}
	if err := s.CreatePreview(ctx, sandbox("shop", "more", "mallory"), limits); mayfly.ErrorCode(err) != mayfly.CodeQuotaExceeded {
		t.Errorf("one more may wait: %v", err)
	}
	if err := s.CreatePreview(ctx, sandbox("shop", "other", "alice"), limits); err != nil {
		t.Errorf("somebody else may not: %v", err)
	}
}
