package provisioner

import (
	"context"
	"fmt"
	"slices"
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

// personalColumns returns what is to say about each column that looks personal. It never stops a migration: without an
// answer there is nothing to say.
func (s *Service) personalColumns(ctx context.Context, conn *pgx.Conn) []string {
	if s.LooksPersonal == nil {
		return nil
	}
	var found []string
	rows, err := conn.Query(ctx, personalQuery)
	if err == nil {
		var schema, table, column, typ string
		_, err = pgx.ForEachRow(rows, []any{&schema, &table, &column, &typ}, func() error {
			if kind := s.LooksPersonal(column, typ); kind != "" {
				name := table + "." + column
				if schema != "public" {
					name = schema + "." + name
				}
				found = append(found, fmt.Sprintf("%s looks personal (%s): add a rule to sanitize.yaml before production has rows in it", name, strings.ReplaceAll(kind, "_", " ")))
			}
			return nil
		})
	}
	if err != nil {
		s.Logger.DebugContext(ctx, "cannot look for columns that look personal", "error", err)
		return nil
	}
	return found
}

// maxPersonal is how many columns a report names.
const maxPersonal = 20

// findPersonal adds a finding for each column that looks personal and that migrations added: those of this run, and those
// that ran on this preview before, which are still nowhere but here.
func (s *Service) findPersonal(ctx context.Context, p *mayfly.Preview, report *migrations.Report, before, after []string) {
	var earlier *migrations.Report
	if p.ObservedSHA != "" {
		earlier, _ = s.report(ctx, p)
	}
	added := 0
	for _, message := range after {
		known := slices.Contains(before, message)
		if known && (earlier == nil || !slices.ContainsFunc(earlier.Findings, func(f migrations.Finding) bool {
			return f.Kind == migrations.FindingPersonal && f.Message == message
		})) {
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
