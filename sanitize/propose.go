package sanitize

import (
	"fmt"
	"strings"

	"github.com/mayflydb/mayfly"
)

// Propose writes a whole rules file for tables: a first draft, for a person to correct. Every line that is a guess is
// marked "# please check".
func Propose(tables []Table) []byte {
	var all []unclassified
	for i := range tables {
		for j := range tables[i].Columns {
			if c := &tables[i].Columns[j]; !c.Generated {
				all = append(all, unclassified{table: &tables[i], column: c})
			}
		}
	}
	return []byte("version: " + rulesVersion + "\n" + proposeYAML(all))
}

// unclassified is a column that no rule covers.
type unclassified struct {
	table  *Table
	column *Column
}

// ruleTable is the name under which the rules speak of the column's table.
func (u unclassified) ruleTable() string {
	if u.table.PartitionOf != "" {
		return u.table.PartitionOf
	}
	return tablePath(u.table)
}

// distinct merges the partitions of a table and keeps the order.
func distinct(columns []unclassified) []unclassified {
	seen := map[string]bool{}
	var out []unclassified
	for _, u := range columns {
		if id := u.ruleTable() + "." + u.column.Name; !seen[id] {
			seen[id] = true
			out = append(out, u)
		}
	}
	return out
}

func unclassifiedError(columns []unclassified) error {
	columns = distinct(columns)
	names := make([]string, len(columns))
	for i, u := range columns {
		names[i] = u.ruleTable() + "." + u.column.Name
	}
	what := "1 column has no masking rule"
	if len(columns) > 1 {
		what = fmt.Sprintf("%d columns have no masking rule", len(columns))
	}
	e := mayfly.Errorf(mayfly.CodeUnclassified, "%s: %s", what, strings.Join(names, ", "))
	e.Hint = "add these lines to the rules file (to its section \"tables\" if it has one), and correct what is only a guess:\n" + proposeYAML(columns)
	return e
}

// proposeYAML writes the tables section for columns.
func proposeYAML(columns []unclassified) string {
	var out strings.Builder
	out.WriteString("tables:\n")
	var order []string
	byTable := map[string][]unclassified{}
	for _, u := range distinct(columns) {
		name := u.ruleTable()
		if byTable[name] == nil {
			order = append(order, name)
		}
		byTable[name] = append(byTable[name], u)
	}
	for _, name := range order {
		fmt.Fprintf(&out, "  %s:\n    columns:\n", yamlKey(name))
		for _, u := range byTable[name] {
			fmt.Fprintf(&out, "      %s: %s\n", yamlKey(u.column.Name), propose(u.table, u.column).yaml())
		}
	}
	return out.String()
}

// yamlKey quotes a name where YAML would read it as something else.
func yamlKey(name string) string {
	plain := name != ""
	for i, c := range name {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		plain = plain && (letter || i > 0 && ('0' <= c && c <= '9' || c == '.'))
	}
	switch strings.ToLower(name) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(name) + `"`
}
