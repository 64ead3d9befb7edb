package templates

import (
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

// withoutForeign makes ordinary, empty tables of foreign ones, so that views, functions and code that name them still work. Nothing of
// the definition but the columns is kept: options of servers, tables and columns may hold passwords and names of hosts.
func withoutForeign(toc *archive.Archive, policy mayfly.TemplatePolicy, s *selection) *archive.Archive {
	if policy.ForeignTables == mayfly.PolicyDrop {
		return toc
	}
	servers, replaced := map[int]bool{}, map[int]bool{}
	for i := range toc.Entries {
		switch e := &toc.Entries[i]; e.Kind {
		case "SERVER":
			servers[e.ID] = true
		case "FOREIGN TABLE":
			if _, ok := ordinaryTable(e.Definition); ok {
				replaced[e.ID] = true
			}
		}
	}
	if len(replaced) == 0 {
		return toc
	}
	changed := *toc
	changed.Entries = make([]archive.Entry, len(toc.Entries))
	for i := range toc.Entries {
		e := toc.Entries[i]
		switch {
		case replaced[e.ID]:
			e = replaceForeign(e, servers, s)
		case dependsOnAny(&e, replaced):
			e.Definition = strings.Replace(e.Definition, "COMMENT ON FOREIGN TABLE ", "COMMENT ON TABLE ", 1)
			e.Definition = strings.Replace(e.Definition, "ALTER FOREIGN TABLE ", "ALTER TABLE ", 1)
		}
		changed.Entries[i] = e
	}
	return &changed
}

func dependsOnAny(e *archive.Entry, ids map[int]bool) bool {
	for _, id := range e.Dependencies {
		if ids[id] {
			return true
		}
	}
	return false
}

// replaceForeign returns the entry of the ordinary table.
func replaceForeign(e archive.Entry, servers map[int]bool, s *selection) archive.Entry {
	s.findings = append(s.findings, Finding{
		Code: codeForeignTable, Severity: SeverityInfo, Object: object(&e),
		Cause: "its rows are on another server, and previews have no network", Done: "replaced by an ordinary table, which is empty", Advice: adviceForeign,
	})
	s.replaced[relation{e.Schema, e.Tag}] = true
	e.Definition, _ = ordinaryTable(e.Definition)
	e.Kind = "TABLE"
	var dependencies []int
	for _, id := range e.Dependencies {
		if !servers[id] {
			dependencies = append(dependencies, id)
		}
	}
	e.Dependencies = dependencies
	return e
}

// remove takes tables out of the catalog: those that stand in the place of foreign ones have no rows to mask.
func (c *catalog) remove(names map[relation]bool) {
	c.tables = slices.DeleteFunc(c.tables, func(t table) bool { return names[t.relation] })
}

// ordinaryTable turns pg_dump's definition of a foreign table into one of an ordinary table:
//
//	CREATE FOREIGN TABLE public.t (
//	    id integer NOT NULL
//	)
//	INHERITS (public.parent)
//	SERVER elsewhere
//	OPTIONS (…);
func ordinaryTable(definition string) (string, bool) {
	start := strings.Index(definition, "CREATE FOREIGN TABLE ")
	if start < 0 {
		return "", false
	}
	rest := definition[start+len("CREATE FOREIGN TABLE "):]
	end := topLevelIndex(rest, "\nSERVER ")
	if end < 0 {
		return "", false
	}
	return "CREATE TABLE " + rest[:end] + ";\n", true
}

// topLevelIndex finds text outside of quotes and parentheses.
func topLevelIndex(s, text string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'', '"':
			// A doubled quote ends one stretch and starts the next, which comes to the same. Definitions are dumped with
			// standard_conforming_strings = on, but E'' strings have escapes.
			escapes := c == '\'' && i > 0 && (s[i-1] == 'E' || s[i-1] == 'e')
			for i++; i < len(s) && s[i] != c; i++ {
				if escapes && s[i] == '\\' {
					i++
				}
			}
		case '(':
			depth++
		case ')':
			depth--
		default:
			if depth == 0 && strings.HasPrefix(s[i:], text) {
				return i
			}
		}
	}
	return -1
}
