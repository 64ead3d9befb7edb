package templates

import (
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

// TestDistributions draws values from what the source has, of a server and of an archive: rare ones, and those of rows that are left
// out, are not among them.
func TestDistributions(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE TABLE public.people (id int PRIMARY KEY, generated int GENERATED ALWAYS AS (id) STORED, plan text, city text);
		INSERT INTO people (id, plan, city) SELECT i, CASE WHEN i = 7 THEN 'rare-plan' WHEN i % 10 = 0 THEN E'gold\tand\\more' ELSE 'basic' END, 'city ' || i % 20 FROM generate_series(1, 1000) i;
		CREATE TABLE public.calls (id int, at date, kind text) PARTITION BY RANGE (at);
		CREATE TABLE public.calls_old PARTITION OF calls FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
		CREATE TABLE public.calls_new PARTITION OF calls DEFAULT;
		INSERT INTO calls SELECT i, '2025-02-02', CASE WHEN i % 2 = 0 THEN 'in' ELSE 'out' END FROM generate_series(1, 100) i;
		INSERT INTO calls VALUES (101, '2024-02-02', 'in');
		CREATE TABLE public.dropped (id int PRIMARY KEY, kind text);
		INSERT INTO dropped SELECT i, CASE WHEN i % 2 = 0 THEN 'left-out' WHEN i % 3 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 200) i`)
	const columns = `
  public.people: {columns: {id: keep, plan: resample, city: shuffle}}
  public.calls: {columns: {id: keep, at: keep, kind: resample}}`
	for name, c := range map[string]struct {
		source mayfly.Source
		rules  string
		kinds  string
	}{
		"server with a condition": {mayfly.Source{DSN: endpoint.DSN()}, `{rows: {drop: "kind = 'left-out'"}, columns: {id: keep, kind: resample}}`, "a b"},
		"archive":                 {mayfly.Source{Archive: b.archiveOf(t, endpoint, false)}, `{columns: {id: keep, kind: resample}}`, "a b left-out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := request(t, c.source, "version: 1\ntables:"+columns+"\n  public.dropped: "+c.rules)
			result := b.build(t, req)
			_, template := b.clone(t, req.Template.ID, result.Image)
			for query, want := range map[string]string{
				`SELECT string_agg(DISTINCT plan, '|' ORDER BY plan) FROM people`:                 "basic|gold\tand\\more",
				`SELECT count(*) FILTER (WHERE plan LIKE 'gold%') BETWEEN 40 AND 200 FROM people`: "true",
				`SELECT count(DISTINCT city) FROM people`:                                         "20",
				`SELECT count(*) || string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM calls`:      "101in out",
				`SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM dropped`:                c.kinds,
			} {
				if got := value(t, template, query); got != want {
					t.Errorf("%s: %q, want %q", query, got, want)
				}
			}
		})
	}
}
