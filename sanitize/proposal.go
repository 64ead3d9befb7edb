package sanitize

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize/recognise"
)

// proposal is a transformer proposed for a column that nobody classified.
type proposal struct {
	spec       string // as it stands in a rules file, in one line
	confidence float64
	why        string
	paths      []pathProposal // of json: spec is without them
}

// pathProposal is a transformer for a place in documents.
type pathProposal struct {
	path string
	proposal
}

// sure is the confidence from which on a proposal is not marked for a person to look at.
const sure = 0.75

// yaml writes the proposal in one line.
func (p *proposal) yaml() string {
	if p.confidence < sure {
		return p.oneLine() + " # please check"
	}
	return p.oneLine()
}

func (p *proposal) oneLine() string {
	if len(p.paths) == 0 {
		return p.spec
	}
	var paths strings.Builder
	for i := range p.paths {
		if i > 0 {
			paths.WriteString(", ")
		}
		paths.WriteString(yamlKey(p.paths[i].path) + ": " + p.paths[i].spec)
	}
	return strings.TrimSuffix(p.spec, "}") + ", paths: {" + paths.String() + "}}"
}

// propose guesses a transformer from the names and the type. It errs on the side of masking.
func propose(table *Table, c *Column) *proposal {
	all := proposals(table, c, nil)
	return &all[0]
}

// proposals returns what could be done to a column, the best first; all of it fits the column. There is at least one.
func proposals(table *Table, c *Column, e *evidence) []proposal {
	t := newTarget(table, c)
	if c.PartitionKey {
		p := proposal{spec: "keep", confidence: 0.9, why: "rows are routed to partitions by it"}
		if t.family == familyText {
			p.confidence = 0.5
		}
		return []proposal{p}
	}
	g := guessOf(tablePath(table), c.Name, c.Type, e)
	var fitting []proposal
	for _, p := range append(byFamily(t, table, g, e), lastResorts(t)...) {
		if !slices.ContainsFunc(fitting, func(have proposal) bool { return have.spec == p.spec }) && fitsColumn(t, &p) {
			fitting = append(fitting, p)
		}
	}
	if len(fitting) == 0 {
		fitting = append(fitting, proposal{spec: "keep", confidence: 0.1, why: "nothing that is known fits; think of something"})
	}
	return fitting
}

// fitsColumn reports whether a proposal would be accepted for a column by itself.
func fitsColumn(t *target, p *proposal) bool {
	rules, err := Parse("proposal", []byte("version: "+rulesVersion+"\ntables: {t.t: {columns: {c: "+p.oneLine()+"}}}\n"))
	if err != nil {
		return false
	}
	own := newTarget(&Table{}, t.column)
	own.trial = true
	bound, err := fitValue(make([]byte, MinKeyLength), own, rules.tables[0].columns[0].spec)
	needsUnique := t.column.Unique || len(t.column.References) > 0 && t.family == familyText
	return err == nil && (bound.unique || !needsUnique)
}

// lastResorts are for columns that nothing better fits.
func lastResorts(t *target) []proposal {
	out := []proposal{{spec: "token", confidence: 0.5, why: "it has to be unique, and a token says nothing"}}
	if !t.column.NotNull && !t.column.PrimaryKey {
		out = append(out, proposal{spec: `"null"`, confidence: 0.5, why: "nothing that keeps the form of the values fits"})
	}
	return append(out, proposal{spec: "redact", confidence: 0.5, why: "unknown texts are not kept"},
		proposal{spec: "keep", confidence: 0.2, why: "nothing that masks it fits the column and its constraints"})
}

