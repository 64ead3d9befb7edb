package archive

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
)

// splitter cuts a script into its parts, as psql does (psqlscan.l). It knows its position, and keeps only the part at hand.
type splitter struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of readPlain
	r    *bufio.Reader
	pos  int64
	text []byte // the part so far

	parens, begins int
	words          []string // the first words of the statement, in upper case
}

// part is one piece of a script.
type part struct {
	kind partKind
	text string // a comment without its dashes, a statement with its semicolon
}

type partKind int

const (
	partEnd partKind = iota // of the script
	partComment
	partMeta // a psql command, one line with its backslash
	partStatement
)

// maxStatement bounds one statement.
const maxStatement = maxString

func newSplitter(ctx context.Context, r io.Reader) *splitter {
	return &splitter{ctx: ctx, r: bufio.NewReaderSize(r, 1<<20)}
}

// errUnfinished says that the script ends in the middle of a part.
var errUnfinished = errors.New("the script ends in the middle of a statement")

// next returns the next part. At the end of the script in the middle of a part the error is errUnfinished.
func (s *splitter) next() (part, error) {
	s.text, s.words, s.parens, s.begins = s.text[:0], s.words[:0], 0, 0
	for {
		c, err := s.read()
		switch {
		case errors.Is(err, io.EOF):
			return part{}, nil
		case err != nil:
			return part{}, err
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			s.text = s.text[:0]
		case c == '\\':
			return s.line(partMeta)
		case c == '-' && s.follows('-'):
			return s.line(partComment)
		default:
			return s.statement(c)
		}
	}
}

// read takes one byte into the part.
func (s *splitter) read() (byte, error) {
	c, err := s.r.ReadByte()
	if err != nil {
		return 0, err
	}
	s.pos++
	if s.text = append(s.text, c); len(s.text) > maxStatement {
		return 0, broken("a statement of more than %d bytes before byte %d", maxStatement, s.pos)
	}
	return c, nil
}

// must is read in the middle of a part.
func (s *splitter) must() (byte, error) {
	c, err := s.read()
	if errors.Is(err, io.EOF) {
		err = errUnfinished
	}
	return c, err
}

func (s *splitter) follows(c byte) bool {
	next, err := s.r.Peek(1)
	return err == nil && next[0] == c
}

// line reads the rest of a line.
func (s *splitter) line(kind partKind) (part, error) {
	for {
		c, err := s.read()
		if err != nil && !errors.Is(err, io.EOF) {
			return part{}, err
		}
		if err != nil || c == '\n' {
			break
		}
	}
	text := strings.TrimRight(string(s.text), "\r\n")
	if kind == partComment {
		text = strings.TrimPrefix(text, "--")
	}
	return part{kind: kind, text: text}, nil
}

// statement reads up to the semicolon that ends the statement. c is its first byte.
func (s *splitter) statement(c byte) (part, error) {
	for {
		var err error
		switch {
		case c == ';' && s.parens == 0 && s.begins == 0:
			return part{kind: partStatement, text: string(s.text)}, nil
		case c == '(':
			s.parens++
		case c == ')':
			s.parens = max(0, s.parens-1)
		case c == '\'':
			err = s.quoted('\'', false)
		case c == '"':
			err = s.quoted('"', false)
		case c == '$':
			err = s.dollar()
		case c == '-' && s.follows('-'):
			err = s.skipLine()
		case c == '/' && s.follows('*'):
			err = s.comment()
		case isWordStart(c):
			err = s.word()
		case '0' <= c && c <= '9': // $ is no quote in the middle of what follows a digit
			err = s.rest(isWordByte)
		}
		if err == nil {
			c, err = s.must()
		}
		if err != nil {
			return part{}, err
		}
	}
}

