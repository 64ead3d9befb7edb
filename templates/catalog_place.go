package templates

import (
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// place is where in a statement the next token stands, as far as it matters for what a literal there is for.
type place struct {
	sql    string
	before [2]string // the last two tokens, if they are words, folded
	parens []string  // the word before each open parenthesis
	bounds bool      // behind FOR VALUES or PARTITION BY
}

// pass moves behind a token.
func (p *place) pass(kind sqlsplit.Kind, raw string) {
	word := ""
	switch {
	case kind == sqlsplit.KindComment:
		return
	case kind == sqlsplit.KindWord:
		word = strings.ToLower(raw)
		p.bounds = p.bounds || p.before[1] == "for" && word == "values" || p.before[1] == "partition" && word == "by"
	case raw == "(":
		p.parens = append(p.parens, p.before[1])
	case raw == ")" && len(p.parens) > 0:
		p.parens = p.parens[:len(p.parens)-1]
	case raw == ";" && len(p.parens) == 0:
		p.bounds = false
	}
	p.before = [2]string{p.before[1], word}
}

// role says what a literal that stands here is for: "" if it can be replaced.
func (p *place) role(kind, language string) string {
	switch kind {
	case "FUNCTION", "PROCEDURE":
		if p.before[1] != "as" || len(p.parens) > 0 {
			return ""
		}
		if language == "sql" || language == "plpgsql" {
			return roleBody
		}
		return "code in the language " + language
	case "TABLE", "TABLE ATTACH", "DOMAIN", "CHECK CONSTRAINT", "CONSTRAINT", "FOREIGN TABLE":
		switch {
		case slices.Contains(p.parens, "check"):
			return roleCheck
		case p.bounds:
			return roleBound
		}
		return ""
	case "TYPE":
		if slices.Contains(p.parens, "enum") {
			return roleLabel
		}
		return ""
	case "COMMENT", "AGGREGATE", "VIEW", "MATERIALIZED VIEW", "RULE", "DEFAULT", "TRIGGER", "POLICY", "INDEX", "STATISTICS", "ROW SECURITY":
		return ""
	default:
		return roleOther
	}
}

// languageOf returns the language of a routine, "" for what is none.
func languageOf(sql string) string {
	before := ""
	for _, token := range sqlsplit.Tokens(sql, true) {
		raw := sql[token.Begin:token.End]
		if before == "language" && (token.Kind == sqlsplit.KindWord || token.Kind == sqlsplit.KindIdentifier) {
			return strings.ToLower(strings.Trim(raw, `"`))
		}
		before = ""
		if token.Kind == sqlsplit.KindWord {
			before = strings.ToLower(raw)
		}
	}
	return ""
}
