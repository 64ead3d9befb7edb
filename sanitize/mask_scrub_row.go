package sanitize

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// shortestPart is the least length of what is looked for in texts, in letters: shorter names are words, too.
	shortestPart = 3
	// longestValue is the greatest length, in bytes, of a value that is looked for in texts: longer ones are texts.
	longestValue = 256
	// shortestNumber is the least number of digits of what has no letters.
	shortestNumber = 5
)

// rowValues looks for the values of a row's masked columns in a text of the row: as a whole, and names by their parts.
type rowValues struct {
	row     rowReader
	needles []needle
	first   [256]bool // bytes that needles begin with, in either case
	found   []rowMatch
}

// needle is something to look for.
type needle struct {
	text   []byte
	column int
	part   int  // of the value, -1 for all of it
	free   bool // words of its script have no spaces between them
}

// rowMatch is a needle in a text.
type rowMatch struct {
	start, end   int
	column, part int
}

// find returns where the values are, in order and without overlap; it is valid until the next call.
func (r *rowValues) find(text []byte) []rowMatch {
	r.gather()
	r.found = r.found[:0]
	if len(r.needles) == 0 {
		return r.found
	}
	for i := 0; i < len(text); {
		if !r.first[text[i]] {
			i++
			continue
		}
		best := -1
		for n := range r.needles {
			if (best < 0 || len(r.needles[n].text) > len(r.needles[best].text)) && r.needles[n].at(text, i) {
				best = n
			}
		}
		if best < 0 {
			i++
			continue
		}
		n := &r.needles[best]
		r.found = append(r.found, rowMatch{i, i + len(n.text), n.column, n.part})
		i += len(n.text)
	}
	return r.found
}

// at reports whether the needle stands at i, as words of their own.
func (n *needle) at(text []byte, i int) bool {
	end := i + len(n.text)
	if end > len(text) || !bytes.EqualFold(text[i:end], n.text) {
		return false
	}
	if n.free {
		return true
	}
	return !inWord(text, i) && !inWord(text, end)
}

// inWord reports whether a word goes on from before i to behind it.
func inWord(text []byte, i int) bool {
	return i > 0 && i < len(text) && wordByte(text[i-1]) && wordByte(text[i])
}

func wordByte(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c >= utf8.RuneSelf
}

// gather reads what to look for in this row.
func (r *rowValues) gather() {
	r.needles = r.needles[:0]
	r.first = [256]bool{}
	for i := range r.row.columns() {
		value, null := r.row.value(i)
		if null {
			continue
		}
		value = bytes.TrimSpace(value)
		if len(value) > longestValue || len(value) == 0 || value[0] == '{' || value[0] == '[' {
			continue
		}
		r.add(value, i, -1)
		if r.row.transformer(i) == "person_name" {
			part := 0
			eachWord(value, func(word []byte) {
				if !particle(word) {
					r.add(word, i, part)
				}
				part++
			})
		}
	}
}

// add takes a text if it is long enough to mean something.
func (r *rowValues) add(text []byte, column, part int) {
	letters, digits, free := 0, 0, false
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		switch {
		case unicode.IsDigit(c):
			digits++
		case unicode.IsLetter(c):
			letters++
			free = free || unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai)
		}
		i += size
	}
	if letters+digits < shortestPart && (!free || letters < 2) || letters == 0 && digits < shortestNumber {
		return
	}
	r.needles = append(r.needles, needle{text, column, part, free})
	first, _ := utf8.DecodeRune(text)
	var memory [utf8.UTFMax]byte
	for _, c := range [...]rune{first, unicode.ToLower(first), unicode.ToUpper(first), unicode.ToTitle(first)} {
		utf8.EncodeRune(memory[:], c)
		r.first[memory[0]] = true
	}
	r.first[text[0]] = true
}

// replace appends what the column's value became, or of a part of it the part in its place.
func (r *rowValues) replace(dst, text []byte, m rowMatch) []byte {
	masked, null := r.row.masked(m.column)
	if null || len(masked) == 0 || bytes.EqualFold(masked, text) {
		return redactText(dst, text)
	}
	if m.part < 0 {
		return append(dst, masked...)
	}
	var chosen []byte
	part := 0
	eachWord(masked, func(word []byte) {
		if part <= m.part {
			chosen = word
		}
		part++
	})
	if len(chosen) == 0 || bytes.EqualFold(chosen, text) {
		return redactText(dst, text)
	}
	return append(dst, chosen...)
}

// eachWord calls do with each run of letters.
func eachWord(text []byte, do func(word []byte)) {
	start := -1
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		letter := unicode.IsLetter(c) || unicode.IsMark(c)
		switch {
		case letter && start < 0:
			start = i
		case !letter && start >= 0:
			do(text[start:i])
			start = -1
		}
		i += size
	}
	if start >= 0 {
		do(text[start:])
	}
}

// particle reports whether a part of a name is a common word, which says nothing.
func particle(word []byte) bool {
	const particles = " and the von van der den del dos das della de la le bin ibn ter ten vom zum zur mrs miss herr frau sir dame sen jun jnr snr mme mlle monsieur madame senor senora signor signora "
	if len(word) > 8 {
		return false
	}
	var memory [10]byte
	padded := append(appendLower(append(memory[:0], ' '), word), ' ')
	return strings.Contains(particles, string(padded))
}
