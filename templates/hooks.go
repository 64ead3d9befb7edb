package templates

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// HookReport is what one file of SQL did to a template.
type HookReport struct {
	Phase      string       `json:"phase"`
	File       string       `json:"file"`
	Statements int          `json:"statements"`
	DurationMS int64        `json:"duration_ms"`
	Changes    []HookChange `json:"changes,omitempty"` // tables whose number of rows is another one since
}

// HookChange is a table that a hook gave or took rows, or made, or dropped. Before is nil for one that was not there, After for one
// that is not there any more.
type HookChange struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Before *int64 `json:"before"`
	After  *int64 `json:"after"`
}

const (
	defaultHookTimeout = 10 * time.Minute
	// maxHookBytes bounds a file of SQL: data belongs into the source.
	maxHookBytes = 16 << 20
)

// hook is a file of SQL that was read.
type hook struct {
	name string // of the file, without its directory
	text string
}

// hooks are those of one build, by phase.
type hooks map[string][]hook

// readHooks reads the files before anything is made, so that one that is missing does not show after hours of loading.
func readHooks(settings mayfly.HookSettings) (hooks, error) {
	all := hooks{}
	for phase, paths := range map[string][]string{PhaseAfterLoad: settings.AfterLoad, PhaseAfterMasking: settings.AfterMasking} {
		for _, path := range paths {
			one, err := readHook(path)
			if err != nil {
				return nil, err
			}
			all[phase] = append(all[phase], one)
		}
	}
	return all, nil
}

// CheckHooks reads the hooks of a project and refuses what a build would refuse.
func CheckHooks(settings mayfly.HookSettings) error {
	_, err := readHooks(settings)
	return err
}

func readHook(path string) (hook, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err == nil && info.Size() > maxHookBytes {
		err = fmt.Errorf("it is larger than %d MiB", maxHookBytes>>20)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return hook{}, mayfly.Errorf(mayfly.CodeInvalid, "the hook %s cannot be read: %w", path, err).
			WithHint("templates.hooks in the configuration names files of SQL, relative to the configuration")
	}
	h := hook{name: filepath.Base(path), text: strings.TrimPrefix(string(text), "\uFEFF")}
	if !utf8.ValidString(h.text) || strings.ContainsRune(h.text, 0) {
		return hook{}, mayfly.Errorf(mayfly.CodeInvalid, "the hook %s is not text in UTF-8", path)
	}
	return h, h.check()
}

// check refuses what the server would not understand, or would wait for.
func (h hook) check() error {
	for _, s := range sqlsplit.Split(h.text, true) {
		switch {
		case s.Backslash >= 0:
			return mayfly.Errorf(mayfly.CodeInvalid, "the hook %s: line %d has a command of psql", h.name, h.line(s.Backslash)).WithHint("only SQL is run")
		case s.CopyIn:
			return mayfly.Errorf(mayfly.CodeInvalid, "the hook %s: line %d waits for rows from a client", h.name, h.line(s.First)).WithHint("write INSERT statements")
		case s.Open:
			return mayfly.Errorf(mayfly.CodeInvalid, "the hook %s ends inside a string or a comment", h.name)
		}
	}
	return nil
}

// line returns the number of the line that a byte is in, from 1.
func (h hook) line(at int) int { return 1 + strings.Count(h.text[:at], "\n") }

func isHookPhase(name string) bool { return name == PhaseAfterLoad || name == PhaseAfterMasking }

func (r *run) afterLoad(ctx context.Context) (string, error) { return r.runHooks(ctx, PhaseAfterLoad) }

func (r *run) afterMasking(ctx context.Context) (string, error) {
	return r.runHooks(ctx, PhaseAfterMasking)
}

// runHooks runs the files of one phase, in their order, and accounts for the rows that they add and remove.
func (r *run) runHooks(ctx context.Context, phase string) (string, error) {
	counts, err := r.countBefore(ctx)
	if err != nil {
		return "", err
	}
	for _, h := range r.hooks[phase] {
		started := r.clock()
		statements, err := r.runHook(ctx, h)
		if err != nil {
			return "", err
		}
		after, err := r.countRows(ctx)
		if err != nil {
			return "", err
		}
		report := HookReport{
			Phase: phase, File: h.name, Statements: statements, DurationMS: r.clock().Sub(started).Milliseconds(), Changes: changes(counts, after),
		}
		r.accountFor(report)
		counts = after
	}
	return fmt.Sprintf("%d files", len(r.hooks[phase])), nil
}

// runHook runs one file in one transaction of a session of the owner.
func (r *run) runHook(ctx context.Context, h hook) (statements int, err error) {
	conn, err := r.target.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	timeout := r.req.Project.Templates.Hooks.StatementTimeout
	if timeout <= 0 {
		timeout = defaultHookTimeout
	}
	// Unlike a session for restoring: functions are checked, and names without a schema are found as the application finds them.
	setup := fmt.Sprintf("RESET check_function_bodies; RESET search_path; SET client_encoding = 'UTF8'; SET statement_timeout = %d; BEGIN", timeout.Milliseconds())
	if err := execAll(ctx, conn, setup); err != nil {
		return 0, fmt.Errorf("prepare the hook %s: %w", h.name, err)
	}
	for _, s := range sqlsplit.Counted(sqlsplit.Split(h.text, true)) {
		if err := execOne(ctx, conn, h.text[s.First:s.Last]); err != nil {
			return statements, h.failed(ctx, s.First, err)
		}
		if conn.PgConn().TxStatus() != 'T' {
			return statements, mayfly.Errorf(mayfly.CodeInvalid, "the hook %s, line %d: it ends the transaction that it runs in", h.name, h.line(s.First)).
				WithHint("leave out BEGIN, COMMIT and ROLLBACK: each file is one transaction anyway")
		}
		statements++
	}
	if err := execAll(ctx, conn, "COMMIT"); err != nil {
		return statements, h.failed(ctx, len(h.text), err)
	}
	return statements, nil
}

