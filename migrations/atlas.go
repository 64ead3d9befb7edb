package migrations

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// atlas follows `atlas migrate apply` of Atlas (ariga.io/atlas v0.32) with a versioned directory in its own format.
type atlas struct{}

const (
	atlasTable = "atlas_schema_revisions" // and the schema it is in by default
	atlasLock  = "atlas_migrate_execute"
	// atlasCloudID is a row of the table that is no revision.
	atlasCloudID = ".atlas_cloud_identifier"
	// The bits of column type.
	atlasBaseline = 1
	atlasExecute  = 2
)

// atlasFile is what Migration.own holds.
type atlasFile struct {
	hash       string // as the sum file has it, without "h1:"
	checkpoint bool
	// fromCheckpoint is the version of the last checkpoint of the directory, "" without one: a new database starts there.
	fromCheckpoint string
}

func (atlas) rules() rules {
	return rules{gaps: gapRefuse, gapHint: "run `atlas migrate rebase`, or apply with --exec-order where production is migrated, which Mayfly does not do"}
}

func (atlas) compare(a, b string) int { return cmp.Compare(a, b) }

func (a atlas) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	var sum *File
	var list []File
	for _, f := range filesIn(settings, files) {
		switch {
		case path.Base(f.Path) == atlasSumName:
			sum = &f
		case strings.HasSuffix(f.Path, ".sql"):
			list = append(list, f)
		default:
			history.Findings = append(history.Findings, ignored(f.Path, "its name does not end in .sql"))
		}
	}
	hashes := atlasHashes(list)
	broken := checkAtlasSum(sum, list, hashes)
	checkpoint := ""
	for _, f := range list {
		version, name := atlasVersion(f)
		own := atlasFile{hash: hashes[f.Path], checkpoint: len(atlasDirective(f, "checkpoint")) > 0}
		if own.checkpoint {
			checkpoint = version
		}
		m := Migration{Version: version, Name: name, Up: &f, refused: cmp.Or(badName(f), broken), own: own}
		mode, err := atlasTxMode(f)
		m.NoTransaction = mode == "none"
		m.refused = cmp.Or(m.refused, err)
		history.Migrations = append(history.Migrations, m)
	}
	for i := range history.Migrations {
		own, _ := history.Migrations[i].own.(atlasFile)
		own.fromCheckpoint = checkpoint
		history.Migrations[i].own = own
	}
	history.markDuplicates() // the tool orders by the whole name
	return history, nil
}

// atlasVersion splits a file name as LocalFile of the tool does.
func atlasVersion(f File) (version, description string) {
	version, description, _ = strings.Cut(strings.TrimSuffix(path.Base(f.Path), ".sql"), "_")
	return version, description
}

// atlasDirective returns the values of a directive of the file: in the comments at its top that an empty line parts from
// the statements.
func atlasDirective(f File, name string) []string {
	var values, comments []string
	text := string(f.Content)
	for strings.HasPrefix(text, "#") || strings.HasPrefix(text, "--") {
		line, rest, more := strings.Cut(text, "\n")
		comments = append(comments, strings.TrimSpace(line))
		if text = rest; !more {
			break
		}
	}
	if text != "" && !strings.HasPrefix(strings.TrimLeft(text, " \t"), "\n") {
		return nil
	}
	for _, line := range comments {
		if value, ok := atlasComment(line, name); ok {
			values = append(values, value)
		}
	}
	return values
}

// atlasComment reads "-- atlas:name value".
func atlasComment(line, name string) (value string, ok bool) {
	_, rest, ok := strings.Cut(line, "atlas:"+name)
	if !ok || rest != "" && rest[0] != ' ' {
		return "", false
	}
	return strings.TrimSpace(rest), true
}

func atlasTxMode(f File) (string, error) {
	modes := atlasDirective(f, "txmode")
	switch {
	case len(modes) == 0:
		return "file", nil
	case len(modes) > 1:
		return "", invalid("Atlas refuses the file, too", "%s: the file has several atlas:txmode directives", f.Path)
	case modes[0] == "none" || modes[0] == "file":
		return modes[0], nil
	case modes[0] == "all":
		return "", invalid("take the line out: a file is one transaction anyway", "%s: atlas:txmode all can be given on the command line only", f.Path)
	}
	return "", invalid("Atlas refuses the file, too: write none, or take the line out", "%s: atlas:txmode %q is not known", f.Path, excerpt(modes[0], 40))
}

// classify knows the files that Atlas passes over: checkpoints on a database that has revisions, what is before the last
// checkpoint on one that has none, and what is older than the first revision.
func (atlas) classify(m Migration, p *comparing) (Status, bool) {
	own, _ := m.own.(atlasFile)
	if _, applied := p.applied[m.Version]; applied || m.duplicateOf != "" {
		return Status{}, false
	}
	var reason string
	switch revisions := p.c.State.Applied; {
	case own.checkpoint && len(revisions) > 0:
		reason = "a checkpoint: Atlas runs it on new databases only"
	case len(revisions) == 0 && m.Version < own.fromCheckpoint:
		reason = "older than the checkpoint " + own.fromCheckpoint + ", with which a new database starts"
	case len(revisions) > 0 && m.Version < revisions[0].Version:
		reason = fmt.Sprintf("older than %s, with which this database starts: Atlas never runs it", revisions[0].Version)
	default:
		return Status{}, false
	}
	p.plan.Skipped = append(p.plan.Skipped, Skipped{Version: m.Version, Name: m.Name, File: m.file(), Reason: reason})
	return statusOf(m, StatusSkipped, reason), true
}

