package migrations

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// flywayAlone finds the statements that the tool runs without a transaction (PostgreSQLParser.detectCanExecuteInTransaction),
// in a text of single blanks and upper case. A file with one of them runs without a transaction as a whole.
var flywayAlone = regexp.MustCompile(`^(CREATE|DROP) (DATABASE|TABLESPACE|SUBSCRIPTION)\b|^ALTER SYSTEM\b|^(CREATE|DROP)( UNIQUE)? INDEX CONCURRENTLY\b|` +
	`^REINDEX( VERBOSE)? (SCHEMA|DATABASE|SYSTEM)\b|^VACUUM\b|^DISCARD ALL\b`)

// flywayPlaceholder is ${name}; the tool reads up to the first brace.
var flywayPlaceholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// flywayNoTransaction reports whether the tool would run a file without a transaction by itself.
func flywayNoTransaction(text string) bool {
	for _, p := range sqlsplit.Counted(sqlsplit.Split(text, true)) {
		if flywayAlone.MatchString(firstWords(text[p.First:p.Last], 6)) {
			return true
		}
	}
	return false
}

// firstWords returns the first words of a statement in upper case, without comments.
func firstWords(statement string, n int) string {
	var words []string
	for _, t := range sqlsplit.Tokens(statement[:min(len(statement), 1000)], true) {
		if t.Kind == sqlsplit.KindComment {
			continue
		}
		words = append(words, strings.ToUpper(statement[t.Begin:min(t.End, len(statement))]))
		if len(words) == n {
			break
		}
	}
	return strings.Join(words, " ")
}

// script refuses placeholders without a value. They are filled in when the file runs: some depend on the session.
func (w flyway) script(m Migration) (script, error) {
	text := string(m.Up.Content)
	own, _ := m.own.(flywayFile)
	for _, p := range flywayPlaceholder.FindAllStringSubmatchIndex(text, -1) {
		name := text[p[2]:p[3]]
		if _, known := own.placeholders[name]; !known && !flywayDefault(name) {
			line, _ := lineColumn(text, p[0])
			return script{}, invalid("set migrations.placeholders in the server's configuration",
				"%s: there is no value for the placeholder ${%s}, and Flyway refuses the file without one", at(m.Up.Path, line), excerpt(name, 80))
		}
	}
	text = strings.TrimPrefix(text, "\uFEFF")
	for _, p := range sqlsplit.Split(text, true) {
		if p.CopyIn {
			line, _ := lineColumn(text, p.First)
			return script{}, invalid("use INSERT, or have Flyway run by a runner command",
				"%s: COPY … FROM STDIN with its rows in the file is not run natively", at(m.Up.Path, line))
		}
	}
	return script{text: text, queries: split(text, span{0, len(text)}), transaction: !m.NoTransaction}, nil
}

// flywayDefault reports whether the tool fills in a placeholder by itself.
func flywayDefault(name string) bool {
	switch name {
	case "flyway:defaultSchema", "flyway:user", "flyway:database", "flyway:timestamp", "flyway:filename", "flyway:table":
		return true
	}
	return false
}

// fill puts the values in the place of the placeholders. Line breaks in a value become blanks, so that the lines of the
// file stay where they are.
func (flyway) fill(ctx context.Context, r *run, m Migration, s script) (script, error) {
	if !strings.Contains(s.text, "${") {
		return s, nil
	}
	own, _ := m.own.(flywayFile)
	values := map[string]string{
		"flyway:filename": path.Base(own.script), "flyway:table": own.table, "flyway:timestamp": r.opts.Now().Format("2006-01-02 15:04:05"),
		"flyway:defaultSchema": r.table.schema,
	}
	var user, database string
	err := r.conn.QueryRow(ctx, `SELECT current_user::text, pg_catalog.current_database()::text`, pgx.QueryExecModeExec).Scan(&user, &database)
	if err != nil {
		return s, fmt.Errorf("look up the values of placeholders: %w", err)
	}
	values["flyway:user"], values["flyway:database"] = user, database
	for name, value := range own.placeholders {
		values[name] = value
	}
	text := flywayPlaceholder.ReplaceAllStringFunc(s.text, func(p string) string {
		return strings.NewReplacer("\r\n", " ", "\n", " ").Replace(values[p[2:len(p)-1]])
	})
	return script{text: text, queries: split(text, span{0, len(text)}), transaction: s.transaction}, nil
}
