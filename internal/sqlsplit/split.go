package sqlsplit

import "strings"

// Statement is one piece of a multi-statement SQL text. Pieces are contiguous: joined they are the text again.
type Statement struct {
	Begin, End int // byte offsets of the piece, its ';' and the blanks and comments around it included
	// First and Last are the byte offsets of its first token and behind its last one (without the ';'). First is -1 for
	// a piece of blanks, comments and ';' alone, which the server does not count as a statement.
	First, Last int
	// Backslash is the byte offset of the first '\' outside quotes and comments, or -1. No SQL has one there.
	Backslash int
	// CopyIn is true for COPY … FROM STDIN: the server would wait for rows that nobody sends.
	CopyIn bool
	// Open is true when the text ends inside a quoted string, a quoted identifier or a comment.
	Open bool
}

// splitter follows PostgreSQL's own lexer (src/backend/parser/scan.l), and psql's (psqlscan.l) for where a statement
// ends: not at a ';' in parentheses (CREATE RULE) or in the BEGIN ATOMIC body of an SQL function.
type splitter struct {
	text string
	// standard is the server's standard_conforming_strings: backslashes are ordinary in '…'.
	standard bool
	pos      int
	parens   int
	atomic   int // depth of BEGIN ATOMIC and of CASE in it

	words int    // identifiers and keywords seen in this statement
	head  string // the first few of them, folded, each followed by a blank
	prev  string // the token before this one, if it was a word, folded
	cur   Statement
	out   []Statement
}

// Split cuts a text into statements. It never fails: what it cannot make sense of, the server will refuse.
func Split(text string, standardConformingStrings bool) []Statement {
	s := &splitter{text: text, standard: standardConformingStrings}
	s.begin()
	for s.pos < len(text) {
		s.token()
	}
	if s.cur.Begin < len(text) {
		s.finish()
	}
	return s.out
}

// Counted returns the pieces that the server executes and answers with a CommandComplete each.
func Counted(pieces []Statement) []Statement {
	out := make([]Statement, 0, len(pieces))
	for _, p := range pieces {
		if p.First >= 0 {
			out = append(out, p)
		}
	}
	return out
}

func (s *splitter) begin() {
	s.cur = Statement{Begin: s.pos, First: -1, Last: -1, Backslash: -1}
	s.parens, s.atomic, s.words, s.head, s.prev = 0, 0, 0, "", ""
}

func (s *splitter) finish() {
	s.cur.End = s.pos
	s.out = append(s.out, s.cur)
	s.begin()
}

// token reads one token, or one stretch of blanks or comment.
func (s *splitter) token() {
	c := s.text[s.pos]
	switch {
	case isBlank(c):
		s.pos++
	case strings.HasPrefix(s.text[s.pos:], "--"):
		s.lineComment()
	case strings.HasPrefix(s.text[s.pos:], "/*"):
		s.blockComment()
	case c == ';' && s.parens <= 0 && s.atomic <= 0:
		s.pos++
		s.finish()
	default:
		s.significant(c)
	}
}

// significant reads one token that belongs to a statement.
func (s *splitter) significant(c byte) {
	if s.cur.First < 0 {
		s.cur.First = s.pos
	}
	word := ""
	switch {
	case c == '\'':
		s.quoted('\'', !s.standard)
	case c == '"':
		s.quoted('"', false)
	case c == '$':
		s.dollar()
	case isWordStart(c):
		word = s.word()
	default:
		s.symbol(c)
	}
	s.prev = word
	s.cur.Last = s.pos
}

func (s *splitter) symbol(c byte) {
	switch c {
	case '(':
		s.parens++
	case ')':
		s.parens--
	case '\\':
		if s.cur.Backslash < 0 {
			s.cur.Backslash = s.pos
		}
	}
	s.pos++
}

// word reads an identifier or keyword and returns it in lower case. A prefix of a string (E'…', U&"…") is read together
// with the string, and gives "".
func (s *splitter) word() string {
	start := s.pos
	for s.pos < len(s.text) && isWordPart(s.text[s.pos]) {
		s.pos++
	}
	word := strings.ToLower(s.text[start:s.pos])
	rest := s.text[s.pos:]
	switch {
	case word == "e" && strings.HasPrefix(rest, "'"):
		s.quoted('\'', true)
		return ""
	case (word == "b" || word == "x") && strings.HasPrefix(rest, "'"):
		s.quoted('\'', false)
		return ""
	case word == "n" && strings.HasPrefix(rest, "'"):
		s.quoted('\'', !s.standard)
		return ""
	case word == "u" && (strings.HasPrefix(rest, "&'") || strings.HasPrefix(rest, `&"`)):
		s.pos++
		s.quoted(s.text[s.pos], false)
		return ""
	}
	s.keyword(word)
	return word
}

