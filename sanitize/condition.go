package sanitize

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Call is a function that a condition calls.
type Call struct {
	Schema string // "" if the condition does not say
	Name   string
}

// Conditions stand in parentheses in a statement of their table. This keeps them there: what ends the parentheses, the
// statement or the line is refused, as are queries inside of them. What the words mean is the server's to say, which parses the
// statement before it is used.

// conditionCalls reads a condition as far as that takes, and returns the functions that it calls.
func conditionCalls(condition string) ([]Call, error) {
	if strings.TrimSpace(condition) == "" {
		return nil, errors.New("it is empty")
	}
	l := &conditionLexer{rest: condition}
	var calls []Call
	for {
		token, err := l.next()
		if err != nil || token.kind == 0 {
			return calls, err
		}
		switch {
		case token.text == "(" && l.afterName():
			calls = append(calls, l.call())
		case token.kind == 'w' && l.opened && isQueryWord(token.text):
			return nil, fmt.Errorf("it has a query (%s)", strings.ToUpper(token.text))
		}
		l.opened = token.text == "("
		l.before = append(l.before[max(0, len(l.before)-3):], token)
	}
}

// Calls returns the functions that a condition calls; it must be one that Parse accepted.
func Calls(condition string) []Call {
	calls, _ := conditionCalls(condition)
	return calls
}

func isQueryWord(word string) bool {
	return slices.Contains([]string{"select", "values", "table", "with"}, word)
}

// conditionToken is a word, a quoted name, or something else. kind is 'w', 'q', or 'o', and 0 at the end.
type conditionToken struct {
	kind byte
	text string // of words in lower case, of quoted names without the quotes
}

type conditionLexer struct {
	rest   string
	depth  int
	opened bool // the last token was a parenthesis, or there was none
	start  bool
	before []conditionToken // the last four tokens
}

// afterName reports whether the last token is a name, so that a parenthesis makes it a call.
func (l *conditionLexer) afterName() bool {
	return len(l.before) > 0 && l.before[len(l.before)-1].kind != 'o'
}

// call returns the call of the name that was just read.
func (l *conditionLexer) call() Call {
	n := len(l.before)
	c := Call{Name: l.before[n-1].text}
	if n >= 3 && l.before[n-2].text == "." && l.before[n-3].kind != 'o' {
		c.Schema = l.before[n-3].text
	}
	return c
}

func (l *conditionLexer) next() (conditionToken, error) {
	if !l.start {
		l.start, l.opened = true, true
	}
	l.rest = strings.TrimLeft(l.rest, " \t\r\n\f\v")
	if l.rest == "" {
		if l.depth > 0 {
			return conditionToken{}, errors.New("a parenthesis is not closed")
		}
		return conditionToken{}, nil
	}
	switch c := l.rest[0]; {
	case c == '\'':
		return l.text(false)
	case c == '"':
		return l.quoted('"', 'q')
	case c == '(':
		l.depth++
	case c == ')':
		if l.depth--; l.depth < 0 {
			return conditionToken{}, errors.New("a parenthesis is closed that was not opened")
		}
	case c == ';':
		return conditionToken{}, errors.New("it has a semicolon")
	case c == '$':
		return conditionToken{}, errors.New("it has a $: neither parameters nor $-quoted texts can be used")
	case c == '\\':
		return conditionToken{}, errors.New("it has a backslash outside of a text")
	case strings.HasPrefix(l.rest, "--"), strings.HasPrefix(l.rest, "/*"):
		return conditionToken{}, errors.New("it has a comment")
	case isNameByte(c):
		return l.word()
	}
	size := 1
	if l.rest[0] >= utf8.RuneSelf {
		r, n := utf8.DecodeRuneInString(l.rest)
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return conditionToken{}, errors.New("it has a character that is not printable")
		}
		size = n
	} else if l.rest[0] < ' ' {
		return conditionToken{}, errors.New("it has a control character")
	}
	token := conditionToken{'o', l.rest[:size]}
	l.rest = l.rest[size:]
	return token, nil
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

// word reads a keyword, a name or a number; and a text or a name whose quote follows a prefix, such as E'…'.
func (l *conditionLexer) word() (conditionToken, error) {
	end := 0
	for end < len(l.rest) && isNameByte(l.rest[end]) {
		end++
	}
	if !utf8.ValidString(l.rest[:end]) {
		return conditionToken{}, errors.New("it is not UTF-8")
	}
	word := strings.ToLower(l.rest[:end])
	l.rest = l.rest[end:]
	switch {
	case word == "u" && (strings.HasPrefix(l.rest, "&'") || strings.HasPrefix(l.rest, `&"`)):
		return conditionToken{}, errors.New("it has a name or a text with Unicode escapes (U&)")
	case strings.HasPrefix(l.rest, "$"):
		return conditionToken{}, errors.New("it has a name with a $ in it, which needs double quotes")
	case word == "e" && strings.HasPrefix(l.rest, "'"):
		return l.text(true)
	}
	if word[0] >= '0' && word[0] <= '9' {
		// Before PostgreSQL 15, what follows a number may begin a word, even one that is the prefix of a text.
		if !isNumber(word) || strings.HasPrefix(l.rest, "'") {
			return conditionToken{}, errors.New("it has something other than a space after a number")
		}
		return conditionToken{'o', word}, nil
	}
	return conditionToken{'w', word}, nil
}

// isNumber takes digits, with an exponent whose sign and digits may follow.
func isNumber(word string) bool {
	digits, exponent, _ := strings.Cut(word, "e")
	return strings.Trim(digits+exponent, "0123456789") == ""
}

// text reads a string constant; one with escapes may have a quote after a backslash.
func (l *conditionLexer) text(escapes bool) (conditionToken, error) {
	if !escapes {
		return l.quoted('\'', 'o')
	}
	for i := 1; i < len(l.rest); i++ {
		switch {
		case l.rest[i] == '\\':
			i++
		case l.rest[i] == '\'' && strings.HasPrefix(l.rest[i+1:], "'"):
			i++
		case l.rest[i] == '\'':
			l.rest = l.rest[i+1:]
			return conditionToken{'o', "'"}, nil
		}
	}
	return conditionToken{}, errors.New("a text is not closed")
}

// quoted reads up to the quote that ends what the first one began; two of them stand for one.
func (l *conditionLexer) quoted(quote byte, kind byte) (conditionToken, error) {
	var value strings.Builder
	for i := 1; i < len(l.rest); i++ {
		if l.rest[i] == quote {
			if i+1 >= len(l.rest) || l.rest[i+1] != quote {
				l.rest = l.rest[i+1:]
				text := value.String()
				if kind == 'o' {
					text = "'" // what is inside of a text does not matter
				}
				return conditionToken{kind, text}, nil
			}
			i++
		}
		value.WriteByte(l.rest[i])
	}
	return conditionToken{}, errors.New("a quote is not closed")
}

// WhereOf returns the condition for the rows of a table that are taken, before there is a plan; "" for all rows.
func (r *Rules) WhereOf(t *Table) string {
	for _, name := range []string{tablePath(t), t.PartitionOf} {
		for i := range r.tables {
			if r.tables[i].name == name {
				return r.tables[i].where
			}
		}
	}
	return ""
}

// Unescape appends the value of a field of COPY text format that is not NULL.
func Unescape(dst, field []byte) []byte { return appendUnescaped(dst, field) }
