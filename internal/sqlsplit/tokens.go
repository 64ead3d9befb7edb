package sqlsplit

import "strings"

// Kind is a kind of token.
type Kind int

// The kinds. Blanks are no tokens.
const (
	KindSymbol     Kind = iota // an operator's character, a parenthesis, ';'
	KindWord                   // a keyword or an identifier without quotes
	KindIdentifier             // "…" and U&"…"
	KindString                 // '…' and N'…'
	KindEscaped                // E'…', and '…' without standard_conforming_strings
	KindDollar                 // $tag$…$tag$
	KindUnicode                // U&'…'
	KindBits                   // B'…' and X'…'
	KindNumber
	KindComment // -- … and /* … */
)

// Token is one token of a text, from byte Begin up to End. Strings that go on after a line break are one.
type Token struct {
	Kind       Kind
	Begin, End int
}

// Tokens returns the tokens of a text, by PostgreSQL's rules for SQL and PL/pgSQL.
func Tokens(text string, standardConformingStrings bool) []Token {
	s := &splitter{text: text, standard: standardConformingStrings}
	s.begin()
	var out []Token
	for s.pos < len(text) {
		begin := s.pos
		kind, blank := s.kind(), isBlank(text[begin])
		if kind == KindNumber {
			s.number()
		} else {
			s.token()
		}
		if kind == KindDollar && s.pos == begin+1 {
			kind = KindSymbol // of a parameter
		}
		if !blank {
			out = append(out, Token{kind, begin, s.pos})
		}
	}
	return out
}

// kind says what begins at the current position.
func (s *splitter) kind() Kind {
	rest := s.text[s.pos:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "/*"):
		return KindComment
	case c == '\'' && s.standard:
		return KindString
	case c == '\'':
		return KindEscaped
	case c == '"':
		return KindIdentifier
	case c == '$':
		return KindDollar
	case c >= '0' && c <= '9':
		return KindNumber
	case isWordStart(c):
		return s.prefixed(rest)
	default:
		return KindSymbol
	}
}

// prefixed tells a string with a prefix from a word.
func (s *splitter) prefixed(rest string) Kind {
	head := strings.ToLower(rest[:min(3, len(rest))])
	switch {
	case strings.HasPrefix(head, "u&'"):
		return KindUnicode
	case strings.HasPrefix(head, `u&"`):
		return KindIdentifier
	case strings.HasPrefix(head, "e'"):
		return KindEscaped
	case strings.HasPrefix(head, "b'"), strings.HasPrefix(head, "x'"):
		return KindBits
	case strings.HasPrefix(head, "n'") && s.standard:
		return KindString
	case strings.HasPrefix(head, "n'"):
		return KindEscaped
	default:
		return KindWord
	}
}

// number reads digits with what may stand between and after them.
func (s *splitter) number() {
	for s.pos < len(s.text) && (isWordPart(s.text[s.pos]) && s.text[s.pos] != '$' || s.text[s.pos] == '.') {
		s.pos++
	}
}
