package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// recorder is an Enqueuer that writes into a table, so that a test sees what was enqueued, and that it was part of the
// transaction.
type recorder struct{}

func (recorder) record(ctx context.Context, tx pgx.Tx, job string) error {
	_, err := tx.Exec(ctx, `insert into job (what) values ($1)`, job)
	return err
}

func (r recorder) Converge(ctx context.Context, tx pgx.Tx, id string) error {
	return r.record(ctx, tx, "converge "+id)
}

func (r recorder) PullRequest(ctx context.Context, tx pgx.Tx, repositoryID int64, number int) error {
	return r.record(ctx, tx, fmt.Sprintf("pull request %d %d", repositoryID, number))
}

func (r recorder) Publish(ctx context.Context, tx pgx.Tx, id string, settled bool) error {
	return r.record(ctx, tx, fmt.Sprintf("publish %s %v", id, settled))
}

func (r recorder) Delivery(ctx context.Context, tx pgx.Tx, id string) error {
	return r.record(ctx, tx, "delivery "+id)
}

func (r recorder) BuildTemplate(ctx context.Context, tx pgx.Tx, id string) error {
	return r.record(ctx, tx, "build "+id)
}

func (r recorder) Outgoing(ctx context.Context, tx pgx.Tx, id, target string) error {
	return r.record(ctx, tx, "outgoing "+id+" "+target)
}

type bed struct {
	*store.Store
	pool *pgxpool.Pool
}

func setup(t *testing.T) *bed {
	t.Helper()
	server := pgtest.Cluster(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.DatabaseLike(t, "state", migrate)))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := store.Connect(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &bed{Store: store.New(pool, recorder{}, slog.New(slog.DiscardHandler)), pool: pool}
}

// migrate makes the schema as several processes do that start together, and the recorder's table.
func migrate(ctx context.Context, dsn string) error {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return err
	}
	pool, err := store.Connect(ctx, config, "")
	if err != nil {
		return err
	}
	defer pool.Close()
	var processes errgroup.Group
	for range 4 {
		processes.Go(func() error { return store.Migrate(ctx, pool) })
	}
	if err := processes.Wait(); err != nil {
		return err
	}
	_, err = pool.Exec(ctx, `create table job (id bigint generated always as identity, what text)`)
	return err
}

func (b *bed) jobs(t *testing.T) []string {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), `select what from job order by id`)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func pullRequest(name string, number int) *mayfly.Preview {
	return &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: name, Project: "shop", Kind: mayfly.KindPullRequest, Generation: 1,
		PR: &mayfly.PullRequest{RepositoryID: 7, Number: number, Repository: "acme/shop", HeadSHA: "a1"},
	}
}

func code(t *testing.T, err error, want mayfly.Code) {
	t.Helper()
	if mayfly.ErrorCode(err) != want {
		t.Errorf("error %v has code %q, not %q", err, mayfly.ErrorCode(err), want)
	}
}

func TestPreviewLife(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	p := pullRequest("shop-pr-1", 1)
	p.Labels = map[string]string{"a": "b"}
	if err := b.CreatePreview(ctx, p, store.Limits{}); err != nil {
		t.Fatal(err)
	}
	code(t, b.CreatePreview(ctx, pullRequest("shop-pr-1", 2), store.Limits{}), mayfly.CodeConflict)
	code(t, b.CreatePreview(ctx, pullRequest("other", 1), store.Limits{}), mayfly.CodeConflict)

	got, err := b.PreviewByPullRequest(ctx, "shop", 7, 1)
	if err != nil || got.ID != p.ID || got.State != mayfly.PreviewPending || got.PR.HeadSHA != "a1" || got.Labels["a"] != "b" {
		t.Fatalf("read back %+v, %v", got, err)
	}
	changed, err := b.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error {
		p.PR.HeadSHA, p.Generation, p.State = "a2", 2, mayfly.PreviewReady
		return nil
	})
	if err != nil || changed.PR.HeadSHA != "a2" {
		t.Fatalf("change: %+v, %v", changed, err)
	}
	if got, _ = b.Preview(ctx, p.ID); got.State != mayfly.PreviewPending {
		t.Errorf("ChangePreview wrote the observed state %s", got.State)
	}
	got.State, got.ObservedGeneration, got.ObservedSHA = mayfly.PreviewReady, 2, "a2"
	got.PR.HeadSHA = "stale"
	if err := b.Observe(ctx, got); err != nil {
		t.Fatal(err)
	}
	if got, _ = b.Preview(ctx, p.ID); got.PR.HeadSHA != "a2" || !got.Settled() {
		t.Errorf("Observe wrote what should be, or the preview is not settled: %+v", got)
	}
	refused := errors.New("no")
	if _, err := b.ChangePreview(ctx, p.ID, func(*mayfly.Preview) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("an error of the change is not returned: %v", err)
	}
	want := []string{"converge " + p.ID, "converge " + p.ID, "publish " + p.ID + " true"}
	if jobs := b.jobs(t); fmt.Sprint(jobs) != fmt.Sprint(want) {
		t.Errorf("jobs %v, not %v", jobs, want)
	}

	got.State = mayfly.PreviewDeleted
	if err := b.Observe(ctx, got); err != nil {
		t.Fatal(err)
	}
	_, err = b.PreviewByName(ctx, "shop-pr-1")
	code(t, err, mayfly.CodeNotFound)
	if err := b.CreatePreview(ctx, pullRequest("shop-pr-1", 1), store.Limits{}); err != nil {
		t.Errorf("the name of a deleted preview cannot be used again: %v", err)
	}
}