// failed says where a hook failed. The server's message may quote a row, so only that of errors in the text itself is shown.
func (h hook) failed(ctx context.Context, at int, err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) || ctx.Err() != nil {
		return fmt.Errorf("run the hook %s: %w", h.name, err)
	}
	if server.Position > 0 { // in characters of the statement
		rest := h.text[at:]
		for range server.Position - 1 {
			_, size := utf8.DecodeRuneInString(rest)
			rest = rest[size:]
		}
		at = len(h.text) - len(rest)
	}
	text := fmt.Sprintf("the hook %s failed in line %d (SQLSTATE %s)", h.name, h.line(min(at, len(h.text))), server.Code)
	switch {
	case server.Code == sqlDiskFull:
		return mayfly.Errorf(mayfly.CodePoolFull, "%s: the pool is full", text).WithHint("free space in the pool, or enlarge it")
	case server.Code == "57014":
		return mayfly.Errorf(mayfly.CodeInvalid, "%s: it ran longer than templates.hooks.statement_timeout", text)
	case strings.HasPrefix(server.Code, "42"): // syntax errors, unknown names, missing rights: names, never values
		text += ": " + server.Message
	case server.ConstraintName != "":
		text += ": constraint " + server.ConstraintName
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "%s", text).WithHint("hooks run as the owner of the database, who is no superuser; try the file on a preview with mayfly psql")
}

// countRows counts the rows of every table of the template, exactly.
func (r *run) countRows(ctx context.Context) (map[relation]int64, error) {
	conn, err := r.target.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	there, err := readCatalog(ctx, conn)
	if err != nil {
		return nil, err
	}
	there.remove(r.chosen.replaced)
	counts := map[relation]int64{}
	for i := range there.tables {
		name := there.tables[i].relation
		n, err := countTable(ctx, conn, name)
		if err != nil {
			return nil, err
		}
		counts[name] = n
	}
	return counts, nil
}

func countTable(ctx context.Context, conn *pgx.Conn, name relation) (int64, error) {
	var n int64
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+name.sql()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count %s: %w", name, err)
	}
	return n, nil
}

// countBefore returns what is in the tables before the first hook of a phase: what was loaded, if that is the last that happened.
func (r *run) countBefore(ctx context.Context) (map[relation]int64, error) {
	if len(r.report().Hooks) > 0 {
		return r.countRows(ctx)
	}
	counts := map[relation]int64{}
	for _, t := range r.report().Tables {
		counts[relation{t.Schema, t.Table}] = t.SourceRows
	}
	return counts, nil
}

// changes compares what was counted before a hook and after it, in the order of names.
func changes(before, after map[relation]int64) []HookChange {
	var all []HookChange
	for name, n := range after {
		change := HookChange{Schema: name.schema, Table: name.name, After: &n}
		if was, there := before[name]; there {
			if was == n {
				continue
			}
			change.Before = &was
		}
		all = append(all, change)
	}
	for name, was := range before {
		if _, there := after[name]; !there {
			all = append(all, HookChange{Schema: name.schema, Table: name.name, Before: &was})
		}
	}
	slices.SortFunc(all, func(a, b HookChange) int {
		return strings.Compare(a.Schema+"\x00"+a.Table, b.Schema+"\x00"+b.Table)
	})
	return all
}

// accountFor takes what a hook changed into the report and into what verification expects, and says so: a template that differs from its
// source does it for a reason that people can read.
func (r *run) accountFor(h HookReport) {
	r.report().Hooks = append(r.report().Hooks, h)
	for _, c := range h.Changes {
		r.accountForTable(c)
		r.target.find(Finding{
			Code: "hook_changed_rows", Severity: SeverityInfo, Object: "table " + c.Schema + "." + c.Table, Cause: c.cause(h),
			Done: "the template has what the hook left", Advice: "nothing, if the hook is meant to do this",
		})
	}
}

func (r *run) accountForTable(c HookChange) {
	tables := r.report().Tables
	at := slices.IndexFunc(tables, func(t TableReport) bool { return t.Schema == c.Schema && t.Table == c.Table })
	var before, after int64
	if c.Before != nil {
		before = *c.Before
	}
	if c.After != nil {
		after = *c.After
	}
	r.result.RowCount += after - before
	switch {
	case c.After == nil && at >= 0:
		r.hookDropped = append(r.hookDropped, relation{c.Schema, c.Table})
		r.report().Tables = slices.Delete(tables, at, at+1)
	case c.After != nil && at < 0:
		r.report().Tables = append(tables, TableReport{Schema: c.Schema, Table: c.Table, HookRows: after, ByHook: true})
	case c.After != nil:
		tables[at].HookRows += after - before
	}
}

func (c HookChange) cause(h HookReport) string {
	switch {
	case c.Before == nil:
		return fmt.Sprintf("the hook %s (%s) made the table, with %d rows", h.File, h.Phase, *c.After)
	case c.After == nil:
		return fmt.Sprintf("the hook %s (%s) dropped the table, which had %d rows", h.File, h.Phase, *c.Before)
	}
	return fmt.Sprintf("the hook %s (%s) changed the number of rows from %d to %d", h.File, h.Phase, *c.Before, *c.After)
}
