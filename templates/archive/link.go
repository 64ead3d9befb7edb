package archive

import (
	"slices"
	"strings"
)

// token is a word, a quoted name, an operator or another sign of a statement. Literals are left out.
type token struct {
	text  string
	named bool // a quoted name, or a word
	word  bool // a word
}

// tokenize cuts a statement that the splitter has let through.
func tokenize(statement string) []token {
	var tokens []token
	for i := 0; i < len(statement); {
		c := statement[i]
		switch {
		case c == '\'':
			escapes := len(tokens) > 0 && tokens[len(tokens)-1].word && strings.EqualFold(tokens[len(tokens)-1].text, "E") && statement[i-1]|0x20 == 'e'
			i = skipQuoted(statement, i, escapes)
		case c == '"':
			end := skipQuoted(statement, i, false)
			name := strings.ReplaceAll(strings.TrimSuffix(statement[i+1:end], `"`), `""`, `"`)
			tokens = append(tokens, token{text: name, named: true})
			i = end
		case c == '$':
			i = skipDollar(statement, i)
		case isWordByte(c):
			end := i
			for end < len(statement) && isWordByte(statement[end]) {
				end++
			}
			tokens = append(tokens, token{text: statement[i:end], named: true, word: true})
			i = end
		case strings.IndexByte(operatorBytes, c) >= 0:
			end := i
			for end < len(statement) && strings.IndexByte(operatorBytes, statement[end]) >= 0 {
				end++
			}
			tokens = append(tokens, token{text: statement[i:end]})
			i = end
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			i++
		default:
			tokens = append(tokens, token{text: string(rune(c))})
			i++
		}
	}
	return tokens
}

const operatorBytes = "+-*/<>=~!@#%^&|`?"

