package migrations

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// drizzle follows the migrator of drizzle-orm 0.45 for PostgreSQL, which drizzle-kit migrate uses, too.
type drizzle struct{}

const (
	drizzleSchema     = "drizzle"
	drizzleTable      = "__drizzle_migrations"
	drizzleJournal    = "meta/_journal.json"
	drizzleBreakpoint = "--> statement-breakpoint"
)

// drizzleEntry is one migration in the journal.
type drizzleEntry struct {
	Idx int `json:"idx"`
	// When is in milliseconds since 1970. It decides what is applied.
	When json.Number `json:"when"`
	Tag  string      `json:"tag"`
}

func (drizzle) rules() rules { return rules{gaps: gapSkip, oneTransaction: true} }

func (drizzle) compare(a, b string) int { return compareNumbers(a, b) }

func (d drizzle) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	byPath := map[string]File{}
	var journal *File
	for _, f := range filesBelow(settings, files) {
		switch {
		case f.Path == path.Join(dir, drizzleJournal):
			journal = &f
		case path.Dir(f.Path) == dir && strings.HasSuffix(f.Path, ".sql"):
			byPath[f.Path] = f
		}
	}
	if journal == nil {
		if len(byPath) == 0 {
			return history, nil
		}
		return nil, invalid("drizzle-kit generate writes it; it belongs into the repository",
			"%s: the directory has migrations and no %s", dir, drizzleJournal)
	}
	entries, err := readDrizzleJournal(*journal)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		m, err := d.migration(dir, e, byPath)
		if err != nil {
			return nil, err
		}
		history.Migrations = append(history.Migrations, m)
		delete(byPath, m.file())
	}
	for _, f := range filesIn(settings, files) {
		if _, left := byPath[f.Path]; left {
			history.Findings = append(history.Findings, ignored(f.Path, drizzleJournal+" does not list it: drizzle never runs it"))
		}
	}
	history.markDuplicates()
	return history, nil
}

func readDrizzleJournal(f File) ([]drizzleEntry, error) {
	var journal struct {
		Dialect string         `json:"dialect"`
		Entries []drizzleEntry `json:"entries"`
	}
	if err := json.Unmarshal(f.Content, &journal); err != nil {
		return nil, invalid("drizzle refuses the file, too; after a merge it may have conflict markers", "%s is not a journal of drizzle: %v", f.Path, err)
	}
	if journal.Dialect != "" && journal.Dialect != "postgresql" && journal.Dialect != "pg" {
		return nil, invalid("the migrations were generated for another database", "%s: the dialect is %q, not postgresql", f.Path, excerpt(journal.Dialect, 40))
	}
	return journal.Entries, nil
}

func (drizzle) migration(dir string, e drizzleEntry, byPath map[string]File) (Migration, error) {
	when, err := strconv.ParseFloat(e.When.String(), 64)
	if err != nil || when < 0 || when != math.Trunc(when) || when > 1<<53 {
		return Migration{}, invalid("it is a time in milliseconds", "%s: the entry %q has no time that could be read",
			path.Join(dir, drizzleJournal), excerpt(e.Tag, 80))
	}
	file := path.Join(dir, e.Tag+".sql")
	f, ok := byPath[file]
	if !ok || path.Base(e.Tag) != e.Tag {
		return Migration{}, invalid("drizzle stops there, too: bring the file back, or take the entry out of the journal",
			"%s lists %q, and there is no such file", path.Join(dir, drizzleJournal), excerpt(e.Tag, 80)+".sql")
	}
	sum := sha256.Sum256(f.Content)
	return Migration{
		Version: strconv.FormatInt(int64(when), 10), Name: e.Tag, Up: &f, Checksum: hex.EncodeToString(sum[:]), refused: badName(f),
	}, nil
}

// find completes the name of the tracking table, which is in a schema of its own.
func (drizzle) find(setting string) (trackingTable, error) {
	if setting == "" {
		return trackingTable{schema: drizzleSchema, name: drizzleTable}, nil
	}
	if schema, name, dotted := strings.Cut(setting, "."); dotted && !strings.Contains(setting, `"`) {
		return trackingTable{schema: schema, name: name}, nil
	}
	table, err := parseTrackingTable(setting)
	if table.schema == "" {
		table.schema = drizzleSchema
	}
	return table, err
}

func (d drizzle) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := d.find(settings.Table)
	if err != nil {
		return State{}, err
	}
	query := `SELECT created_at, hash FROM ` + table.quoted() + ` WHERE created_at IS NOT NULL ORDER BY created_at, id`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var when int64
		var a Applied
		err := row.Scan(&when, &a.Checksum)
		a.Version = strconv.FormatInt(when, 10) // the time is that of the file, not that of the run
		return a, err
	})
}

func (d drizzle) prepare(ctx context.Context, r *run) error {
	var err error
	if r.table, err = d.find(r.plan.table); err != nil {
		return err
	}
	state, err := readApplied(ctx, r.conn, r.table, "", nil)
	if err != nil || state.Exists {
		return err
	}
	var schemaExists bool
	err = r.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`, pgx.QueryExecModeExec, r.table.schema).Scan(&schemaExists)
	if err != nil {
		return fmt.Errorf("look for the schema of the tracking table: %w", err)
	}
	if !schemaExists {
		if err := r.exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{r.table.schema}.Sanitize()); err != nil {
			return err
		}
	}
	return r.exec(ctx, `CREATE TABLE IF NOT EXISTS `+r.table.quoted()+` (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint)`)
}

// script cuts the file at the breakpoints, which is all that the tool does. A part may hold several statements.
func (drizzle) script(m Migration) (script, error) {
	text := string(m.Up.Content)
	s := script{text: text, transaction: true}
	for at := 0; ; {
		end := strings.Index(text[at:], drizzleBreakpoint)
		if end < 0 {
			s.queries = appendPart(s.queries, text, span{at, len(text)})
			return s, nil
		}
		s.queries = appendPart(s.queries, text, span{at, at + end})
		at += end + len(drizzleBreakpoint)
	}
}

// appendPart appends a part of a text, unless it is blank.
func appendPart(parts []span, text string, part span) []span {
	if part = trimSpan(text, part); part.end > part.begin {
		return append(parts, part)
	}
	return parts
}

func (drizzle) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` ("hash", "created_at") VALUES ($1, $2)`, m.Checksum, m.Version)
}
