package quarantine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	mayfly "github.com/mayflydb/mayfly"
)

// scanner copies a script to psql and understands just enough of it (PostgreSQL's scan.l, psql's psqlscan.l) to know what
// is a psql command and what is text, where statements begin, and whether the script ends where it should. What it
// judges wrongly can do no harm: psql runs in a container that has nothing but the quarantine's socket.
type scanner struct {
	in   *bufio.Reader
	out  *bufio.Writer
	held []byte // the statement so far, while it may have to be replaced
	hold bool

	// replace is told a whole statement that begins with one of the words of heldStatements, and returns what psql gets
	// instead: on as many lines, or line numbers would be off.
	replace func(ctx context.Context, database, head, statement string) (string, error)

	line        int
	started     int // the line that the statement began on, 0 between statements
	opened      int // the line that a string, comment or COPY began on
	parens      int
	head        []byte // the statement's first words, blanks and literals left out
	headEnded   bool
	words       int
	last        []byte // the word before this byte, in upper case
	adjacent    bool   // no blank since last
	copyIn      bool   // rows begin after this line
	owner       bool   // OWNER was the last word
	nonStandard bool   // standard_conforming_strings = off
	saidOff     bool
	database    string

	dumps, dumpsDone, clusters, clustersDone int
	recent                                   recentStatements
}

// maxHeld bounds what is held of a statement, and how long a line with a psql command may be.
const maxHeld = 1 << 20

// heldStatements begin with these words.
func heldStatements() []string {
	return []string{"CREATE DATABASE", "DROP DATABASE", "CREATE TABLESPACE", "CREATE POLICY", "ALTER TABLE"}
}

func newScanner(in io.Reader, out io.Writer, database string) *scanner {
	return &scanner{in: bufio.NewReaderSize(in, 256<<10), out: bufio.NewWriterSize(out, 64<<10), line: 1, database: database}
}

// run copies the whole script. Errors about the script are *mayfly.Error with CodeSourceInvalid.
func (s *scanner) run(ctx context.Context) error {
	for {
		c, err := s.in.ReadByte()
		if errors.Is(err, io.EOF) {
			return s.end()
		}
		if err != nil {
			return err
		}
		if err := s.normal(ctx, c); err != nil {
			if errors.Is(err, io.EOF) {
				return s.truncated("it ends in the middle of what began in line %d", s.opened)
			}
			return err
		}
	}
}

func (s *scanner) truncated(format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the script is truncated: "+format, args...).
		WithHint("dump again, and look whether the disk was full or the transfer broke off")
}

// end checks that nothing is missing at the end.
func (s *scanner) end() error {
	switch {
	case s.started > 0 && s.parens > 0:
		return s.truncated("it ends in the middle of a statement that began in line %d", s.started)
	case s.dumps > s.dumpsDone:
		return s.truncated("the line \"-- PostgreSQL database dump complete\" is missing at its end")
	case s.clusters > s.clustersDone:
		return s.truncated("the line \"-- PostgreSQL database cluster dump complete\" is missing at its end")
	}
	if s.started > 0 && s.dumps+s.clusters > 0 {
		return s.truncated("it ends in the middle of a statement that began in line %d", s.started)
	}
	if s.hold {
		s.release()
	}
	return s.out.Flush()
}

// emit passes a byte on.
func (s *scanner) emit(c byte) error {
	if s.hold {
		s.held = append(s.held, c)
		if len(s.held) > maxHeld {
			s.release()
		}
		return nil
	}
	return s.out.WriteByte(c)
}

