package sanitize

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Lengths of what the word lists can give; words_test.go holds them to it.
const (
	maxNameLength   = 11 // a first name, or a last name
	exampleDomain   = "example.com"
	emailToken      = 16 // base32 digits: 80 bits
	shortestToken   = 8
	usernameToken   = 12 // 60 bits
	maxEmailLocal   = maxNameLength + 1 + maxNameLength + 1 + emailToken
	maxCompanyWords = 32
)

func emailKind() kind {
	return kind{
		name:    "email",
		summary: "a valid address at example.com that belongs to nobody",
		params: []param{
			{name: "domain_name", kind: paramChoice, values: []string{"example", "map", "keep"}, fallback: "example", summary: "the part after the @: example.com; map: one subdomain of example.com for each; keep: as it is. The last two only where the result fits the column"},
		},
		families: []family{familyText},
		keyed:    true, unique: true, disjoint: true,
		bind: bindEmail,
	}
}

func bindEmail(a *arguments, t *target, key []byte) (binding, error) {
	token := emailToken
	if t.limit > 0 {
		token = min(token, t.limit-len("@"+exampleDomain))
	}
	if token < shortestToken {
		return binding{}, &refusal{
			fmt.Sprintf("the column takes %d characters; the shortest address has %d", t.limit, shortestToken+len("@"+exampleDomain)),
			"use token, null or static",
		}
	}
	part := a.text("domain_name")
	m := emailMask{limit: t.limit, token: token, keepDomain: part == "keep", mapDomain: part == "map"}
	natural := maxEmailLocal + len("@"+exampleDomain)
	m.names = t.fits(natural)
	limit := t.limit
	if m.names && part == "example" || m.mapDomain && t.fits(natural+mappedDomain+1) {
		limit = 0
	}
	return binding{
		make: func() maskFunc {
			m := m
			m.prf, m.first, m.last = newPRF(key, t), firstNames(), lastNames()
			m.domains = newPRF(deriveKey(key, "email domains", ""), &target{fold: true})
			return m.mask
		},
		unique:  token*5 >= uniqueBits,
		mapping: fmt.Sprintf("email %s limit %d %s", part, limit, t.equality()),
	}, nil
}

type emailMask struct {
	prf         *prf
	first, last []string
	limit       int
	token       int // digits
	names       bool
	keepDomain  bool
	mapDomain   bool
	domains     *prf // what domain names map to
}

// mappedDomain is how many digits stand for a domain name: 50 bits.
const mappedDomain = 10

// mask gives "ada.lovelace.k3v9x2m4q8t1p5a0@example.com", or without the names where the column is short.
func (m *emailMask) mask(dst, value []byte) []byte {
	sum := m.prf.of(value)
	start := len(dst)
	if m.names {
		dst = appendLower(dst, pick(m.first, sum[0], sum[1], value))
		dst = append(dst, '.')
		dst = appendLower(dst, pick(m.last, sum[2], sum[3], value))
		dst = append(dst, '.')
	}
	dst = appendBase32(dst, sum[4:], m.token)
	dst = append(dst, '@')
	domain := value[bytes.LastIndexByte(value, '@')+1:]
	known := len(domain) < len(value) && hostname(domain)
	left := m.limit - (len(dst) - start)
	switch {
	case m.keepDomain && known && (m.limit == 0 || len(domain) <= left):
		return append(dst, domain...)
	case m.mapDomain && known && (m.limit == 0 || mappedDomain+1+len(exampleDomain) <= left):
		dst = appendBase32(dst, m.domains.of(domain)[:], mappedDomain)
		dst = append(dst, '.')
	}
	return append(dst, exampleDomain...)
}

// hostname reports whether s can be the domain of an address: ASCII letters, digits, '-' and at least one '.'.
func hostname(s []byte) bool {
	dots := 0
	for _, c := range s {
		switch {
		case c == '.':
			dots++
		case c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z':
		default:
			return false
		}
	}
	return dots > 0 && s[0] != '.' && s[len(s)-1] != '.'
}

func appendLower[T string | []byte](dst []byte, s T) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