func skipQuoted(s string, i int, escapes bool) int {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\' && escapes:
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

func skipDollar(s string, i int) int {
	end := strings.IndexByte(s[i+1:], '$')
	if end < 0 || strings.ContainsFunc(s[i+1:i+1+end], func(r rune) bool { return r < 0x80 && !isWordByte(byte(r)) }) || end > 0 && !isWordStart(s[i+1]) {
		return i + 1
	}
	tag := s[i : i+end+2]
	at := strings.Index(s[i+len(tag):], tag)
	if at < 0 {
		return len(s)
	}
	return i + 2*len(tag) + at
}

// name is a name with its schema.
type name struct{ schema, name string }

// names returns the names with schemas in a statement, each once: pg_dump writes them for everything outside pg_catalog.
func names(tokens []token) []name {
	var found []name
	for i := 0; i+2 < len(tokens); i++ {
		if !tokens[i].named || tokens[i+1].text != "." || tokens[i+1].named || i > 0 && tokens[i-1].text == "." && !tokens[i-1].named {
			continue
		}
		if next := tokens[i+2]; next.named || strings.ContainsAny(next.text, operatorBytes) {
			n := name{tokens[i].text, next.text}
			if n.schema != "pg_catalog" && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	}
	return found
}

func firstName(tokens []token) name {
	if all := names(tokens); len(all) > 0 {
		return all[0]
	}
	return name{}
}

// after returns the name that stands behind a sequence of words.
func after(tokens []token, words ...string) string {
	if at := behind(tokens, words...); at > 0 && tokens[at].named {
		return tokens[at].text
	}
	return ""
}

// rename takes the exact name from a statement: the comment before it has no newlines.
func (e *Entry) rename(to name) {
	if oneLine(to.schema) == e.Schema && oneLine(to.name) == e.Tag {
		e.Schema, e.Tag = to.schema, to.name
	}
}

// linker finds out which entries need which, from the names in their statements.
type linker struct {
	entries    []Entry
	tokens     [][]token
	defined    map[name][]int // by what they define: indexes into entries
	extensions []int
	loose      map[[2]string]int // what is outside schemas, by kind and name
	keys       map[int][]key     // of a table, by its id
	partitions map[int][]partition
}

// link fills in the dependencies of the entries of a script, as far as the order of restoring, locks on tables and what
// is left out together need them. A script is in an order that works, so an entry needs only entries before it.
func link(entries []Entry) {
	l := &linker{
		entries: entries, tokens: make([][]token, len(entries)), defined: map[name][]int{}, loose: map[[2]string]int{},
		keys: map[int][]key{}, partitions: map[int][]partition{},
	}
	for i := range entries {
		switch entries[i].Kind {
		case "ACL", "DEFAULT ACL": // are not restored
		default:
			l.tokens[i] = tokenize(entries[i].Definition + entries[i].Copy)
		}
	}
	for i := range entries {
		l.define(i)
	}
	object := -1 // the last entry that is not about another one
	for i := range entries {
		e := &entries[i]
		l.references(i)
		switch e.Kind {
		case "COMMENT", "SECURITY LABEL":
			if object >= 0 {
				l.needs(i, object)
			}
		case "ACL", "DEFAULT ACL":
		default:
			object = i
		}
		l.keysOf(i)
	}
}

func (l *linker) needs(i, on int) {
	if id := l.entries[on].ID; on < i && !slices.Contains(l.entries[i].Dependencies, id) {
		l.entries[i].Dependencies = append(l.entries[i].Dependencies, id)
	}
}

// define notes what an entry defines.
func (l *linker) define(i int) {
	e, tokens := &l.entries[i], l.tokens[i]
	var made name
	switch e.Kind {
	case "SCHEMA":
		if exact := after(tokens, "CREATE", "SCHEMA"); exact != "" && oneLine(exact) == e.Tag {
			e.Tag = exact
		}
		l.loose[[2]string{e.Kind, e.Tag}] = i
		return
	case "EXTENSION":
		l.extensions = append(l.extensions, i)
		l.loose[[2]string{e.Kind, e.Tag}] = i
		return
	case "SERVER", "FOREIGN DATA WRAPPER", "PUBLICATION", "SUBSCRIPTION", "EVENT TRIGGER", "PROCEDURAL LANGUAGE", "ACCESS METHOD":
		l.loose[[2]string{e.Kind, e.Tag}] = i
		return
	case "INDEX":
		made = name{firstName(tokens).schema, e.Tag}
		if exact := after(tokens, "INDEX"); oneLine(exact) == e.Tag {
			made.name, e.Tag = exact, exact
		}
	case "CONSTRAINT":
		made = name{firstName(tokens).schema, after(tokens, "ADD", "CONSTRAINT")}
	case "SEQUENCE":
		made = firstName(tokens)
		if at := slices.IndexFunc(tokens, func(t token) bool { return t.word && t.text == "NAME" }); at > 0 && tokens[0].text == "ALTER" {
			made = firstName(tokens[at:])
		}
		e.rename(made)
	case "TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "TYPE", "DOMAIN", "COLLATION", "STATISTICS":
		made = firstName(tokens)
		e.rename(made)
	case "FUNCTION", "PROCEDURE", "AGGREGATE", "SHELL TYPE", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "CONVERSION",
		"TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE":
		made = firstName(tokens)
	default:
		return
	}
	if made.name != "" {
		l.defined[made] = append(l.defined[made], i)
	}
}

// references notes what an entry names.
func (l *linker) references(i int) {
	e, tokens := &l.entries[i], l.tokens[i]
	if on, found := l.loose[[2]string{"SCHEMA", e.Schema}]; found && e.Schema != "" {
		l.needs(i, on)
	}
	for _, n := range names(tokens) {
		on := l.defined[n]
		switch {
		case len(on) == 0:
			l.member(i, n)
		case len(on) > 1 && l.routines(on): // of which it is one, but which?
		default:
			for _, at := range on {
				l.needs(i, at)
			}
		}
	}
	for _, loose := range [][]string{{"SERVER"}, {"FOREIGN", "DATA", "WRAPPER"}, {"PUBLICATION"}, {"SUBSCRIPTION"}, {"EVENT", "TRIGGER"}, {"EXTENSION"}} {
		if on, found := l.loose[[2]string{strings.Join(loose, " "), after(tokens, loose...)}]; found {
			l.needs(i, on)
		}
	}
	if language := after(tokens, "LANGUAGE"); language != "" {
		for _, kind := range []string{"EXTENSION", "PROCEDURAL LANGUAGE"} {
			if on, found := l.loose[[2]string{kind, language}]; found {
				l.needs(i, on)
			}
		}
	}
	if wrapper := after(tokens, "FOREIGN", "DATA", "WRAPPER"); e.Kind == "SERVER" && wrapper != "" {
		if on, found := l.loose[[2]string{"EXTENSION", wrapper}]; found {
			l.needs(i, on)
		}
	}
	l.needsKeys(i)
}

// routines reports whether entries are functions or the like, of one name and with different arguments.
func (l *linker) routines(indexes []int) bool {
	return !slices.ContainsFunc(indexes, func(i int) bool {
		switch l.entries[i].Kind {
		case "FUNCTION", "PROCEDURE", "AGGREGATE", "OPERATOR":
			return false
		}
		return true
	})
}

// member looks for the extension that a name which the script does not define belongs to. Scripts do not say: it is the
// one that the name begins with, or else the only one in the name's schema.
func (l *linker) member(i int, n name) {
	var there []int
	for _, at := range l.extensions {
		tag := l.entries[at].Tag
		if n.name == tag || strings.HasPrefix(n.name, tag+"_") {
			l.needs(i, at)
			return
		}
		if after(l.tokens[at], "SCHEMA") == n.schema {
			there = append(there, at)
		}
	}
	if len(there) == 1 && n.schema != "" && l.isSchema(n.schema) {
		l.needs(i, there[0])
	}
}

// isSchema tells schemas from what else may stand before a dot: the alias of a table in a query.
func (l *linker) isSchema(schema string) bool {
	_, made := l.loose[[2]string{"SCHEMA", schema}]
	return made || schema == "public"
}

// key is an entry that makes columns of a table unique.
type key struct {
	entry   int
	columns string // sorted
	primary bool
}

// keysOf notes what makes columns of tables unique.
func (l *linker) keysOf(i int) {
	e, tokens := &l.entries[i], l.tokens[i]
	made := key{entry: i}
	switch {
	case e.Kind == "CONSTRAINT" && behind(tokens, "PRIMARY", "KEY") > 0:
		made.columns, made.primary = columnsAt(tokens, behind(tokens, "PRIMARY", "KEY")), true
	case e.Kind == "CONSTRAINT" && behind(tokens, "UNIQUE") > 0:
		made.columns = columnsAt(tokens, behind(tokens, "UNIQUE"))
	case e.Kind == "INDEX" && len(tokens) > 1 && tokens[1].text == "UNIQUE":
		made.columns = columnsAt(tokens, behind(tokens, "USING")+1)
	case e.Kind == "INDEX ATTACH":
		l.attached(i)
		return
	default:
		return
	}
	for _, id := range e.Dependencies {
		if l.entries[id-1].Kind == "TABLE" {
			l.keys[id] = append(l.keys[id], made)
		}
	}
}

// attached notes that the key of a partitioned table is one only when those of its partitions are attached to it:
// ALTER INDEX parent ATTACH PARTITION child.
func (l *linker) attached(i int) {
	both := names(l.tokens[i])
	if len(both) < 2 || len(l.defined[both[0]]) == 0 || len(l.defined[both[1]]) == 0 {
		return
	}
	parent := l.defined[both[0]][0]
	l.partitions[parent] = append(l.partitions[parent], partition{attach: i, child: l.defined[both[1]][0]})
}

// partition is an index that is attached to another one.
type partition struct{ attach, child int }

// needsKey lets an entry wait for a key, and for what is attached to it.
func (l *linker) needsKey(i, key int, seen map[int]bool) {
	if seen[key] { // a damaged dump may attach in circles
		return
	}
	seen[key] = true
	l.needs(i, key)
	for _, p := range l.partitions[key] {
		l.needs(i, p.attach)
		l.needsKey(i, p.child, seen)
	}
}

// needsKeys lets a foreign key wait for the keys that it refers to, and a view that stands behind the keys for the
// primary ones: a query that is grouped by one may read the other columns.
func (l *linker) needsKeys(i int) {
	e, tokens := &l.entries[i], l.tokens[i]
	if e.Section != SectionPostData {
		return
	}
	referenced := -1
	var columns string
	switch e.Kind {
	case "FK CONSTRAINT":
		at := behind(tokens, "REFERENCES")
		if at == 0 || at+3 > len(tokens) {
			return
		}
		on := l.defined[firstName(tokens[at:])]
		if len(on) == 0 {
			return
		}
		referenced, columns = l.entries[on[0]].ID, columnsAt(tokens, at+3)
	case "RULE":
		if !strings.HasPrefix(e.Definition, "CREATE OR REPLACE VIEW ") {
			return
		}
	case "VIEW", "MATERIALIZED VIEW", "FUNCTION", "PROCEDURE":
	default:
		return
	}
	for _, id := range slices.Clone(e.Dependencies) {
		for _, k := range l.keys[id] {
			if referenced < 0 && k.primary || id == referenced && k.columns == columns {
				l.needsKey(i, k.entry, map[int]bool{})
			}
		}
	}
}

// behind returns the index of the token behind a sequence of words, 0 if they are not there.
func behind(tokens []token, words ...string) int {
	for i := 0; i+len(words) < len(tokens); i++ {
		matches := true
		for j, w := range words {
			matches = matches && tokens[i+j].word && tokens[i+j].text == w
		}
		if matches {
			return i + len(words)
		}
	}
	return 0
}

// columnsAt returns the names in the parentheses that begin at a token, or one or two behind it, sorted.
func columnsAt(tokens []token, at int) string {
	for skip := 0; skip < 4 && at < len(tokens) && tokens[at].text != "("; skip++ { // UNIQUE NULLS NOT DISTINCT (
		at++
	}
	var columns []string
	for ; at < len(tokens) && tokens[at].text != ")"; at++ {
		if t := tokens[at]; t.named && (tokens[at-1].text == "(" || tokens[at-1].text == ",") {
			columns = append(columns, t.text)
		}
	}
	slices.Sort(columns)
	return strings.Join(columns, "\x00")
}
