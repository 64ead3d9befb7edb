package migrations

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// flyway follows `flyway migrate` of the Community edition, release 11, with its default settings.
type flyway struct{}

const (
	flywayTable = "flyway_schema_history"
	// flywayLockMagic is LOCK_MAGIC_NUM of the tool.
	flywayLockMagic int64 = 0x46<<40 + 0x6C<<32 + 0x79<<24 + 0x77<<16 + 0x61<<8 + 0x79
	// flywayBaselined is the checksum that Applied has for what a baseline row stands for.
	flywayBaselined = "baseline"
)

// flywayFile is what Migration.own holds.
type flywayFile struct {
	version      string // as the table has it; "" for a repeatable migration
	script       string // the path below the location
	table        string // of the settings
	placeholders map[string]string
}

// flywayCallbacks are the events whose SQL files `migrate` runs.
var flywayCallbacks = regexp.MustCompile(`^(beforeMigrate|beforeRepeatables|beforeEachMigrate|beforeEachMigrateStatement|afterEachMigrateStatement|` +
	`afterEachMigrateStatementError|afterEachMigrate|afterVersioned|afterMigrate|afterMigrateApplied|beforeValidate|afterValidate|` +
	`beforeConnect|afterConnect|createSchema|beforeCreateSchema)(__.*)?\.sql$`)

func (flyway) rules() rules {
	return rules{gaps: gapRefuse, refuseEdited: true, refuseMissing: true,
		gapHint: "migrate production with outOfOrder=true, which Mayfly does not do"}
}

// flywayParts reads a version: numbers with dots or underscores between them. nil is for what is not one.
func flywayParts(version string) []string {
	parts := strings.Split(strings.ReplaceAll(version, "_", "."), ".")
	for i, p := range parts {
		if p == "" || strings.Trim(p, "0123456789") != "" {
			return nil
		}
		parts[i] = cmp.Or(strings.TrimLeft(p, "0"), "0")
	}
	for len(parts) > 1 && parts[len(parts)-1] == "0" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

// flywayVersion is a version without what the tool does not compare: zeros in front of a number and at the end.
func flywayVersion(version string) string {
	if parts := flywayParts(version); parts != nil {
		return strings.Join(parts, ".")
	}
	return version
}

func (flyway) compare(a, b string) int {
	return slices.CompareFunc(flywayParts(a), flywayParts(b), compareNumbers)
}

func (w flyway) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	config := map[string]File{}
	callback := ""
	all := filesBelow(settings, files)
	for _, f := range all {
		if strings.HasSuffix(f.Path, ".sql.conf") {
			config[strings.TrimSuffix(f.Path, ".conf")] = f
		}
		if flywayCallbacks.MatchString(path.Base(f.Path)) {
			callback = f.Path
		}
	}
	for _, f := range all {
		if strings.HasSuffix(f.Path, ".sql.conf") {
			continue
		}
		m, reason := w.migration(f, strings.TrimPrefix(f.Path, dir+"/"), settings)
		if reason != "" {
			history.Findings = append(history.Findings, ignored(f.Path, reason))
			continue
		}
		if c, ok := config[f.Path]; ok && m.refused == nil {
			m.NoTransaction, m.refused = flywayConfig(c, m.NoTransaction)
		}
		if callback != "" && m.refused == nil {
			m.refused = invalid("have Flyway run by a runner command", "%s is a callback, which is not run natively", callback)
		}
		history.Migrations = append(history.Migrations, m)
	}
	history.order(w.compare)
	return history, nil
}