// release gives up on holding the statement.
func (s *scanner) release() {
	_, _ = s.out.Write(s.held) // the writer keeps the error
	s.held, s.hold = s.held[:0], false
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// normal handles one byte outside of strings and comments, and what it opens.
func (s *scanner) normal(ctx context.Context, c byte) error {
	switch {
	case c == '\n':
		return s.newline()
	case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
		s.adjacent = false
		return s.emit(c)
	case c == '-' && s.next("-"):
		return s.lineComment()
	case c == '/' && s.next("*"):
		return s.blockComment()
	case c == '\\':
		return s.command()
	}
	s.begin()
	defer func() { s.adjacent = isWord(c) }()
	switch {
	case c == '\'':
		escapes := s.adjacent && string(s.last) == "E" || s.nonStandard && (!s.adjacent || string(s.last) != "X")
		return s.quoted('\'', escapes)
	case c == '"':
		return s.identifier()
	case c == '$' && !s.adjacent:
		return s.dollar()
	case isWord(c):
		return s.word(c)
	}
	s.last = s.last[:0]
	switch c {
	case '(':
		s.parens++
	case ')':
		s.parens = max(0, s.parens-1)
	case ';':
		if s.parens == 0 {
			return s.finish(ctx)
		}
	}
	if c != '.' && c != ',' {
		s.headEnded = true
	} else {
		s.note(c)
	}
	return s.emit(c)
}

func (s *scanner) newline() error {
	s.line++
	s.adjacent = false
	if err := s.emit('\n'); err != nil {
		return err
	}
	if s.copyIn && s.started == 0 {
		s.copyIn = false
		return s.rows()
	}
	return nil
}

func (s *scanner) next(text string) bool {
	peeked, _ := s.in.Peek(len(text))
	return string(peeked) == text
}

// begin starts a statement with its first token.
func (s *scanner) begin() {
	if s.started > 0 {
		return
	}
	s.started, s.parens, s.words = s.line, 0, 0
	s.head, s.last, s.headEnded, s.copyIn, s.saidOff = s.head[:0], s.last[:0], false, false, false
	s.adjacent, s.owner = false, false
	s.hold = true // until two words are known
}

// maxHead bounds how much is kept of a statement's first words.
const maxHead, maxHeadWords = 160, 12

func (s *scanner) note(c byte) {
	if !s.headEnded && len(s.head) < maxHead {
		s.head = append(s.head, c)
	}
}

// word reads the rest of a word.
func (s *scanner) word(c byte) error {
	s.last = append(s.last[:0], upper(c))
	if len(s.head) > 0 && s.head[len(s.head)-1] != '.' {
		s.note(' ')
	}
	s.note(c)
	if err := s.emit(c); err != nil {
		return err
	}
	for {
		peeked, _ := s.in.Peek(1)
		if len(peeked) == 0 || !isWord(peeked[0]) {
			break
		}
		_, _ = s.in.Discard(1)
		if len(s.last) < 64 {
			s.last = append(s.last, upper(peeked[0]))
		}
		s.note(peeked[0])
		if err := s.emit(peeked[0]); err != nil {
			return err
		}
	}
	s.known()
	return nil
}

// known judges the statement by the words so far.
func (s *scanner) known() {
	s.words++
	if s.words >= maxHeadWords {
		s.headEnded = true
	}
	if s.words == 2 && s.hold {
		found := false
		for _, kind := range heldStatements() {
			found = found || strings.EqualFold(string(s.head), kind)
		}
		if !found {
			s.release()
		}
	}
	owner := s.owner
	s.owner = false
	switch string(s.last) {
	case "OWNER":
		s.owner = true
	case "TO":
		// A function's arguments end the head before it says what the statement is for.
		if owner && s.headEnded && s.parens == 0 && len(s.head) > 6 && strings.EqualFold(string(s.head[:6]), "ALTER ") {
			s.head = append(s.head, " OWNER TO"...)
		}
	case "STDIN":
		s.copyIn = s.copyIn || s.parens == 0 && len(s.head) > 5 && strings.EqualFold(string(s.head[:5]), "COPY ")
	case "OFF", "FALSE":
		s.saidOff = true
	}
}

// finish ends a statement with its semicolon.
func (s *scanner) finish(ctx context.Context) error {
	if err := s.emit(';'); err != nil {
		return err
	}
	head := string(s.head)
	s.recent.add(s.line, head, s.database)
	if fields := strings.Fields(strings.ToLower(head)); len(fields) > 1 && fields[0] == "set" && fields[1] == "standard_conforming_strings" {
		s.nonStandard = s.saidOff
	}
	if s.hold {
		statement := string(s.held)
		s.held, s.hold = s.held[:0], false
		if s.words >= 2 && s.replace != nil { // else: one word, such as BEGIN
			replaced, err := s.replace(ctx, s.database, head, statement)
			if err != nil {
				return err
			}
			statement = replaced
		}
		if _, err := s.out.WriteString(statement); err != nil {
			return err
		}
	}
	s.started = 0
	return nil
}

// quoted copies a string constant to its end.
func (s *scanner) quoted(quote byte, escapes bool) error {
	s.opened, s.headEnded = s.line, true
	if err := s.emit(quote); err != nil {
		return err
	}
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		if err := s.emitCounted(c); err != nil {
			return err
		}
		switch {
		case escapes && c == '\\':
			if c, err = s.in.ReadByte(); err != nil {
				return err
			}
			if err := s.emitCounted(c); err != nil {
				return err
			}
		case c == quote: // a doubled quote opens it again at once
			s.last = s.last[:0]
			if escapes && s.next("'") {
				continue
			}
			if !s.next(string(quote)) {
				s.opened = 0
				return nil
			}
			_, _ = s.in.Discard(1)
			if err := s.emit(quote); err != nil {
				return err
			}
		}
	}
}

func (s *scanner) emitCounted(c byte) error {
	if c == '\n' {
		s.line++
	}
	return s.emit(c)
}

