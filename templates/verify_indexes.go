package templates

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
)

// IndexCheck is what became of checking all btree indexes with amcheck.
type IndexCheck struct {
	Checked    int    `json:"checked"`
	DurationMS int64  `json:"duration_ms"`
	Skipped    string `json:"skipped,omitempty"` // why nothing was checked
}

// btreeIndexes lists all of them, the system's own too, the largest first.
const btreeIndexes = `
SELECT c.oid, n.nspname || '.' || c.relname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i' AND c.relpersistence <> 't'
JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname = 'btree'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisvalid AND i.indisready
ORDER BY c.relpages DESC, c.oid`

// checkIndexes checks the structure of all btree indexes with several sessions: that each page is sound, and that keys are
// in the order of the collation that the image has. It runs as the owner; the extension is there for that time only.
func (t *target) checkIndexes(ctx context.Context, admin *pgx.Conn, workers int, clock func() time.Time) (_ IndexCheck, err error) {
	started := clock()
	function, remove, err := t.amcheck(ctx, admin)
	if err != nil || function == "" {
		return IndexCheck{Skipped: "the image has not the extension amcheck"}, err
	}
	defer func() { err = errors.Join(err, remove(context.WithoutCancel(ctx))) }()
	rows, err := admin.Query(ctx, btreeIndexes)
	if err != nil {
		return IndexCheck{}, fmt.Errorf("list the indexes to check: %w", err)
	}
	type index struct {
		OID  uint32
		Name string
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		return IndexCheck{}, fmt.Errorf("list the indexes to check: %w", err)
	}
	err = t.inSessions(ctx, workers, len(all), func(ctx context.Context, conn *pgx.Conn, i int) error {
		if _, err := conn.Exec(ctx, "SELECT "+function+"($1::oid::regclass, false)", all[i].OID); err != nil {
			return damagedIndex(all[i].Name, err)
		}
		return nil
	})
	if err != nil {
		return IndexCheck{}, err
	}
	return IndexCheck{Checked: len(all), DurationMS: clock().Sub(started).Milliseconds()}, nil
}

// amcheck makes the extension and returns the function that checks one index, for the owner to call, and what takes it away
// again. The function is "" if the image has not the extension.
func (t *target) amcheck(ctx context.Context, admin *pgx.Conn) (function string, remove func(context.Context) error, err error) {
	const where = "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
	undo := "DROP EXTENSION amcheck"
	var schema string
	switch err := admin.QueryRow(ctx, where).Scan(&schema); {
	case err == nil: // it is the source's own and stays
		undo = "REVOKE EXECUTE ON FUNCTION " + schema + ".bt_index_check(regclass, boolean) FROM " + pgx.Identifier{t.owner}.Sanitize()
	case errors.Is(err, pgx.ErrNoRows):
		schema = "pg_catalog"
		err := execOne(ctx, admin, "CREATE EXTENSION amcheck WITH SCHEMA pg_catalog")
		if hasState(err, sqlUndefinedFile, sqlFeatureNotSupported, sqlUndefinedObject) {
			t.find(Finding{
				Code: codeAmcheckMissing, Severity: SeverityWarning, Object: "image", Cause: "the image has not the extension amcheck",
				Done: "the indexes were built, but their structure was not checked", Advice: "use an image with PostgreSQL's contrib modules",
			})
			return "", nil, nil
		}
		if err != nil {
			return "", nil, fmt.Errorf("create the extension amcheck: %w", err)
		}
	default:
		return "", nil, fmt.Errorf("look for the extension amcheck: %w", err)
	}
	function = schema + ".bt_index_check"
	remove = func(ctx context.Context) error {
		if err := execOne(ctx, admin, undo); err != nil {
			return fmt.Errorf("take away amcheck: %w", err)
		}
		return nil
	}
	grants := "GRANT EXECUTE ON FUNCTION " + function + "(regclass, boolean) TO " + pgx.Identifier{t.owner}.Sanitize()
	if err := execOne(ctx, admin, grants); err != nil {
		return "", nil, errors.Join(fmt.Errorf("let the owner call amcheck: %w", err), remove(context.WithoutCancel(ctx)))
	}
	return function, remove, nil
}

func damagedIndex(name string, err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return fmt.Errorf("check the index %s: %w", name, err)
	}
	return mayfly.Errorf(mayfly.CodeVerificationFailed, "the index %s of the template is damaged: %s (SQLSTATE %s)", name, server.Message, server.Code).
		WithHint("build again; if it happens again, check the memory and the disks of this machine")
}
