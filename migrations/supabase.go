package migrations

import (
	"cmp"
	"context"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// supabase follows `supabase db push` of the Supabase CLI 2.
type supabase struct{}

var (
	supabaseName = regexp.MustCompile(`^([0-9]+)_(.*)\.sql$`)
	supabaseInit = regexp.MustCompile(`^([0-9]{14})_init\.sql$`)
	// standsAlone finds the statements that cannot run in a transaction.
	standsAlone = regexp.MustCompile(`(?is)^\s*(create\s+(unique\s+)?index\s+concurrently|drop\s+index\s+concurrently|reindex\s.*concurrently|vacuum|` +
		`alter\s+table\s.*detach\s+partition\s.*concurrently)\b`)
)

func (supabase) rules() rules {
	return rules{gaps: gapRefuse, refuseMissing: true, gapHint: "push with --include-all where production is migrated, which Mayfly does not do"}
}

func (supabase) compare(a, b string) int { return cmp.Compare(a, b) }

func (s supabase) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	for i, f := range filesIn(settings, files) {
		base := path.Base(f.Path)
		match := supabaseName.FindStringSubmatch(base)
		if init := supabaseInit.FindStringSubmatch(base); i == 0 && init != nil && init[1] < "20211209000000" {
			history.Findings = append(history.Findings, ignored(f.Path, "the CLI skips an old _init.sql that comes first"))
			continue
		}
		if match == nil {
			history.Findings = append(history.Findings, ignored(f.Path, "its name is not <timestamp>_<name>.sql"))
			continue
		}
		m := Migration{Version: match[1], Name: match[2], Up: &f, refused: badName(f)}
		statements := supabaseStatements(string(f.Content))
		m.NoTransaction = len(statements) == 1 && standsAlone.MatchString(stripComments(string(f.Content)))
		history.Migrations = append(history.Migrations, m)
	}
	history.order(s.compare)
	return history, nil
}

// stripComments leaves the first statement of a text without the comments before it.
func stripComments(text string) string {
	for _, p := range sqlsplit.Counted(sqlsplit.Split(text, true)) {
		return text[p.First:p.Last]
	}
	return ""
}

// supabaseStatements cuts a file as SplitAndTrim of the CLI does: comments stay with the statement behind them.
func supabaseStatements(text string) []span {
	var statements []span
	for _, p := range sqlsplit.Split(text, true) {
		s := trimSpan(text, span{p.Begin, p.End})
		for s.end > s.begin && text[s.end-1] == ';' {
			s.end--
		}
		if s = trimSpan(text, s); s.end > s.begin {
			statements = append(statements, s)
		}
	}
	return statements
}

func (supabase) table() trackingTable {
	return trackingTable{schema: "supabase_migrations", name: "schema_migrations"}
}

func (s supabase) readState(ctx context.Context, conn *pgx.Conn, _ mayfly.MigrationSettings) (State, error) {
	return readApplied(ctx, conn, s.table(), `SELECT version FROM `+s.table().quoted()+` ORDER BY version COLLATE "C"`, scanVersion)
}

func (s supabase) prepare(ctx context.Context, r *run) error {
	r.table = s.table()
	for _, statement := range []string{
		`CREATE SCHEMA IF NOT EXISTS supabase_migrations`,
		`CREATE TABLE IF NOT EXISTS ` + r.table.quoted() + ` (version text NOT NULL PRIMARY KEY)`,
		`ALTER TABLE ` + r.table.quoted() + ` ADD COLUMN IF NOT EXISTS statements text[]`,
		`ALTER TABLE ` + r.table.quoted() + ` ADD COLUMN IF NOT EXISTS name text`,
	} {
		state, err := readApplied(ctx, r.conn, r.table, "", nil)
		if err != nil {
			return err
		}
		if state.Exists && !strings.HasPrefix(statement, "ALTER") { // the role need not be allowed to create schemas
			continue
		}
		if err := r.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func (supabase) script(m Migration) (script, error) {
	text := string(m.Up.Content)
	return script{text: text, queries: supabaseStatements(text), transaction: !m.NoTransaction}, nil
}

// migrate resets the session first: a dump begins with SET search_path = ”.
func (s supabase) migrate(ctx context.Context, r *run, m Migration, text script) (outcome, *Failure) {
	err := r.exec(ctx, `RESET ALL`)
	if err == nil {
		err = r.setTimeouts(ctx)
	}
	if err != nil {
		return outcome{err: err}, r.failure(m, "the session could not be reset: ", err)
	}
	return r.standard(ctx, m, text, s.record)
}

func (supabase) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	text := string(m.Up.Content)
	statements := []string{}
	for _, s := range supabaseStatements(text) {
		statements = append(statements, text[s.begin:s.end])
	}
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` (version, name, statements) VALUES ($1, $2, $3)`, m.Version, m.Name, statements)
}
