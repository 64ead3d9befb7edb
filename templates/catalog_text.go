package templates

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// passage is a part of a text in which something was recognised that a template must not have.
type passage struct {
	begin, end int
	what       string // "email addresses"
}

// definition rewrites the SQL that makes one object. It changes the contents of string literals and comments, and
// nothing else: what is found anywhere else, or in a literal that other things depend on, is stuck.
type definition struct {
	kind string // of the entry
	find func(text string) []passage
	// made returns what takes the place of a passage.
	made func(what, text string) string

	masked, stuck []string // what was found: "email addresses", "an email address in an enum label"
}

// rewrite returns the SQL without what was found in it.
func (d *definition) rewrite(sql string) string {
	if d.kind == "COMMENT" {
		return d.literals(sql, func(*place) string { return "" }, true)
	}
	language := languageOf(sql)
	return d.literals(sql, func(p *place) string { return p.role(d.kind, language) }, false)
}

// Roles of literals that cannot be replaced: rows, or other definitions, depend on them. The body of a routine is looked
// into.
const (
	roleBody  = "the body"
	roleCheck = "a check constraint"
	roleLabel = "an enum label"
	roleBound = "a partition bound or key"
	roleOther = "a definition that depends on it"
	roleCode  = "a name, or in code outside of literals"
	roleForm  = "a literal of a form that is not rewritten"
)

// literals rewrites the literals and comments of a text whose role is "", and looks at the rest.
func (d *definition) literals(sql string, role func(*place) string, comment bool) string {
	var out, code strings.Builder
	at := &place{sql: sql}
	end := 0
	for _, token := range sqlsplit.Tokens(sql, true) {
		raw := sql[token.Begin:token.End]
		out.WriteString(sql[end:token.Begin])
		code.WriteString(sql[end:token.Begin])
		end = token.End
		switch token.Kind {
		case sqlsplit.KindComment:
			out.WriteString(d.comment(raw))
			code.WriteByte(' ')
		case sqlsplit.KindString, sqlsplit.KindEscaped, sqlsplit.KindDollar, sqlsplit.KindUnicode, sqlsplit.KindBits:
			out.WriteString(d.literal(raw, token.Kind, role(at)))
			code.WriteByte(' ')
		case sqlsplit.KindNumber:
			out.WriteString(d.number(raw, role(at)))
			code.WriteByte(' ')
		default:
			out.WriteString(raw)
			code.WriteString(raw)
		}
		at.pass(token.Kind, raw)
	}
	out.WriteString(sql[end:])
	if !comment { // a comment has the name of another object, which is looked at itself
		d.hold(code.String(), roleCode)
	}
	return out.String()
}

// hold notes what is in a text that is not changed.
func (d *definition) hold(text, role string) {
	for _, p := range d.find(text) {
		d.stuck = append(d.stuck, p.what+" in "+role)
	}
}

// replace returns the text with made-up passages.
func (d *definition) replace(text string) string {
	found := d.find(text)
	if len(found) == 0 {
		return text
	}
	slices.SortStableFunc(found, func(a, b passage) int { return a.begin - b.begin })
	var out strings.Builder
	end := 0
	for i := 0; i < len(found); {
		p := found[i]
		for i++; i < len(found) && found[i].begin < p.end; i++ { // one thing, recognised as several
			p.end = max(p.end, found[i].end)
		}
		out.WriteString(text[end:p.begin])
		out.WriteString(d.made(p.what, text[p.begin:p.end]))
		d.masked = append(d.masked, p.what)
		end = p.end
	}
	out.WriteString(text[end:])
	return out.String()
}

// literal returns a literal without what was found in it.
func (d *definition) literal(raw string, kind sqlsplit.Kind, role string) string {
	value, ok := literalValue(raw, kind)
	switch {
	case !ok || role != "" && role != roleBody:
		if role == "" || role == roleBody {
			role = roleForm
		}
		d.hold(value, role)
		if inner, found := hexBytes(value); found {
			d.hold(inner, role)
		}
		return raw
	case role == roleBody:
		body := d.literals(value, func(*place) string { return "" }, false)
		return rewritten(raw, kind, value, body)
	}
	if inner, found := hexBytes(value); found {
		if made := d.replace(inner); made != inner {
			return rewritten(raw, kind, value, `\x`+hex.EncodeToString([]byte(made)))
		}
		return raw
	}
	return rewritten(raw, kind, value, d.replace(value))
}