// identifier copies a quoted identifier. Names are not values: they may be told.
func (s *scanner) identifier() error {
	s.opened = s.line
	if len(s.head) > 0 && s.head[len(s.head)-1] != '.' {
		s.note(' ')
	}
	s.note('"')
	if err := s.emit('"'); err != nil {
		return err
	}
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		s.note(c)
		if err := s.emitCounted(c); err != nil {
			return err
		}
		if c == '"' {
			s.opened = 0
			s.last = s.last[:0]
			s.known()
			return nil
		}
	}
}

// dollar copies a dollar-quoted string, or a parameter ($1).
func (s *scanner) dollar() error {
	s.headEnded, s.last = true, s.last[:0]
	peeked, _ := s.in.Peek(66) // a tag is a name
	end := bytes.IndexByte(peeked, '$')
	if end < 0 || end > 0 && '0' <= peeked[0] && peeked[0] <= '9' {
		return s.emit('$')
	}
	for _, c := range peeked[:end] {
		if !isWord(c) {
			return s.emit('$')
		}
	}
	s.opened = s.line
	tag := "$" + string(peeked[:end]) + "$"
	_, _ = s.in.Discard(end + 1)
	for i := range len(tag) {
		if err := s.emit(tag[i]); err != nil {
			return err
		}
	}
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		if err := s.emitCounted(c); err != nil {
			return err
		}
		if c != '$' || !s.next(tag[1:]) {
			continue
		}
		_, _ = s.in.Discard(len(tag) - 1)
		for i := 1; i < len(tag); i++ {
			if err := s.emit(tag[i]); err != nil {
				return err
			}
		}
		s.opened = 0
		return nil
	}
}

// lineComment copies a comment, and looks for the marks of pg_dump and pg_dumpall.
func (s *scanner) lineComment() error {
	line := []byte{'-'}
	if err := s.emit('-'); err != nil {
		return err
	}
	for {
		peeked, err := s.in.Peek(1)
		if err != nil || peeked[0] == '\n' {
			break
		}
		_, _ = s.in.Discard(1)
		if len(line) < 100 {
			line = append(line, peeked[0])
		}
		if err := s.emit(peeked[0]); err != nil {
			return err
		}
	}
	switch strings.TrimRight(string(line), "\r ") {
	case "-- PostgreSQL database dump":
		s.dumps++
	case "-- PostgreSQL database dump complete":
		s.dumpsDone++
	case "-- PostgreSQL database cluster dump":
		s.clusters++
	case "-- PostgreSQL database cluster dump complete":
		s.clustersDone++
	}
	return nil
}

// blockComment copies a comment. They nest.
func (s *scanner) blockComment() error {
	s.opened = s.line
	s.adjacent = false
	_, _ = s.in.Discard(1)
	if err := errors.Join(s.emit('/'), s.emit('*')); err != nil {
		return err
	}
	for depth := 1; depth > 0; {
		c, err := s.in.ReadByte()
		if err != nil {
			return err
		}
		if err := s.emitCounted(c); err != nil {
			return err
		}
		switch {
		case c == '*' && s.next("/"):
			depth--
		case c == '/' && s.next("*"):
			depth++
		default:
			continue
		}
		c, _ = s.in.ReadByte()
		if err := s.emit(c); err != nil {
			return err
		}
	}
	s.opened = 0
	return nil
}

// rows copies the rows of a COPY to the line that ends them.
func (s *scanner) rows() error {
	s.opened = s.line
	s.recent.add(s.line, string(s.head), s.database) // psql reports the server's answer with this line
	begins := true
	for {
		chunk, err := s.in.ReadSlice('\n')
		ends := begins && (string(chunk) == "\\.\n" || string(chunk) == "\\.\r\n" || string(chunk) == "\\.")
		if _, writeErr := s.out.Write(chunk); writeErr != nil {
			return writeErr
		}
		begins = bytes.HasSuffix(chunk, []byte{'\n'})
		if begins {
			s.line++
		}
		if ends {
			s.recent.add(s.line-1, string(s.head), s.database)
			s.opened = 0
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// recentStatements remembers which statements ended where, for as many as can be under way to psql.
type recentStatements struct {
	mu   sync.Mutex
	ring [1 << 16]recentStatement
	n    int
}

type recentStatement struct {
	line           int
	head, database string
}

func (r *recentStatements) add(line int, head, database string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n > 0 {
		if last := &r.ring[(r.n-1)%len(r.ring)]; last.head == head {
			head = last.head // one string for many INSERTs
		}
	}
	r.ring[r.n%len(r.ring)] = recentStatement{line, head, database}
	r.n++
}

// at returns the last statement that ended at or before a line.
func (r *recentStatements) at(line int) recentStatement {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.n - 1; i >= max(0, r.n-len(r.ring)); i-- {
		if one := r.ring[i%len(r.ring)]; one.line <= line {
			return one
		}
	}
	return recentStatement{}
}