// byFamily proposes what suits the type.
func byFamily(t *target, table *Table, g guess, e *evidence) []proposal {
	c := t.column
	key := c.PrimaryKey || len(c.References) > 0
	keep := func(confidence float64, why string) []proposal {
		return []proposal{{spec: "keep", confidence: confidence, why: why}}
	}
	as := func(spec string) []proposal { return []proposal{{spec: spec, confidence: g.confidence, why: g.why}} }
	switch t.family {
	case familyText:
		return textProposals(t, table, g, e)
	case familyInteger:
		switch {
		case key:
			return keep(0.95, "a key without a meaning of its own")
		case g.kind != "":
			return as("number")
		}
		return keep(impersonalConfidence(c.Name), "a number whose name says nothing personal")
	case familyNumeric:
		switch g.kind {
		case "":
			return keep(impersonalConfidence(c.Name), "a number whose name says nothing personal")
		case recognise.Location, string(recognise.Coordinates):
			return append(as("{mask: geo_jitter, part: "+axis(c.Name)+"}"), as("number")...)
		default:
			return as("number")
		}
	case familyDate:
		switch {
		case g.kind == string(recognise.BirthDate):
			return append(as("birth_date"), as("date_shift")...)
		case ofLife(c.Name):
			return []proposal{{spec: "date_shift", confidence: 0.7, why: "a day in the life of a person"}}
		case strings.HasPrefix(t.base, "timestamp") || recognise.Impersonal(c.Name) || strings.Contains(strings.ToLower(c.Name), "date"):
			return keep(0.8, "when something happened in the application")
		default:
			return []proposal{{spec: "date_shift", confidence: 0.6, why: "a day that may be about a person"}}
		}
	case familyBoolean, familyTime:
		return keep(0.9, "too little to be personal")
	case familyEnum:
		if g.kind == recognise.Sensitive {
			return as("enum_label")
		}
		return keep(0.9, "one of a few labels that the schema has")
	case familyUUID:
		if key || strings.HasSuffix(strings.ToLower(c.Name), "id") {
			return keep(0.85, "a key without a meaning of its own")
		}
		return []proposal{{spec: "uuid", confidence: 0.7, why: "an identifier that may be known elsewhere"}}
	case familyJSON:
		return []proposal{jsonProposal(tablePath(table), e)}
	case familyInet:
		return []proposal{{spec: "inet", confidence: 0.95, why: "the type holds addresses"}}
	case familyMAC:
		return []proposal{{spec: "mac", confidence: 0.95, why: "the type holds hardware addresses"}}
	case familyPoint:
		return []proposal{{spec: "geo_jitter", confidence: 0.85, why: "the type holds places"}}
	case familyHstore:
		return []proposal{{spec: "hstore", confidence: 0.6, why: "all values are masked; name the keys whose values may stay"}}
	case familyBytes, familyXML, familyTSVector:
		return []proposal{{spec: "redact", confidence: 0.7, why: "the type can hold anything"}}
	case familyTextArray, familyArray, familyRange, familyComposite:
		return insideProposals(t, table, e)
	case familyOther:
	}
	return nil
}

// ofLife reports whether a date is one of somebody's life besides the birth.
func ofLife(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"hire", "death", "died", "decease", "married", "wedding", "admission", "discharge"}, func(word string) bool { return strings.Contains(name, word) })
}

func impersonalConfidence(name string) float64 {
	if recognise.Impersonal(name) {
		return 0.9
	}
	return 0.8
}

// axis says which of the two coordinates a column holds.
func axis(name string) string {
	name = strings.ToLower(name)
	if strings.Contains(name, "lon") || strings.Contains(name, "lng") || strings.Contains(name, "lang") || strings.Contains(name, "boy") {
		return "longitude"
	}
	return "latitude"
}

// textProposals are for texts. What is not known to be harmless is masked.
func textProposals(t *target, table *Table, g guess, e *evidence) []proposal {
	var out []proposal
	for _, spec := range textSpecs(g.kind, t.column.NotNull) {
		out = append(out, proposal{spec: spec, confidence: g.confidence, why: g.why})
	}
	switch {
	case g.kind == recognise.FreeText && e.mixed() != "":
		out[0].why += "; {mask: scrub} keeps such texts readable, but cannot prove that nothing is left"
	case g.kind != "":
	case harmless(tablePath(table), t.column.Name) && (e == nil || !e.more) && !namesSecret(t):
		out = append(out, proposal{spec: "keep", confidence: 0.8, why: "the name says something that belongs to the application; " + e.described()})
	case e.code():
		out = append(out, proposal{spec: "redact", confidence: 0.4, why: e.described() + ": a code? Then keep it"})
	default:
		out = append(out, proposal{spec: "redact", confidence: 0.5, why: "a text of which nothing is known; " + e.described()})
	}
	return out
}

