package templates

import (
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// oldSQL is what PostgreSQL 10 knows.
const oldSQL = `
CREATE TABLE people (id serial PRIMARY KEY, email text NOT NULL UNIQUE, born date, tags text[], extra jsonb);
INSERT INTO people (email, born, tags, extra) SELECT 'p' || i || '@secret-corp.test', date '1970-01-01' + i, ARRAY['a', NULL, ''], '{"k": [1, null]}' FROM generate_series(1, 3000) i;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, mood mood, n positive);
INSERT INTO notes (person, mood, n) SELECT i, 'glad', i FROM generate_series(1, 100) i;
CREATE TABLE events (at date NOT NULL, person int) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2010-01-01') TO ('2020-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2030-01-01');
CREATE INDEX events_new_at ON events_new (at);
INSERT INTO events SELECT date '2015-01-01' + i * 10, i FROM generate_series(1, 300) i;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON notes FOR EACH ROW EXECUTE PROCEDURE touch();
CREATE VIEW names AS SELECT id, email FROM people;
CREATE MATERIALIZED VIEW heads AS SELECT count(*) AS n FROM people;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON notes USING (person > 0);`

const oldRules = `version: 1
tables:
  public.people: {columns: {id: keep, email: email, born: keep, tags: keep, extra: keep}}
  public.notes: {columns: {id: keep, person: keep, mood: keep, n: keep}}
  public.events_old: {columns: {at: keep, person: keep}}
  public.events_new: {columns: {at: keep, person: keep}}
`

// TestOldServers builds from servers that there are no images of. MAYFLY_TEST_OLD_SERVERS has connection strings of
// superusers, separated by blanks: "postgres://postgres@127.0.0.1:5410/postgres".
func TestOldServers(t *testing.T) {
	t.Parallel()
	servers := strings.Fields(os.Getenv("MAYFLY_TEST_OLD_SERVERS"))
	if len(servers) == 0 {
		t.Skip("MAYFLY_TEST_OLD_SERVERS names no server")
	}
	b := newBed(t)
	for _, dsn := range servers {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			admin, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = admin.Close(t.Context()) }()
			database := "test_" + strings.ToLower(rand.Text())
			if _, err := admin.Exec(t.Context(), "CREATE DATABASE "+database); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
					_, _ = conn.Exec(t.Context(), "DROP DATABASE "+database)
				}
			})
			config := admin.Config()
			config.Database = database
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			if _, err := conn.Exec(t.Context(), oldSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
			source := strings.TrimSuffix(dsn, "/postgres") + "/" + database
			result := b.build(t, request(t, mayfly.Source{DSN: source}, oldRules))
			report := result.Report
			if report.Rows != 3400 || report.Source.Connections != 2 {
				t.Errorf("%s: %d rows were read by %d connections; want 3400 by 2", report.Source.ServerVersion, report.Rows, report.Source.Connections)
			}
			if report.Verification == nil || len(report.Verification.Differences) > 0 {
				t.Errorf("%s: the verification found %+v", report.Source.ServerVersion, report.Verification)
			}
			if codes := findingCodes(report.Findings); slices.Contains(codes, codeSnapshotNotShared) {
				t.Errorf("%s: findings are %v", report.Source.ServerVersion, codes)
			}
			t.Logf("built from PostgreSQL %s", report.Source.ServerVersion)
		})
	}
}
