package templates

import (
	"bytes"
	"io"
	"unicode/utf8"

	mayfly "github.com/mayflydb/mayfly"
)

// textCheck passes rows in COPY text format on to a database whose encoding is UTF8, and ends at the first value that is not: the
// server would tell the row but not the column.
type textCheck struct {
	w     io.Writer
	table *table

	rows, tabs int    // before what comes next; tabs of the current row
	cut        []byte // the start of a character whose rest comes next
}

// takesUTF8 reports whether what goes into the template has to be UTF-8.
func (t *target) takesUTF8() bool {
	m := encodingValue.FindStringSubmatch(databaseOptions(t.toc))
	return (m == nil || m[1] == "UTF8") && (t.encoding == "UTF8" || t.encoding == "SQL_ASCII")
}

func (c *textCheck) Write(p []byte) (int, error) {
	text := p
	if len(c.cut) > 0 {
		text = append(c.cut, p...) //nolint:gocritic // a new slice on purpose: p is not ours
		c.cut = nil
	}
	if rest := incomplete(text); rest > 0 {
		c.cut = bytes.Clone(text[len(text)-rest:])
		text = text[:len(text)-rest]
	}
	if !utf8.Valid(text) {
		return 0, c.fail(text)
	}
	c.pass(text)
	return c.w.Write(p)
}

// incomplete returns how many bytes at the end are the start of a character.
func incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if c := text[len(text)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// pass counts what passes.
func (c *textCheck) pass(text []byte) {
	if end := bytes.LastIndexByte(text, '\n'); end >= 0 {
		c.rows += bytes.Count(text[:end+1], []byte{'\n'})
		c.tabs = 0
		text = text[end+1:]
	}
	c.tabs += bytes.Count(text, []byte{'\t'})
}

// fail says where the first value is that is not UTF-8.
func (c *textCheck) fail(text []byte) error {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		at += size
	}
	c.pass(text[:at])
	column := "?"
	if names := c.table.columns(); c.tabs < len(names) {
		column = names[c.tabs]
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the column %q of %s is not valid UTF-8 in row %d", column, c.table, c.rows+1).
		WithHint("correct the bytes in the source, for example with convert_from(convert_to(%[1]s, 'SQL_ASCII'), 'LATIN1'); or say what they are in when dumping (pg_dump --encoding=LATIN1); or mask the column in the rules with a transformer that does not keep its bytes", column)
}
