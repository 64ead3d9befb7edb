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
)

// dbmate follows github.com/amacneil/dbmate/v2 v2.28.0 with PostgreSQL, without --strict.
type dbmate struct{}

// dbmateTable is the default of --migrations-table.
const dbmateTable = "schema_migrations"

var (
	dbmateName = regexp.MustCompile(`^(\d+).*\.sql$`)
	dbmateUp   = regexp.MustCompile(`(?m)^--\s*migrate:up(\s*$|\s+\S+)`)
	dbmateDown = regexp.MustCompile(`(?m)^--\s*migrate:down(\s*$|\s+\S+)`)
)

func (dbmate) rules() rules { return rules{gaps: gapRun} }

func (dbmate) compare(a, b string) int { return cmp.Compare(a, b) }

func (dbmate) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	for _, f := range filesIn(settings, files) { // in the order of names, as the tool has it
		base := path.Base(f.Path)
		match := dbmateName.FindStringSubmatch(base)
		if match == nil {
			history.Findings = append(history.Findings, ignored(f.Path, "its name is not <version>_<title>.sql"))
			continue
		}
		m := Migration{
			Version: match[1], Up: &f, refused: badName(f),
			Name: strings.TrimLeft(strings.TrimSuffix(strings.TrimPrefix(base, match[1]), ".sql"), "_-. "),
		}
		if s, err := parseDbmate(string(f.Content)); err == nil {
			m.NoTransaction = !s.transaction
		}
		history.Migrations = append(history.Migrations, m)
	}
	history.markDuplicates()
	return history, nil
}

func (dbmate) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, dbmateTable)
	if err != nil {
		return State{}, err
	}
	return readApplied(ctx, conn, table, `SELECT version FROM `+table.quoted()+` ORDER BY version COLLATE "C"`, scanVersion)
}

// scanVersion reads a row of a tracking table that has nothing but versions.
func scanVersion(row pgx.CollectableRow) (Applied, error) {
	var a Applied
	err := row.Scan(&a.Version)
	return a, err
}

func (dbmate) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, dbmateTable)
	if err != nil || exists {
		return err
	}
	if err := r.exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{r.table.schema}.Sanitize()); err != nil && r.plan.table != "" {
		return err
	}
	return r.exec(ctx, `CREATE TABLE IF NOT EXISTS `+r.table.quoted()+` (version varchar PRIMARY KEY)`)
}

func (dbmate) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` (version) VALUES ($1)`, m.Version)
}

func (dbmate) script(m Migration) (script, error) {
	s, err := parseDbmate(string(m.Up.Content))
	if err != nil {
		return script{}, inFile(*m.Up, err)
	}
	return s, nil
}

// parseDbmate finds the up block as parseMigrationContents of the tool does. The block is sent as one query.
func parseDbmate(text string) (script, error) {
	const hint = "dbmate refuses the file, too"
	up, down := dbmateUp.FindStringIndex(text), dbmateDown.FindStringIndex(text)
	switch {
	case up == nil:
		return script{}, &lineError{line: 1, text: "the file has no '-- migrate:up' line", hint: hint}
	case down == nil:
		return script{}, &lineError{line: strings.Count(text, "\n") + 1, text: "the file has no '-- migrate:down' line", hint: hint}
	case up[0] > down[0]:
		return script{}, &lineError{line: strings.Count(text[:down[0]], "\n") + 1, text: "'-- migrate:down' comes before '-- migrate:up'", hint: hint}
	}
	for i, line := range strings.Split(text[:up[0]], "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			return script{}, &lineError{line: i + 1, text: "SQL before the '-- migrate:up' line", hint: hint}
		}
	}
	return dbmateBlock(text, span{up[0], down[0]}), nil
}

// dbmateBlock is one of the two blocks of a file.
func dbmateBlock(text string, part span) script {
	s := script{text: text, transaction: true}
	block := text[part.begin:part.end]
	if strings.TrimSpace(block) != "" {
		s.queries = []span{part}
	}
	first, _, _ := strings.Cut(block, "\n")
	for option := range strings.FieldsSeq(first) {
		if value, ok := strings.CutPrefix(option, "transaction:"); ok {
			s.transaction = value != "false"
		}
	}
	return s
}