// comment returns an SQL comment without what was found in it. What begins and ends it stays.
func (d *definition) comment(raw string) string {
	inner, end := raw[2:], ""
	if raw[0] == '/' && strings.HasSuffix(inner, "*/") {
		inner, end = inner[:len(inner)-2], "*/"
	}
	return raw[:2] + d.replace(inner) + end
}

// minNumber is how many digits a number has that may be that of a card or an account.
const minNumber = 9

// number returns a number without what was found in it. Bounds of sequences are round in their own way.
func (d *definition) number(raw, role string) string {
	switch {
	case len(raw) < minNumber || d.kind == "SEQUENCE" || strings.Trim(raw, "0123456789.") != "":
		return raw
	case role != "" && role != roleBody:
		d.hold(raw, role)
		return raw
	default:
		return d.replace(raw)
	}
}

// hexBytes returns the bytes of a bytea in its hex form.
func hexBytes(value string) (string, bool) {
	digits, found := strings.CutPrefix(value, `\x`)
	if !found {
		return "", false
	}
	inner, err := hex.DecodeString(digits)
	return string(inner), err == nil
}

// literalValue returns what a literal stands for; false if it is of a form that is not written again.
func literalValue(raw string, kind sqlsplit.Kind) (string, bool) {
	switch kind {
	case sqlsplit.KindDollar:
		tag := dollarTag(raw)
		if len(raw) < 2*len(tag) || !strings.HasSuffix(raw, tag) { // the text ends within it
			return raw, false
		}
		return raw[len(tag) : len(raw)-len(tag)], true
	case sqlsplit.KindString:
		return quotedValue(raw, false)
	case sqlsplit.KindEscaped:
		value, closed := quotedValue(raw, true)
		return value, closed && utf8.ValidString(value)
	default:
		value, _ := quotedValue(raw, false)
		return value, false
	}
}

func dollarTag(raw string) string { return raw[:strings.IndexByte(raw[1:], '$')+2] }

// rewritten returns the literal of another value, in the form of the one that it takes the place of.
func rewritten(raw string, kind sqlsplit.Kind, before, after string) string {
	if before == after {
		return raw
	}
	switch kind {
	case sqlsplit.KindDollar:
		tag := dollarTag(raw)
		for strings.Contains(after, tag) {
			tag = tag[:len(tag)-1] + "_$"
		}
		return tag + after + tag
	case sqlsplit.KindEscaped:
		return "E'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(after) + "'"
	default:
		prefix, _, _ := strings.Cut(raw, "'")
		return prefix + "'" + strings.ReplaceAll(after, "'", "''") + "'"
	}
}

// quotedValue returns the value of '…', of several of them with a line break between (PostgreSQL docs, 4.1.2.1); false if
// it does not end.
func quotedValue(raw string, escapes bool) (string, bool) {
	var out []byte
	inside := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case !inside && strings.HasPrefix(raw[i:], "--"):
			i += max(0, strings.IndexAny(raw[i:], "\r\n"))
		case !inside:
			inside = c == '\''
		case c == '\'' && i+1 < len(raw) && raw[i+1] == '\'':
			out = append(out, '\'')
			i++
		case c == '\'':
			inside = false
		case c == '\\' && escapes && i+1 < len(raw):
			var n int
			out, n = appendEscape(out, raw[i+1:])
			i += n
		default:
			out = append(out, c)
		}
	}
	return string(out), !inside
}

// appendEscape appends what stands after a backslash in E'…', and returns how many bytes that is written with.
func appendEscape(out []byte, rest string) ([]byte, int) {
	digits := func(from, most, base, bits int) (uint64, int) {
		for n := min(most, len(rest)-from); n > 0; n-- {
			if v, err := strconv.ParseUint(rest[from:from+n], base, bits); err == nil {
				return v, from + n
			}
		}
		return 0, 0
	}
	switch c := rest[0]; {
	case strings.IndexByte("bfnrt", c) >= 0:
		return append(out, "\b\f\n\r\t"[strings.IndexByte("bfnrt", c)]), 1
	case c >= '0' && c <= '7':
		v, n := digits(0, 3, 8, 9)
		return append(out, byte(v)), n
	case c == 'x':
		if v, n := digits(1, 2, 16, 8); n > 0 {
			return append(out, byte(v)), n
		}
	case c == 'u' || c == 'U':
		if v, n := digits(1, map[byte]int{'u': 4, 'U': 8}[c], 16, 32); n > 0 {
			return utf8.AppendRune(out, rune(v)), n
		}
	}
	return append(out, rest[0]), 1
}