// migration reads one file name; reason is why it is none.
func (flyway) migration(f File, script string, settings mayfly.MigrationSettings) (m Migration, reason string) {
	base := path.Base(f.Path)
	name, isSQL := strings.CutSuffix(base, ".sql")
	kind, rest := "", ""
	if name != "" {
		kind, rest = name[:1], name[1:]
	}
	version, description, found := strings.Cut(rest, "__")
	description = strings.ReplaceAll(description, "_", " ")
	own := flywayFile{script: script, table: cmp.Or(settings.Table, flywayTable), placeholders: settings.Placeholders}
	m = Migration{
		Name: description, Up: &f, Checksum: flywayChecksum(f.Content), own: own, refused: badName(f),
		NoTransaction: flywayNoTransaction(string(f.Content)),
	}
	switch {
	case strings.HasSuffix(base, ".java") || strings.HasSuffix(base, ".class"):
		m.refused = invalid("have Flyway run by a runner command", "%s: a migration written in Java cannot be applied without running the project's code", f.Path)
		if name = strings.TrimSuffix(base, path.Ext(base)); name[:1] != "V" {
			return m, "it is not a versioned migration"
		}
		version, description, found = strings.Cut(name[1:], "__")
		m.Name = strings.ReplaceAll(description, "_", " ")
	case !isSQL:
		return m, "its name does not end in .sql"
	case kind == "U":
		return m, "undo migrations are not part of the Community edition"
	case kind == "B":
		return m, "baseline migrations are not part of the Community edition"
	case kind == "R" && found && version == "":
		m.Version, m.Repeatable = description, true
		m.refused = cmp.Or(m.refused, flywayLimits(f, m, ""))
		return m, ""
	case kind != "V":
		return m, "its name is not V<version>__<description>.sql or R__<description>.sql"
	}
	if !found && version == "" || flywayParts(version) == nil {
		return m, fmt.Sprintf("%q is not a version", excerpt(version, 40))
	}
	own.version = strings.ReplaceAll(version, "_", ".")
	m.Version, m.own = flywayVersion(version), own
	m.refused = cmp.Or(m.refused, flywayLimits(f, m, own.version))
	return m, ""
}

// flywayLimits refuses what does not fit the table.
func flywayLimits(f File, m Migration, version string) error {
	if len(version) > 50 || len(m.Name) > 200 || len(f.Path) > 1000 {
		return invalid("shorten it", "%s: the name is longer than the columns of %s", f.Path, flywayTable)
	}
	return nil
}

// flywayChecksum is ChecksumCalculator of the tool: CRC-32 over the lines without their ends, as a signed number.
func flywayChecksum(content []byte) string {
	text := strings.TrimPrefix(string(content), "\uFEFF")
	text = strings.NewReplacer("\r\n", "", "\n", "", "\r", "").Replace(text)
	return strconv.Itoa(int(int32(crc32.ChecksumIEEE([]byte(strings.ToValidUTF8(text, "\uFFFD"))))))
}

// flywayConfig reads <script>.sql.conf.
func flywayConfig(f File, detected bool) (noTransaction bool, err error) {
	noTransaction = detected
	number := 0
	for line := range strings.Lines(string(f.Content)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		name, value = strings.TrimPrefix(strings.TrimSpace(name), "flyway."), strings.TrimSpace(value)
		switch {
		case name == "executeInTransaction" && (value == "true" || value == "false"):
			noTransaction = value == "false"
		case name == "encoding" && strings.EqualFold(value, "UTF-8"):
		case name == "placeholderReplacement" && value == "true":
		default:
			return noTransaction, invalid("only executeInTransaction is known; have Flyway run by a runner command",
				"%s: %q cannot be honoured", at(f.Path, number), excerpt(line, 80))
		}
	}
	return noTransaction, nil
}

// classify knows what a baseline stands for.
func (w flyway) classify(m Migration, p *comparing) (Status, bool) {
	if m.Repeatable || m.duplicateOf != "" {
		return Status{}, false
	}
	if _, applied := p.applied[m.Version]; applied {
		if p.applied[m.Version].Checksum != flywayBaselined {
			return Status{}, false
		}
		p.plan.AlreadyApplied++
		return statusOf(m, StatusApplied, "it is the baseline"), true
	}
	for _, a := range p.c.State.Applied {
		if a.Checksum == flywayBaselined && w.compare(m.Version, a.Version) <= 0 {
			p.plan.AlreadyApplied++
			return statusOf(m, StatusApplied, "it is below the baseline "+a.Version), true
		}
	}
	return Status{}, false
}

// judge is for rows of what is not an SQL script, which have no checksum of their own.
func (flyway) judge(m Migration, a Applied) (edited, refuse bool) {
	return a.Checksum != "" && a.Checksum != m.Checksum, !m.Repeatable
}

// refusesMissing is what ignoreMigrationPatterns *:future leaves: a version above all files is let pass.
func (w flyway) refusesMissing(a Applied, h *History) bool {
	if a.Repeatable || a.Checksum == flywayBaselined {
		return false
	}
	for _, m := range h.Migrations {
		if !m.Repeatable && w.compare(m.Version, a.Version) > 0 {
			return true
		}
	}
	return false
}

