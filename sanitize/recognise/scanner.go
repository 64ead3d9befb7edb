package recognise

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/mayflydb/mayfly/sanitize/checkdigit"
)

// Scanner finds items. It has memory of its own: one goroutine uses it.
type Scanner struct {
	classes  [256]class
	wanted   map[Kind]bool
	least    float64
	forms    map[Kind]checkdigit.Form
	byGroup  [maxGroup + 1][]layout // by the number of digits they begin with
	prefixes [256][]keyPrefix       // by first byte

	text    []byte
	from    int // where the match before ended
	found   []Match
	compact [checkdigit.MaxLength]byte
	run     number
}

// Least is the confidence below which a Scanner does not report, unless it is told otherwise.
const Least = 0.5

// New makes a Scanner for kinds, all if none is given. Items of other kinds are passed over. The error names an unknown kind.
func New(kinds ...Kind) (*Scanner, error) {
	all := Kinds()
	if len(kinds) == 0 {
		kinds = all
	}
	s := &Scanner{classes: classTable(), wanted: make(map[Kind]bool, len(kinds)), least: Least, forms: map[Kind]checkdigit.Form{}}
	for _, k := range kinds {
		if !slices.Contains(all, k) {
			return nil, fmt.Errorf("there is no recogniser %q", string(k))
		}
		s.wanted[k] = true
	}
	for _, name := range checkdigit.Schemes() {
		s.forms[Kind(name)] = checkdigit.National(name)
	}
	for _, l := range layouts() {
		n := leading(l.pattern)
		s.byGroup[n] = append(s.byGroup[n], l)
	}
	for _, p := range keyPrefixes() {
		s.prefixes[p.text[0]] = append(s.prefixes[p.text[0]], p)
	}
	return s, nil
}

// Find appends the items in text to dst, in their order. They do not overlap.
func (s *Scanner) Find(dst []Match, text []byte) []Match {
	s.text, s.found, s.from = text, dst, 0
	first := len(dst)
	for i := 0; i < len(text); {
		switch s.classes[text[i]] {
		case classNone:
			i++
		case classAt:
			i = s.email(i, first)
		case classDigit:
			i = s.digits(i)
		case classPlus:
			i = s.plus(i)
		case classLetter:
			i = s.word(i)
		case classDash:
			i = s.pem(i)
		case classDollar:
			i = s.crypt(i)
		case classColon:
			i = s.colon(i)
		}
	}
	found := s.found
	s.text, s.found = nil, nil
	return found
}

// add notes an item that ends at end, where the scan goes on.
func (s *Scanner) add(kind Kind, start, end int, confidence float64) int {
	s.from = end
	if s.wanted[kind] && confidence >= s.least {
		s.found = append(s.found, Match{start, end, kind, confidence})
	}
	return end
}

// class is what a byte may begin.
type class uint8

const (
	classNone class = iota
	classLetter
	classDigit
	classAt
	classPlus   // + and (
	classDash   // of a PEM block
	classDollar // of a password hash, and {
	classColon
)

// classTable says what each byte may begin.
func classTable() (t [256]class) {
	for c := range t {
		switch b := byte(c); {
		case isDigit(b):
			t[c] = classDigit
		case isWord(b):
			t[c] = classLetter
		}
	}
	t['@'], t['+'], t['('], t['-'], t['$'], t['{'], t[':'] = classAt, classPlus, classPlus, classDash, classDollar, classDollar, classColon
	return t
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// isWord reports whether the byte belongs to a word: letters, digits, '_' and everything outside ASCII.
func isWord(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c >= utf8.RuneSelf }

// at returns the byte at i, 0 outside of the text.
func (s *Scanner) at(i int) byte {
	if i < 0 || i >= len(s.text) {
		return 0
	}
	return s.text[i]
}

// begins reports whether nothing of a word stands before i.
func (s *Scanner) begins(i int) bool { return i == 0 || !isWord(s.text[i-1]) }

// ends reports whether nothing of a word stands at i.
func (s *Scanner) ends(i int) bool { return i >= len(s.text) || !isWord(s.text[i]) }

// wordEnd returns where the word at i ends.
func (s *Scanner) wordEnd(i int) int {
	for i < len(s.text) && isWord(s.text[i]) {
		i++
	}
	return i
}

// endOf returns the end of the stretch from i, of at most limit bytes, whose bytes satisfy ok.
func (s *Scanner) endOf(i, limit int, ok func(byte) bool) int {
	end := min(len(s.text), i+limit)
	for i < end && ok(s.text[i]) {
		i++
	}
	return i
}

// has reports whether the text at i is that, without regard to the case of ASCII letters if lower is in lower case.
func (s *Scanner) has(i int, lower string) bool {
	if i < 0 || i+len(lower) > len(s.text) {
		return false
	}
	for j := range len(lower) {
		c := s.text[i+j]
		if isUpper(c) {
			c |= 0x20
		}
		if c != lower[j] {
			return false
		}
	}
	return true
}

// exactly is has with regard to case.
func (s *Scanner) exactly(i int, text string) bool {
	return i+len(text) <= len(s.text) && string(s.text[i:i+len(text)]) == text
}

// contextBytes is how far before an item a word may stand that says what it is.
const contextBytes = 40

// shortWord is the length up to which a word has to stand alone: "tel", but not "telling".
const shortWord = 4

// after reports whether one of the words stands shortly before i, on its line. Words are in lower case; one begins a word
// of the text.
func (s *Scanner) after(i int, words []string) bool {
	from := max(0, i-contextBytes)
	for at := i - 1; at >= from; at-- {
		if s.text[at] == '\n' {
			return false
		}
		if at > 0 && isWord(s.text[at-1]) && s.text[at-1] != '_' {
			continue
		}
		for _, w := range words {
			if s.has(at, w) && at+len(w) <= i && (len(w) > shortWord || !isLetter(s.at(at+len(w)))) {
				return true
			}
		}
	}
	return false
}
