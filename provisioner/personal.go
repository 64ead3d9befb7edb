package provisioner

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
)

// personalQuery lists the columns of tables, partitions aside.
const personalQuery = `
SELECT n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
	AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY n.nspname, c.relname, a.attnum`

// namedColumn is a column by the name that people use, and its type.
type namedColumn struct{ table, column, typ string }

// columns returns the columns of the preview. It never stops a migration: without an answer there is nothing to say.
func (s *Service) columns(ctx context.Context, conn *pgx.Conn) []namedColumn {
	if s.LooksPersonal == nil {
		return nil
	}
	found := []namedColumn{}
	rows, err := conn.Query(ctx, personalQuery)
	if err == nil {
		var schema string
		var c namedColumn
		_, err = pgx.ForEachRow(rows, []any{&schema, &c.table, &c.column, &c.typ}, func() error {
			if schema != "public" {
				c.table = schema + "." + c.table
			}
			found = append(found, c)
			return nil
		})
	}
	if err != nil {
		s.Logger.DebugContext(ctx, "cannot look for columns that look personal", "error", err)
		return nil
	}
	return found
}

// sayPersonal returns what is to say about a column, "" if it does not look personal.
func (s *Service) sayPersonal(c namedColumn) string {
	kind := s.LooksPersonal(c.column, c.typ)
	if kind == "" {
		return ""
	}
	return fmt.Sprintf("%s.%s looks personal (%s): add a rule to sanitize.yaml before production has rows in it", c.table, c.column, strings.ReplaceAll(kind, "_", " "))
}

// maxPersonal is how many columns a report names.
const maxPersonal = 20

// findPersonal adds a finding for each column that looks personal and that migrations added: those of this run, and those
// that ran on this preview before, which are still nowhere but here.
func (s *Service) findPersonal(ctx context.Context, p *mayfly.Preview, report *migrations.Report, before, after []namedColumn) {
	known, told := map[namedColumn]bool{}, map[string]bool{}
	for _, c := range before {
		known[c] = true
	}
	if p.ObservedSHA != "" {
		if earlier, err := s.report(ctx, p); err == nil {
			for _, message := range commentWarnings(earlier) {
				told[message] = true
			}
		}
	}
	if before == nil { // nobody could say
		return
	}
	added := 0
	for _, c := range after {
		if known[c] && len(told) == 0 {
			continue
		}
		message := s.sayPersonal(c)
		if message == "" || known[c] && !told[message] {
			continue
		}
		if added++; added <= maxPersonal {
			report.Findings = append(report.Findings, migrations.Finding{Kind: migrations.FindingPersonal, Message: message})
		}
	}
}

// commentWarnings are the findings that a reviewer should see.
func commentWarnings(report *migrations.Report) []string {
	if report == nil {
		return nil
	}
	var out []string
	for _, f := range report.Findings {
		if f.Kind == migrations.FindingPersonal {
			out = append(out, f.Message)
		}
	}
	return out
}