func isWordStart(c byte) bool {
	return c == '_' || c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isWordByte(c byte) bool { return isWordStart(c) || c == '$' || '0' <= c && c <= '9' }

// rest reads while the bytes are of a kind.
func (s *splitter) rest(of func(byte) bool) error {
	for {
		next, _ := s.r.Peek(1) // what is wrong is said by the next read
		if len(next) == 0 || !of(next[0]) {
			return nil
		}
		if _, err := s.read(); err != nil {
			return err
		}
	}
}

// word reads a word, and follows the nesting of BEGIN ATOMIC as psql does.
func (s *splitter) word() error {
	start := len(s.text) - 1
	if err := s.rest(isWordByte); err != nil {
		return err
	}
	word := strings.ToUpper(string(s.text[start:]))
	if word == "E" && s.follows('\'') {
		if _, err := s.read(); err != nil {
			return err
		}
		return s.quoted('\'', true)
	}
	if len(s.words) < 4 {
		s.words = append(s.words, word)
	}
	if s.parens > 0 || !s.routine() {
		return nil
	}
	switch {
	case word == "BEGIN", word == "CASE" && s.begins > 0:
		s.begins++
	case word == "END" && s.begins > 0:
		s.begins--
	}
	return nil
}

// routine reports whether the statement creates a function or a procedure.
func (s *splitter) routine() bool {
	w := s.words
	if len(w) < 2 || w[0] != "CREATE" {
		return false
	}
	if len(w) == 4 && w[1] == "OR" && w[2] == "REPLACE" {
		w = w[2:]
	}
	return w[1] == "FUNCTION" || w[1] == "PROCEDURE"
}

// quoted reads to the closing quote. A doubled quote, and a backslash where it escapes, keep it open.
func (s *splitter) quoted(quote byte, escapes bool) error {
	for {
		c, err := s.must()
		switch {
		case err != nil:
			return err
		case c == '\\' && escapes:
			if _, err := s.must(); err != nil {
				return err
			}
		case c == quote && !s.follows(quote):
			return nil
		case c == quote:
			if _, err := s.must(); err != nil {
				return err
			}
		}
	}
}

// dollar reads a dollar-quoted string, if one begins here.
func (s *splitter) dollar() error {
	const longest = 256
	ahead, err := s.r.Peek(longest)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	end := bytes.IndexFunc(ahead, func(r rune) bool { return r < 0x80 && (r == '$' || !isWordByte(byte(r))) })
	if end < 0 || ahead[end] != '$' || end > 0 && !isWordStart(ahead[0]) {
		return nil // a parameter, or an operator
	}
	tag := "$" + string(ahead[:end+1])
	for range end + 1 {
		if _, err := s.must(); err != nil {
			return err
		}
	}
	for from := len(s.text); ; {
		c, err := s.must()
		if err != nil {
			return err
		}
		if c == '$' && len(s.text)-from >= len(tag) && bytes.HasSuffix(s.text, []byte(tag)) {
			return nil
		}
	}
}

// skipLine leaves a comment inside a statement out of it.
func (s *splitter) skipLine() error {
	start := len(s.text) - 1
	for {
		c, err := s.must()
		if err != nil {
			return err
		}
		if c == '\n' {
			s.text = append(s.text[:start], '\n')
			return nil
		}
	}
}

// comment leaves a bracketed comment out of the statement.
func (s *splitter) comment() error {
	start, depth := len(s.text)-1, 0
	var last byte
	for last = '/'; ; {
		c, err := s.must()
		switch {
		case err != nil:
			return err
		case last == '/' && c == '*':
			depth, c = depth+1, 0
		case last == '*' && c == '/':
			depth, c = depth-1, 0
		}
		if depth == 0 {
			s.text = append(s.text[:start], ' ')
			return nil
		}
		last = c
	}
}

// rows passes over the rows of COPY up to the end marker, and returns where they begin and how many bytes they take.
func (s *splitter) rows() (start, length int64, err error) {
	if rest, err := s.readLine(); err != nil || len(rest) != 1 {
		if err == nil {
			err = restoreFirst("something follows a COPY statement on its line")
		}
		return 0, 0, err
	}
	start = s.pos
	for lines := 0; ; lines++ {
		if lines%10_000 == 0 && s.ctx.Err() != nil {
			return 0, 0, s.ctx.Err()
		}
		begin := s.pos
		first, err := s.readLine()
		if err != nil {
			return 0, 0, err
		}
		if string(first) == "\\.\n" {
			return start, begin - start, nil
		}
	}
}

// readLine passes over one line and returns it, or only its newline if the line is a long one.
func (s *splitter) readLine() ([]byte, error) {
	for long := false; ; long = true {
		line, err := s.r.ReadSlice('\n')
		s.pos += int64(len(line))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, errUnfinished
		case err != nil:
			return nil, err
		case long:
			return line[len(line)-1:], nil
		default:
			return line, nil
		}
	}
}