// find looks for the table: in a schema of its own, or in the current one where the connection is bound to that.
func (atlas) find(ctx context.Context, conn *pgx.Conn, setting string) (trackingTable, error) {
	if setting != "" {
		return findTable(ctx, conn, setting, atlasTable)
	}
	standard := trackingTable{schema: atlasTable, name: atlasTable}
	state, err := readApplied(ctx, conn, standard, "", nil)
	if err != nil || state.Exists {
		return standard, err
	}
	current, err := findTable(ctx, conn, "", atlasTable)
	if err != nil {
		return standard, nil //nolint:nilerr // no current schema: then the table is not there
	}
	if state, err = readApplied(ctx, conn, current, "", nil); err == nil && state.Exists {
		return current, nil
	}
	return standard, err
}

func (a atlas) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := a.find(ctx, conn, settings.Table)
	if err != nil {
		return State{}, err
	}
	query := `SELECT version, description, executed_at, applied <> total FROM ` + table.quoted() +
		` WHERE version <> '` + atlasCloudID + `' ORDER BY version COLLATE "C"`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var at time.Time
		err := row.Scan(&a.Version, &a.Name, &at, &a.Failed)
		a.At = &at
		return a, err
	})
}

func (atlas) lock(ctx context.Context, r *run) (unlock func(), err error) {
	hash := fnv.New32()
	_, _ = hash.Write([]byte(atlasLock)) // a hash never fails
	return r.advisoryLock(ctx, Atlas, int64(hash.Sum32()))
}

func (a atlas) prepare(ctx context.Context, r *run) error {
	var err error
	if r.table, err = a.find(ctx, r.conn, r.plan.table); err != nil {
		return err
	}
	state, err := readApplied(ctx, r.conn, r.table, "", nil)
	if err != nil || state.Exists {
		return err
	}
	if err := r.createSchema(ctx, r.table.schema); err != nil {
		return err
	}
	return r.exec(ctx, `CREATE TABLE `+r.table.quoted()+` ("version" character varying NOT NULL, "description" character varying NOT NULL, `+
		`"type" bigint NOT NULL DEFAULT 2, "applied" bigint NOT NULL DEFAULT 0, "total" bigint NOT NULL DEFAULT 0, "executed_at" timestamptz NOT NULL, `+
		`"execution_time" bigint NOT NULL, "error" text NULL, "error_stmt" text NULL, "hash" character varying NOT NULL, "partial_hashes" jsonb NULL, `+
		`"operator_version" character varying NOT NULL, PRIMARY KEY ("version"))`)
}

// createSchema creates a schema that does not exist. A role need not be allowed to where it does.
func (r *run) createSchema(ctx context.Context, schema string) error {
	var exists bool
	err := r.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`, pgx.QueryExecModeExec, schema).Scan(&exists)
	if err != nil {
		return fmt.Errorf("look for the schema of the tracking table: %w", err)
	}
	if exists {
		return nil
	}
	return r.exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{schema}.Sanitize())
}

func (atlas) script(m Migration) (script, error) {
	s := script{text: string(m.Up.Content), transaction: !m.NoTransaction}
	var err error
	if s.queries, err = atlasStatements(s.text); err != nil {
		return script{}, inFile(*m.Up, err)
	}
	return s, nil
}

// atlasRevision is one row of the table.
type atlasRevision struct {
	applied, total   int
	took             time.Duration
	error, statement string
	partial          []string
}

// record is not used: migrate writes more than one kind of row.
func (atlas) record(context.Context, *run, Migration, time.Duration) error { return nil }

func (a atlas) migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure) {
	start := r.opts.Now()
	result, failure := r.standard(ctx, m, s, func(ctx context.Context, r *run, m Migration, took time.Duration) error {
		return a.write(ctx, r, m, atlasRevision{applied: len(s.queries), total: len(s.queries), took: took})
	})
	if failure == nil || s.transaction || r.conn.IsClosed() {
		return result, failure
	}
	// Outside of a transaction a file stays applied in part, and the row says how far it came.
	done := min(result.statements, len(s.queries)-1)
	if done < 0 {
		return result, failure
	}
	row := atlasRevision{applied: done, total: len(s.queries), took: r.opts.Now().Sub(start), error: "pq: " + failure.Message}
	row.statement = s.text[s.queries[done].begin:s.queries[done].end]
	hash := sha256.New()
	for _, q := range s.queries[:done] {
		_, _ = hash.Write([]byte(s.text[q.begin:q.end])) // a hash never fails
		row.partial = append(row.partial, "h1:"+base64.StdEncoding.EncodeToString(hash.Sum(nil)))
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := a.write(after, r, m, row); err != nil {
		result.err = errors.Join(result.err, err)
	}
	r.report.Dirty = true
	return result, failure
}

func (atlas) write(ctx context.Context, r *run, m Migration, row atlasRevision) error {
	own, _ := m.own.(atlasFile)
	partial, err := json.Marshal(row.partial)
	if err != nil {
		return fmt.Errorf("write the hashes of statements: %w", err)
	}
	// The version of the command is taken from the row before: what runs in production wrote it.
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` AS t (version, description, type, applied, total, executed_at, execution_time,
			error, error_stmt, hash, partial_hashes, operator_version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb,
			coalesce((SELECT operator_version FROM `+r.table.quoted()+` ORDER BY executed_at DESC LIMIT 1), 'Atlas CLI'))
		ON CONFLICT (version) DO UPDATE SET applied = excluded.applied, total = excluded.total, executed_at = excluded.executed_at,
			execution_time = excluded.execution_time, error = excluded.error, error_stmt = excluded.error_stmt, partial_hashes = excluded.partial_hashes`,
		m.Version, m.Name, atlasExecute, row.applied, row.total, r.opts.Now(), row.took.Nanoseconds(),
		row.error, row.statement, own.hash, string(bytes.TrimSpace(partial)))
}