// textSpecs are the transformers for a kind of content, the best first.
func textSpecs(kind string, notNull bool) []string {
	k := recognise.Kind(kind)
	switch {
	case kind == "":
		return nil
	case k == recognise.USITIN || k == recognise.USEIN || k == recognise.INPAN:
		return []string{"fpe"}
	case k.National():
		return []string{"{mask: national_id, scheme: " + kind + "}", "fpe"}
	case k == recognise.URL:
		return []string{"url", "token"}
	case k.Credential(), kind == recognise.Password, kind == recognise.Token:
		return []string{"token"}
	}
	switch kind {
	case string(recognise.Email), string(recognise.Phone), string(recognise.Card), string(recognise.IBAN), string(recognise.MAC), string(recognise.UUID),
		recognise.Username, recognise.Company, recognise.StreetAddress, recognise.City, recognise.Postcode:
		return []string{kind, "token"}
	case recognise.IPAddress:
		return []string{"inet", "token"}
	case recognise.FirstName:
		return []string{"{mask: person_name, part: first}"}
	case recognise.LastName:
		return []string{"{mask: person_name, part: last}"}
	case recognise.FullName, recognise.Name:
		return []string{"person_name"}
	case recognise.NationalID, recognise.Account:
		return []string{"fpe", "token"}
	case recognise.Website, recognise.Picture:
		return []string{"url", "redact"}
	case recognise.Sensitive:
		if !notNull {
			return []string{`"null"`, "redact"}
		}
	}
	return []string{"redact"}
}

// insideProposals are for arrays, ranges and composites: what suits the values inside of them.
func insideProposals(t *target, table *Table, e *evidence) []proposal {
	d := t.column.dataType()
	switch d.Kind {
	case TypeComposite:
		fields := make([]string, 0, len(d.Fields))
		p := proposal{confidence: 1, why: "field by field"}
		for _, f := range d.Fields {
			inner := propose(&Table{Schema: table.Schema, Name: table.Name}, columnOf(f.Name, f.Type))
			fields = append(fields, yamlKey(f.Name)+": "+inner.oneLine())
			p.confidence = min(p.confidence, inner.confidence)
		}
		p.spec = "{mask: composite, fields: {" + strings.Join(fields, ", ") + "}}"
		return []proposal{p}
	case TypeArray:
		element := columnOf(t.column.Name, d.Element)
		return proposals(&Table{Schema: table.Schema, Name: table.Name}, element, e)
	case TypeRange, TypeMultirange:
		if g := guessOf(tablePath(table), t.column.Name, "date", nil); g.kind != "" {
			return []proposal{{spec: "date_shift", confidence: 0.6, why: g.why}}
		}
		return []proposal{{spec: "keep", confidence: 0.75, why: "a range whose name says nothing personal"}}
	case TypeScalar:
	}
	return nil
}

// columnOf is a column for something inside of one.
func columnOf(name string, d *DataType) *Column {
	c := &Column{Name: name, Type: d.Name, MaxLength: d.MaxLength, EnumLabels: d.EnumLabels}
	if d.Kind != TypeScalar {
		c.Inner = d
	}
	return c
}

// jsonProposal names every place that was seen. What no path names is redacted.
func jsonProposal(table string, e *evidence) proposal {
	p := proposal{spec: "{mask: json, default: redact}", confidence: 0.6, why: "documents; no values were seen"}
	if e == nil || len(e.paths) == 0 {
		return p
	}
	p.confidence, p.why = 0.7, fmt.Sprintf("%d documents were seen, with values in %d places; all others are redacted", e.values, len(e.paths))
	for _, path := range slices.Sorted(maps.Keys(e.paths)) {
		p.paths = append(p.paths, pathProposal{path, leafProposal(table, e.keys[path], e.paths[path])})
	}
	return p
}

// leafProposal is for a place in documents.
func leafProposal(table, key string, e *evidence) proposal {
	if e.strings == 0 {
		switch g := guessOf(table, key, "numeric", nil); {
		case e.numbers == 0:
			return proposal{spec: "keep", confidence: 0.85, why: "only true and false"}
		case g.kind != "":
			return proposal{spec: "number", confidence: g.confidence, why: g.why}
		case recognise.Impersonal(key):
			return proposal{spec: "keep", confidence: 0.8, why: "numbers whose name says that they count or measure"}
		default:
			return proposal{spec: "redact", confidence: 0.5, why: fmt.Sprintf("%d numbers of which nothing is known", e.numbers)}
		}
	}
	g := guessOf(table, key, "text", e)
	specs := textSpecs(g.kind, false)
	switch {
	case g.kind == "" && recognise.Impersonal(key) && e.code():
		return proposal{spec: "keep", confidence: 0.8, why: "the name says something that belongs to the application; " + e.described()}
	case len(specs) == 0:
		return proposal{spec: "redact", confidence: 0.5, why: "texts of which nothing is known; " + e.described()}
	default:
		return proposal{spec: specs[0], confidence: g.confidence, why: g.why}
	}
}