func TestLimitsHoldInARace(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for i := range 30 {
		wg.Go(func() {
			p := &mayfly.Preview{ID: mayfly.NewID("p"), Name: fmt.Sprintf("shop-%d", i), Project: "shop", Kind: mayfly.KindSandbox, Generation: 1}
			err := b.CreatePreview(ctx, p, store.Limits{Project: 5})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else if mayfly.ErrorCode(err) != mayfly.CodeQuotaExceeded {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if created != 5 {
		t.Errorf("%d previews were created under a limit of 5", created)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	for i := range 7 {
		if err := b.CreatePreview(ctx, pullRequest(fmt.Sprintf("shop-pr-%d", i+1), i+1), store.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	var after *store.Position
	for {
		page, err := b.Previews(ctx, store.Filter{Project: "shop", Page: store.Page{After: after, Limit: 3}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page {
			names = append(names, p.Name)
		}
		if len(page) < 3 {
			break
		}
		last := store.PreviewPosition(page[len(page)-1], "")
		after = &last
	}
	if fmt.Sprint(names) != "[shop-pr-1 shop-pr-2 shop-pr-3 shop-pr-4 shop-pr-5 shop-pr-6 shop-pr-7]" {
		t.Errorf("pages give %v", names)
	}
	if hidden, err := b.Previews(ctx, store.Filter{Projects: []string{"other"}}); err != nil || len(hidden) != 0 {
		t.Errorf("%d previews of a project that may not be seen, %v", len(hidden), err)
	}
}

func TestDeliveriesAreStoredOnce(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	d := store.Delivery{ID: "d1", Event: "pull_request", Action: "opened", RepositoryID: 7, Number: 1, Payload: []byte("{\"a\":\"\\u0000\"}")}
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range 10 {
		wg.Go(func() {
			ok, err := b.AcceptDelivery(ctx, d)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				fresh++
			}
		})
	}
	wg.Wait()
	if fresh != 1 || len(b.jobs(t)) != 1 {
		t.Errorf("%d of 10 equal deliveries were fresh; jobs: %v", fresh, b.jobs(t))
	}
	if err := b.FinishDelivery(ctx, "d1", store.DeliveryDone, "", 7, []int{1}); err != nil {
		t.Fatal(err)
	}
	got, err := b.Delivery(ctx, "d1")
	if err != nil || got.State != store.DeliveryDone || string(got.Payload) != string(d.Payload) {
		t.Errorf("read back %+v, %v", got, err)
	}
	if jobs := b.jobs(t); jobs[len(jobs)-1] != "pull request 7 1" {
		t.Errorf("jobs %v", jobs)
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	_, err := b.LatestTemplate(ctx, "shop")
	code(t, err, mayfly.CodeNoTemplate)
	first := &mayfly.Template{ID: mayfly.NewID("t"), Project: "shop", Database: "shop", Owner: "app", Source: "live"}
	if err := b.CreateTemplate(ctx, first); err != nil {
		t.Fatal(err)
	}
	code(t, b.CreateTemplate(ctx, &mayfly.Template{ID: mayfly.NewID("t"), Project: "shop", Source: "live"}), mayfly.CodeConflict)
	now := time.Now()
	first.State, first.ReadyAt, first.Report = mayfly.TemplateReady, &now, []byte(`{"tables":[]}`)
	if err := b.UpdateTemplate(ctx, first); err != nil {
		t.Fatal(err)
	}
	second := &mayfly.Template{ID: mayfly.NewID("t"), Project: "shop", Source: "live"}
	if err := b.CreateTemplate(ctx, second); err != nil || second.Version != 2 {
		t.Fatalf("second template: version %d, %v", second.Version, err)
	}
	second.State, second.Failure = mayfly.TemplateFailed, &mayfly.Failure{Code: mayfly.CodeSourceInvalid, Message: "truncated"}
	if err := b.UpdateTemplate(ctx, second); err != nil {
		t.Fatal(err)
	}
	latest, err := b.LatestTemplate(ctx, "shop")
	if err != nil || latest.ID != first.ID || len(latest.Report) == 0 {
		t.Errorf("latest is %+v, %v", latest, err)
	}
	p := pullRequest("shop-pr-1", 1)
	p.TemplateID = first.ID
	if err := b.CreatePreview(ctx, p, store.Limits{}); err != nil {
		t.Fatal(err)
	}
	if used, err := b.TemplateInUse(ctx, first.ID); err != nil || !used {
		t.Errorf("in use: %v, %v", used, err)
	}
	if got, _ := b.Preview(ctx, p.ID); got.TemplateVersion != 1 {
		t.Errorf("template version of the preview is %d", got.TemplateVersion)
	}
}

func TestLockIsLostWithItsProcess(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	unlock, err := b.Lock(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := b.TryLock(ctx, "x"); ok || err != nil {
		t.Fatalf("the lock was taken twice: %v, %v", ok, err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := b.Lock(short, "x"); err == nil {
		t.Fatal("the lock was taken twice")
	}
	// A process that dies loses its connections; here the server ends the one that holds the lock.
	_, err = b.pool.Exec(ctx, `select pg_terminate_backend(pid) from pg_locks
		where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())`)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Lock(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	unlock() // finds its lock lost, and does no harm to the second holder
	if _, ok, _ := b.TryLock(ctx, "x"); ok {
		t.Error("releasing a lost lock released somebody else's")
	}
	second()
	third, ok, err := b.TryLock(ctx, "x")
	if !ok || err != nil {
		t.Fatalf("a released lock cannot be taken: %v, %v", ok, err)
	}
	third()
}

func TestWatchTellsOfEveryChange(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	w := b.NewWatcher()
	go w.Run(ctx)
	p := pullRequest("shop-pr-1", 1)
	changes, stop := w.Watch(p.ID)
	defer stop()
	await := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing was told after %s", what)
		}
	}
	await("connecting")
	if err := b.CreatePreview(ctx, p, store.Limits{}); err != nil {
		t.Fatal(err)
	}
	await("creation")
	id, err := b.BeginStep(ctx, p.ID, "clone", "v1")
	if err != nil {
		t.Fatal(err)
	}
	await("a step began")
	if err := b.EndStep(ctx, id, "", "failed"); err != nil {
		t.Fatal(err)
	}
	await("a step ended")
	steps, err := b.Steps(ctx, p.ID)
	if err != nil || len(steps) != 1 || steps[0].Detail != "v1" || steps[0].Error != "failed" || steps[0].FinishedAt == nil {
		t.Errorf("timeline %+v, %v", steps, err)
	}
	_, err = b.pool.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen mayfly' and datname = current_database()`)
	if err != nil {
		t.Fatal(err)
	}
	await("the connection was lost and made again")
}

func TestClaim(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	refusal := errors.New("refused")
	var refused string
	for range 2 { // a refusal leaves no trace
		err := b.Claim(ctx, "i1", func(database string, first bool) error {
			if !first || database == refused {
				t.Errorf("claim after a refusal: first %v, the database is called %s both times", first, database)
			}
			refused = database
			return refusal
		})
		if !errors.Is(err, refusal) {
			t.Fatalf("a claim that was refused ended with %v", err)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	ids, firsts := map[string]bool{}, 0
	for range 8 {
		wg.Go(func() {
			err := b.Claim(ctx, "i1", func(database string, first bool) error {
				mu.Lock()
				defer mu.Unlock()
				ids[database] = true
				if first {
					firsts++
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || firsts != 1 || ids[""] {
		t.Errorf("claims at once saw the ids %v, and %d of them were the first", ids, firsts)
	}
	code(t, b.Claim(ctx, "i2", func(string, bool) error {
		t.Error("the database of another installation was offered")
		return nil
	}), mayfly.CodeConflict)
}

func TestDeadDatabaseSaysSo(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig("postgres://u:hunter2@127.0.0.1:1/x?connect_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Connect(t.Context(), config, "")
	code(t, err, mayfly.CodeStateUnavailable)
	if err != nil && mayfly.ErrorHint(err) == "" {
		t.Error("no hint")
	}
}
