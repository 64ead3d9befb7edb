package sanitize

import (
	"fmt"
	"strings"

	"github.com/mayflydb/mayfly"
)

// proposal is a transformer proposed for a column that nobody classified.
type proposal struct {
	mask   string
	params string // ", part: first"
	// unsure marks a proposal that a person has to look at.
	unsure bool
}

// yaml writes the proposal as it stands in a rules file.
func (p proposal) yaml() string {
	text := p.mask
	if p.params != "" {
		text = "{mask: " + p.mask + p.params + "}"
	}
	if p.unsure {
		text += " # please check"
	}
	return text
}

// propose guesses a transformer from the name and the type. It errs on the side of masking: types that can hold a text are
// kept only where nothing else fits, and then marked.
func propose(c *Column) proposal {
	t := newTarget(&Table{}, c)
	p := proposeByType(t)
	if t.family == familyText {
		p = proposeText(t)
	}
	if c.PartitionKey {
		return proposal{mask: "keep", unsure: p.mask != "keep" || p.unsure}
	}
	return p
}

func proposeByType(t *target) proposal {
	c := t.column
	name := strings.ToLower(c.Name)
	key := c.PrimaryKey || len(c.References) > 0 || name == "id" || strings.HasSuffix(name, "_id")
	switch t.family {
	case familyInteger:
		if !key && mentions(name, "ssn", "tax", "passport", "account", "card", "phone", "mobile", "salary", "pin") {
			return proposal{mask: "number", unsure: true}
		}
		return proposal{mask: "keep"}
	case familyNumeric:
		return proposal{mask: "keep", unsure: mentions(name, "salary", "income", "balance", "wage")}
	case familyBoolean, familyTime, familyEnum:
		return proposal{mask: "keep"}
	case familyDate:
		if mentions(name, "birth", "dob", "death") {
			return proposal{mask: "date_shift"}
		}
		return proposal{mask: "keep"}
	case familyUUID:
		return proposal{mask: "keep", unsure: !key}
	case familyJSON:
		if c.Unique {
			return orNull(c)
		}
		return proposal{mask: "json", params: ", default: redact", unsure: true}
	case familyInet:
		if c.Unique {
			return orNull(c)
		}
		return proposal{mask: "inet"}
	case familyBytes, familyTextArray, familyXML, familyTSVector:
		if c.Unique {
			return orNull(c)
		}
		return proposal{mask: "redact", unsure: true}
	case familyHstore:
		if c.Unique {
			return orNull(c)
		}
		return proposal{mask: "hstore", unsure: true}
	default:
		return orNull(c)
	}
}

// orNull is for types that no transformer understands.
func orNull(c *Column) proposal {
	if c.NotNull || c.PrimaryKey {
		return proposal{mask: "keep", unsure: true}
	}
	return proposal{mask: "null", unsure: true}
}

// namePatterns maps parts of column names to transformers, the most exact first.
func namePatterns() []struct {
	words []string
	p     proposal
} {
	return []struct {
		words []string
		p     proposal
	}{
		{[]string{"email", "e_mail", "mail_address"}, proposal{mask: "email"}},
		{[]string{"phone", "mobile", "fax", "msisdn"}, proposal{mask: "phone"}},
		{[]string{"password", "passwd", "secret", "token", "api_key", "apikey", "hash", "digest", "salt", "session_key", "fingerprint"}, proposal{mask: "token"}},
		{[]string{"ssn", "iban", "passport", "tax_id", "vat", "account_number", "card", "license"}, proposal{mask: "token"}},
		{[]string{"first_name", "firstname", "given_name", "forename"}, proposal{mask: "person_name", params: ", part: first"}},
		{[]string{"last_name", "lastname", "surname", "family_name"}, proposal{mask: "person_name", params: ", part: last"}},
		{[]string{"username", "user_name", "login", "nickname", "handle"}, proposal{mask: "username"}},
		{[]string{"company", "organisation", "organization", "employer"}, proposal{mask: "company"}},
		{[]string{"full_name", "fullname", "display_name", "contact_name", "customer_name", "person_name", "recipient"}, proposal{mask: "person_name"}},
		{[]string{"postcode", "postal_code", "post_code", "zip"}, proposal{mask: "postcode"}},
		{[]string{"ip_address", "ip_addr", "remote_addr", "client_ip"}, proposal{mask: "inet"}},
		{[]string{"street", "address", "addr"}, proposal{mask: "street_address"}},
		{[]string{"city", "town"}, proposal{mask: "city"}},
		{[]string{"url", "uri", "website", "homepage", "link"}, proposal{mask: "url"}},
		{[]string{"external_id", "reference", "identifier"}, proposal{mask: "token", unsure: true}},
	}
}

// proposeText guesses for texts. What has to be unique gets a token, everything unknown is redacted.
func proposeText(t *target) proposal {
	name := strings.ToLower(t.column.Name)
	p := proposal{mask: "redact", unsure: true}
	switch name {
	case "name":
		p = proposal{mask: "person_name", unsure: true}
	case "ip":
		p = proposal{mask: "inet"}
	default:
		for _, pattern := range namePatterns() {
			if mentions(name, pattern.words...) {
				p = pattern.p
				break
			}
		}
	}
	needsKey := t.column.Unique || t.column.PrimaryKey || len(t.column.References) > 0
	k := findKind(p.mask)
	if needsKey && !k.unique {
		p = proposal{mask: "token", unsure: true}
		k = findKind(p.mask)
	}
	// A transformer that would be refused here is no proposal.
	if b, err := k.bind(proposalArguments(k, p), t, make([]byte, MinKeyLength)); err != nil || needsKey && !b.unique {
		if len(t.column.References) > 0 {
			return proposal{mask: "keep", unsure: true}
		}
		if needsKey {
			return orNull(t.column)
		}
		return proposal{mask: "redact", unsure: true}
	}
	return p
}

func proposalArguments(k *kind, p proposal) *arguments {
	a := &arguments{params: k.params, values: map[string]string{}}
	if _, part, ok := strings.Cut(p.params, "part: "); ok {
		a.values["part"] = part
	}
	return a
}

// mentions reports whether name contains one of the words, short ones only between underscores.
func mentions(name string, words ...string) bool {
	for _, w := range words {
		if len(w) <= 4 && strings.Contains("_"+name+"_", "_"+w+"_") || len(w) > 4 && strings.Contains(name, w) {
			return true
		}
	}
	return false
}

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
			fmt.Fprintf(&out, "      %s: %s\n", yamlKey(u.column.Name), propose(u.column).yaml())
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
