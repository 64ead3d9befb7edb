package templates

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// examine looks at the restored database, when everything is in it, for what people should know.
func (r *run) examine(ctx context.Context, conn *pgx.Conn) error {
	if err := r.target.checkSequences(ctx, conn, r.plan); err != nil {
		return err
	}
	if err := r.compareCollations(ctx, conn); err != nil {
		return err
	}
	for _, look := range []struct {
		query string
		find  func(name, detail string) Finding
	}{
		{quietTriggers, quietTrigger}, {rowSecurity, rowSecurityOn}, {unloggedTables, unloggedTable},
	} {
		rows, err := conn.Query(ctx, look.query)
		if err != nil {
			return fmt.Errorf("look for what the report should tell: %w", err)
		}
		var name, detail string
		if _, err := pgx.ForEachRow(rows, []any{&name, &detail}, func() error {
			r.target.find(look.find(name, detail))
			return nil
		}); err != nil {
			return fmt.Errorf("look for what the report should tell: %w", err)
		}
	}
	return r.checkMigrations(ctx, conn)
}

// quietTriggers lists triggers and rules that do not fire as others do. A partition's are listed with the table above it.
const quietTriggers = `
SELECT 'trigger ' || n.nspname || '.' || c.relname || '.' || t.tgname, t.tgenabled::text
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled <> 'O' AND NOT t.tgisinternal AND ` + userObject + `
UNION ALL
SELECT 'rule ' || n.nspname || '.' || c.relname || '.' || w.rulename, w.ev_enabled::text
FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_class c ON c.oid = w.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE w.ev_enabled <> 'O' AND ` + userObject + ` ORDER BY 1`

func quietTrigger(name, state string) Finding {
	means := map[string]string{"D": "disabled", "R": "ENABLE REPLICA: it fires for replicated changes alone", "A": "ENABLE ALWAYS"}[state]
	return Finding{
		Code: codeTriggerNotFiring, Severity: SeverityInfo, Object: name, Cause: "in the source it is " + means,
		Done: "it is the same in the template; nothing fired while rows were loaded", Advice: "if it was disabled for some work and forgotten, enable it in the source",
	}
}

const rowSecurity = `
SELECT n.nspname || '.' || c.relname, CASE WHEN c.relforcerowsecurity THEN 'for its owner, too' ELSE 'for roles other than its owner' END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND ` + userObject + ` ORDER BY 1`

func rowSecurityOn(name, whom string) Finding {
	return Finding{
		Code: codeRowSecurity, Severity: SeverityInfo, Object: "table " + name, Cause: "policies hide rows, " + whom,
		Done: "all rows that the source sent were loaded, and the policies are as in the source", Advice: "previews log in as the owner of the tables: policies that are not forced do not hold for it",
	}
}

const unloggedTables = `
SELECT n.nspname || '.' || c.relname, ''
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND ` + userObject + ` ORDER BY 1`

func unloggedTable(name, _ string) Finding {
	return Finding{
		Code: codeUnlogged, Severity: SeverityInfo, Object: "table " + name, Cause: "it is UNLOGGED: it is emptied when its server crashes",
		Done: "it is UNLOGGED in the template, too, and has the source's rows", Advice: "a preview that is killed empties it; ALTER TABLE … SET LOGGED in the source if that matters",
	}
}

// compareCollations reports collations whose library has another version in the image than where the source's indexes were built.
func (r *run) compareCollations(ctx context.Context, conn *pgx.Conn) error {
	here, err := readCollations(ctx, conn)
	if err != nil {
		return err
	}
	byName := map[string]Collation{}
	for _, c := range here {
		byName[c.Name] = c
	}
	for _, c := range r.report().Source.Collations {
		t, found := byName[c.Name]
		var cause []string
		if c.Recorded != "" && c.Actual != "" && c.Recorded != c.Actual {
			cause = append(cause, fmt.Sprintf("in the source it was created with version %s of %s, and the server has %s now", c.Recorded, c.Provider, c.Actual))
		}
		if found && c.Provider == t.Provider && c.Actual != "" && t.Actual != "" && c.Actual != t.Actual {
			cause = append(cause, fmt.Sprintf("the source has version %s of %s, the image %s", c.Actual, c.Provider, t.Actual))
		}
		if len(cause) == 0 {
			continue
		}
		r.target.find(Finding{
			Code: codeCollationVersion, Severity: SeverityInfo, Object: "collation " + c.Name, Cause: strings.Join(cause, "; "),
			Done:   "indexes of the template are built with the image's version, so they are right; some texts may sort differently",
			Advice: "if the source's versions differ among themselves: REINDEX its indexes on text, then ALTER DATABASE or ALTER COLLATION … REFRESH VERSION",
		})
	}
	return nil
}
