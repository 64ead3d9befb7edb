package recognise

import (
	"unicode"
	"unicode/utf8"
)

// Lengths of the parts of an address (RFC 5321, 4.5.3.1).
const (
	maxLocal  = 64
	maxDomain = 253
)

// email looks for an address around the '@' at i. What was found in its local part alone is taken back; first is the
// number of matches that are not this text's.
func (s *Scanner) email(i, first int) int {
	end := s.domain(i + 1)
	if end == 0 {
		return i + 1
	}
	start := i
	for start > 0 && i-start < maxLocal {
		size := s.localBefore(start)
		if size == 0 {
			break
		}
		start -= size
	}
	for start < i && (s.text[start] == '.' || s.text[start] == '\'' || s.text[start] == '-' || s.text[start] == '*') {
		start++
	}
	for last := len(s.found) - 1; last >= first && s.found[last].End > start; last-- {
		if s.found[last].Start < start {
			start = s.found[last].End
			break
		}
		s.found = s.found[:last]
	}
	if start >= i || s.text[i-1] == '.' {
		return i + 1
	}
	return s.add(Email, start, end, 0.98)
}

// localBefore returns the size of the character before i if it can be in a local part, else 0.
func (s *Scanner) localBefore(i int) int {
	c := s.text[i-1]
	if c < utf8.RuneSelf {
		switch {
		case isLetter(c), isDigit(c):
			return 1
		}
		switch c {
		case '.', '_', '%', '+', '-', '\'', '!', '#', '&', '*', '~':
			return 1
		}
		return 0
	}
	r, size := utf8.DecodeLastRune(s.text[:i])
	if !unicode.Is(unicode.Latin, r) {
		return 0
	}
	return size
}

// domain returns where the domain name that starts at i ends, 0 if there is none.
func (s *Scanner) domain(i int) int {
	limit := min(len(s.text), i+maxDomain)
	dot, end := 0, i
	for end < limit {
		c := s.text[end]
		switch {
		case c == '.':
			if end == i || !isLabel(s.at(end+1)) || s.text[end-1] == '-' {
				return s.topLevel(dot, end)
			}
			dot = end
		case !isLabel(c) && c != '-':
			return s.topLevel(dot, end)
		}
		end++
	}
	return s.topLevel(dot, end)
}

func isLabel(c byte) bool { return isLetter(c) || isDigit(c) || c >= utf8.RuneSelf }

// topLevel checks what follows the last dot.
func (s *Scanner) topLevel(dot, end int) int {
	for end > dot && s.text[end-1] == '-' {
		end--
	}
	name := s.text[min(dot+1, end):end]
	if dot == 0 || len(name) < 2 {
		return 0
	}
	if s.has(dot+1, "xn--") {
		return end
	}
	for _, c := range name {
		if isDigit(c) || c == '-' {
			return 0
		}
	}
	for _, file := range [...]string{"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "pdf"} {
		if len(file) == len(name) && s.has(dot+1, file) {
			return 0
		}
	}
	return end
}