func usernameKind() kind {
	return kind{
		name: "username", summary: "a name and a keyed token: letters, digits and _",
		families: []family{familyText},
		keyed:    true, unique: true, disjoint: true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			names := t.fits(maxNameLength + 1 + usernameToken)
			token := usernameToken
			if !names {
				token = min(token, t.limit)
			}
			return binding{
				make: func() maskFunc {
					p, first := newPRF(key, t), firstNames()
					return func(dst, value []byte) []byte {
						sum := p.of(value)
						if names {
							dst = appendLower(dst, pick(first, sum[0], sum[1], value))
							dst = append(dst, '_')
						}
						return appendBase32(dst, sum[2:], token)
					}
				},
				unique:  token*5 >= uniqueBits,
				mapping: fmt.Sprintf("username names %t digits %d %s", names, token, t.equality()),
			}, nil
		},
	}
}

func personNameKind() kind {
	return kind{
		name: "person_name", summary: "a first and a last name from built-in lists",
		params: []param{
			{name: "part", kind: paramChoice, values: []string{"full", "first", "last"}, fallback: "full", summary: "which part of a name the column holds"},
			{name: "locale", kind: paramChoice, values: locales(), fallback: "en", summary: "the language whose names are drawn"},
			{name: "script", kind: paramChoice, values: []string{"native", "latin"}, fallback: "native", summary: "latin writes names of every language in Latin letters"},
		},
		families: []family{familyText},
		keyed:    true,
		bind:     bindPersonName,
	}
}

func bindPersonName(a *arguments, t *target, key []byte) (binding, error) {
	part, locale, latin := a.text("part"), a.text("locale"), a.text("script") == "latin"
	longest := maxNameLength
	if part == "full" {
		longest = maxNameLength + 1 + maxNameLength
	}
	mapping := "person_name " + part
	if locale != "en" {
		mapping += " " + locale + " " + a.text("script")
	}
	return binding{
		make:    func() maskFunc { return personNameMask(newPRF(key, t), namesOf(locale, latin), part, t.limit) },
		mapping: fmt.Sprintf("%s limit %d %s", mapping, t.binding(longest), t.equality()),
	}, nil
}

// binding returns the limit if results of up to longest characters may hit it, else 0: columns that differ only in
// limits that never matter still map alike.
func (t *target) binding(longest int) int {
	if t.fits(longest) {
		return 0
	}
	return t.limit
}

func personNameMask(p *prf, names nameList, part string, limit int) maskFunc {
	return func(dst, value []byte) []byte {
		sum := p.of(value)
		start := len(dst)
		first, last := "", ""
		if part != "last" {
			first = pick(names.first, sum[0], sum[1], value)
		}
		if part != "first" {
			last = pick(names.last, sum[2], sum[3], value)
		}
		if names.familyFirst {
			first, last = last, first
		}
		dst = append(dst, first...)
		if part == "full" {
			dst = append(dst, names.separator...)
		}
		dst = append(dst, last...)
		return fit(dst, start, limit)
	}
}

// fit cuts what was appended to dst since start to limit characters, and spaces from its end.
func fit(dst []byte, start, limit int) []byte {
	if limit == 0 || len(dst)-start <= limit {
		return dst
	}
	end := start
	for n := 0; n < limit && end < len(dst); n++ {
		_, size := utf8.DecodeRune(dst[end:])
		end += size
	}
	dst = dst[:end]
	for len(dst) > start && dst[len(dst)-1] == ' ' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func companyKind() kind {
	return wordsKind("company", "the name of a company from built-in words", maxCompanyWords,
		func(p *prf) maskFunc {
			words, trades, forms := companyWords(), companyTrades(), strings.Fields("Ltd Inc LLC GmbH Group Co")
			return func(dst, value []byte) []byte {
				sum := p.of(value)
				dst = append(dst, pick(words, sum[0], sum[1], value)...)
				dst = append(dst, ' ')
				dst = append(dst, pick(trades, sum[2], sum[3], value)...)
				dst = append(dst, ' ')
				return append(dst, pick(forms, sum[4], sum[5], value)...)
			}
		})
}

// wordsKind makes a transformer without parameters whose results are ASCII words of at most longest characters,
// cut where the column is shorter.
func wordsKind(name, summary string, longest int, mask func(*prf) maskFunc) kind {
	return kind{
		name: name, summary: summary,
		families: []family{familyText},
		keyed:    true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			return binding{
				make: func() maskFunc {
					inner := mask(newPRF(key, t))
					if t.limit == 0 {
						return inner
					}
					return func(dst, value []byte) []byte {
						return fit(inner(dst, value), len(dst), t.limit)
					}
				},
				mapping: fmt.Sprintf("%s limit %d %s", name, t.binding(longest), t.equality()),
			}, nil
		},
	}
}