func (w flyway) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, flywayTable)
	if err != nil {
		return State{}, err
	}
	query := `SELECT version, description, type, checksum, installed_on, success FROM ` + table.quoted() + ` WHERE type <> 'SCHEMA' ORDER BY installed_rank`
	state, err := readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var version *string
		var kind string
		var checksum *int32
		var at time.Time
		var success bool
		err := row.Scan(&version, &a.Name, &kind, &checksum, &at, &success)
		a.Version, a.Repeatable = a.Name, true
		if version != nil {
			a.Version, a.Repeatable = flywayVersion(*version), false
		}
		if checksum != nil {
			a.Checksum = strconv.Itoa(int(*checksum))
		}
		switch kind {
		case "BASELINE", "SQL_BASELINE", "INIT":
			a.Checksum = flywayBaselined
		case "DELETE", "UNDO_SQL", "UNDO_SPRING_JDBC", "UNDO_JDBC", "UNDO_SCRIPT":
			a.Checksum = kind
		}
		a.At, a.Failed = &at, !success
		return a, err
	})
	state.Applied = flywayEffective(state.Applied)
	return state, err
}

// flywayEffective takes out what rows of `undo` and of `repair` say is not there any more.
func flywayEffective(rows []Applied) []Applied {
	var out []Applied
	for _, a := range rows {
		if a.Checksum != "DELETE" && !strings.HasPrefix(a.Checksum, "UNDO_") {
			out = append(out, a)
			continue
		}
		out = slices.DeleteFunc(out, func(b Applied) bool { return b.Version == a.Version && b.Repeatable == a.Repeatable })
	}
	return out
}

// lock is PostgreSQLAdvisoryLockTemplate of the tool, taken for the session: a lock of a transaction, the tool's default,
// would keep a snapshot that CREATE INDEX CONCURRENTLY waits for. Both exclude each other.
func (w flyway) lock(ctx context.Context, r *run) (unlock func(), err error) {
	table, err := findTable(ctx, r.conn, r.plan.table, flywayTable)
	if err != nil {
		return nil, err
	}
	quoted := `"` + table.schema + `"."` + table.name + `"`
	return r.advisoryLock(ctx, Flyway, flywayLockMagic+int64(javaHash(quoted)))
}

// javaHash is String.hashCode of Java.
func javaHash(s string) int32 {
	var hash int32
	for _, c := range s {
		hash = 31*hash + c
	}
	return hash
}

func (flyway) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, flywayTable)
	if err != nil || exists {
		return err
	}
	if err := r.refuseOccupied(ctx, "Flyway stops there, too: run `flyway baseline` on production, and build a new template"); err != nil {
		return err
	}
	return r.exec(ctx, `BEGIN; CREATE TABLE `+r.table.quoted()+` (
    "installed_rank" INT NOT NULL,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INTEGER,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
    "execution_time" INTEGER NOT NULL,
    "success" BOOLEAN NOT NULL
);
ALTER TABLE `+r.table.quoted()+` ADD CONSTRAINT `+pgx.Identifier{r.table.name + "_pk"}.Sanitize()+` PRIMARY KEY ("installed_rank");
CREATE INDEX `+pgx.Identifier{r.table.name + "_s_idx"}.Sanitize()+` ON `+r.table.quoted()+` ("success"); COMMIT`)
}

func (w flyway) record(ctx context.Context, r *run, m Migration, took time.Duration) error {
	return w.row(ctx, r, m, took, true)
}

func (flyway) row(ctx context.Context, r *run, m Migration, took time.Duration, success bool) error {
	own, _ := m.own.(flywayFile)
	var version *string
	if !m.Repeatable {
		version = &own.version
	}
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+`
		("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success")
		VALUES ((SELECT coalesce(max("installed_rank"), 0) + 1 FROM `+r.table.quoted()+`), $1, $2, 'SQL', $3, $4::integer, current_user, $5, $6)`,
		version, cmp.Or(m.Name, own.version), own.script, m.Checksum, took.Milliseconds(), success)
}

// migrate leaves a row of a migration that failed outside of a transaction, as the tool does, and undoes what the tool undoes of
// what the migration before has set in the session.
func (w flyway) migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure) {
	err := r.exec(ctx, `RESET ROLE; RESET search_path`)
	if err == nil {
		s, err = w.fill(ctx, r, m, s)
	}
	if err != nil {
		return outcome{err: err}, r.failure(m, "", err)
	}
	start := r.opts.Now()
	result, failure := r.standard(ctx, m, s, w.record)
	if failure == nil || s.transaction || r.conn.IsClosed() {
		return result, failure
	}
	r.report.Dirty = true
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := w.row(after, r, m, r.opts.Now().Sub(start), false); err != nil {
		result.err = cmp.Or(result.err, err)
	}
	return result, failure
}