// keyword follows the words that decide where the statement ends and what it is.
func (s *splitter) keyword(word string) {
	if s.words < 4 {
		s.head += word + " "
	}
	s.words++
	if s.parens > 0 {
		return
	}
	if strings.HasPrefix(s.head, "copy ") {
		s.cur.CopyIn = s.cur.CopyIn || s.prev == "from" && word == "stdin"
	}
	switch {
	case s.atomic > 0 && word == "case":
		s.atomic++
	case s.atomic > 0 && word == "end":
		s.atomic--
	case s.atomic == 0 && s.prev == "begin" && word == "atomic" && definesRoutine(s.head):
		s.atomic = 1
	}
}

// definesRoutine reports whether a statement that starts with these words is CREATE [OR REPLACE] {FUNCTION|PROCEDURE}.
func definesRoutine(head string) bool {
	rest, ok := strings.CutPrefix(head, "create ")
	if !ok {
		return false
	}
	rest = strings.TrimPrefix(rest, "or replace ")
	return strings.HasPrefix(rest, "function ") || strings.HasPrefix(rest, "procedure ")
}

// quoted reads from the opening quote to behind the closing one. A doubled quote inside reads as the end of one string
// and the start of the next, which comes to the same. A string goes on after blanks with a line break in them, in the
// same mode.
func (s *splitter) quoted(quote byte, escapes bool) {
	for {
		s.pos++
		if !s.closeQuote(quote, escapes) {
			s.cur.Open = true
			return
		}
		next := s.pos
		if next < len(s.text) && s.text[next] == quote {
			continue
		}
		if quote != '\'' {
			return
		}
		if next = s.continuation(); next < 0 {
			return
		}
		s.pos = next
	}
}

// closeQuote moves behind the next closing quote; false at the end of the text.
func (s *splitter) closeQuote(quote byte, escapes bool) bool {
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == '\\' && escapes && s.pos < len(s.text):
			s.pos++
		case c == quote:
			return true
		}
	}
	return false
}

// continuation returns the offset of a quote that continues the string just closed, or -1. Between the two are only
// blanks and "--" comments with at least one line break (scan.l, quotecontinue).
func (s *splitter) continuation() int {
	newline := false
	for i := s.pos; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\n' || c == '\r':
			newline = true
		case isBlank(c):
		case c == '\'' && newline:
			return i
		case strings.HasPrefix(s.text[i:], "--"):
			length := strings.IndexAny(s.text[i:], "\r\n")
			if length < 0 {
				return -1
			}
			i += length - 1
		default:
			return -1
		}
	}
	return -1
}

// dollar reads a dollar-quoted string, or one '$'.
func (s *splitter) dollar() {
	end := s.pos + 1
	for end < len(s.text) && isWordPart(s.text[end]) && s.text[end] != '$' {
		end++
	}
	isTag := end < len(s.text) && s.text[end] == '$' && (end == s.pos+1 || isWordStart(s.text[s.pos+1]))
	if !isTag {
		s.pos++
		return
	}
	tag := s.text[s.pos : end+1]
	length := strings.Index(s.text[end+1:], tag)
	if length < 0 {
		s.pos = len(s.text)
		s.cur.Open = true
		return
	}
	s.pos = end + 1 + length + len(tag)
}

func (s *splitter) lineComment() {
	length := strings.IndexAny(s.text[s.pos:], "\r\n")
	if length < 0 {
		length = len(s.text) - s.pos
	}
	s.pos += length
}

// blockComment reads a comment, which may hold further ones.
func (s *splitter) blockComment() {
	depth := 0
	for s.pos < len(s.text) {
		switch rest := s.text[s.pos:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			s.pos += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			s.pos += 2
			if depth == 0 {
				return
			}
		default:
			s.pos++
		}
	}
	s.cur.Open = true
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}

func isWordStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func isWordPart(c byte) bool {
	return isWordStart(c) || c >= '0' && c <= '9' || c == '$'
}
