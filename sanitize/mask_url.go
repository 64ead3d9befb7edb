package sanitize

import (
	"bytes"
	"fmt"
)

func urlKind() kind {
	return kind{
		name: "url", summary: "an address below https://example.com/",
		params: []param{
			{name: "host", kind: paramChoice, values: []string{"replace", "keep"}, fallback: "replace", summary: "keep leaves scheme, host and port; user names and passwords never stay"},
			{name: "path", kind: paramChoice, values: []string{"token", "shape"}, fallback: "token", summary: "shape leaves the separators and the names of parameters and replaces what is between them by as many digits and letters"},
		},
		families: []family{familyText},
		keyed:    true, unique: true, disjoint: true,
		bind: bindURL,
	}
}

const urlStart = "https://" + exampleDomain + "/"

func bindURL(a *arguments, t *target, key []byte) (binding, error) {
	token := emailToken
	if t.limit > 0 {
		token = min(token, t.limit-len(urlStart))
	}
	if token < shortestToken {
		return binding{}, &refusal{
			fmt.Sprintf("the column takes %d characters; the shortest result has %d", t.limit, len(urlStart)+shortestToken),
			"use token, null or static",
		}
	}
	keep, shape := a.text("host") == "keep", a.text("path") == "shape"
	plain := !keep && !shape
	limit := 0
	if !plain {
		limit = t.limit
	}
	return binding{
		make: func() maskFunc {
			m := &urlMask{prf: newPRF(key, t), token: token, limit: t.limit, keepHost: keep, shape: shape}
			if plain {
				return tokenMask(m.prf, urlStart, token, false)
			}
			m.segments = newPRF(deriveKey(key, "url segments", ""), &target{})
			return m.mask
		},
		// A short path of the same shape may come twice.
		unique:  token*5 >= uniqueBits && !shape,
		mapping: fmt.Sprintf("url %s %s %d limit %d %s", a.text("host"), a.text("path"), token, limit, t.equality()),
	}, nil
}

// urlMask replaces addresses by parts.
type urlMask struct {
	prf, segments   *prf
	token, limit    int
	keepHost, shape bool
}

func (m *urlMask) mask(dst, value []byte) []byte {
	start := len(dst)
	scheme, host, rest, ok := splitURL(value)
	if !ok {
		scheme, host, rest = nil, nil, value
	}
	if m.keepHost && ok {
		dst = append(append(dst, scheme...), host...)
		dst = append(dst, '/')
	} else {
		dst = append(dst, urlStart...)
	}
	if m.shape && ok {
		dst = m.shaped(dst, rest)
	} else {
		dst = appendBase32(dst, m.prf.of(value)[:], m.token)
	}
	if m.limit > 0 && len(dst)-start > m.limit {
		dst = append(dst[:start], urlStart...)
		dst = appendBase32(dst, m.prf.of(value)[:], m.token)
	}
	return dst
}

// splitURL cuts "https://user:secret@host:80/path?query" into "https://", "host:80" and "path?query".
func splitURL(value []byte) (scheme, host, rest []byte, ok bool) {
	at := bytes.Index(value, []byte("://"))
	if at < 1 || at > 10 {
		return nil, nil, nil, false
	}
	scheme, host = value[:at+3], value[at+3:]
	for _, c := range scheme[:at] {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return nil, nil, nil, false
		}
	}
	if end := bytes.IndexAny(host, "/?#"); end >= 0 {
		host, rest = host[:end], host[end:]
		if rest[0] == '/' {
			rest = rest[1:]
		}
	}
	host = host[bytes.LastIndexByte(host, '@')+1:]
	name := host
	if colon := bytes.LastIndexByte(host, ':'); colon >= 0 && allDigits(host[colon+1:]) {
		name = host[:colon]
	}
	return scheme, host, rest, len(name) > 0 && hostname(name)
}

// shaped keeps separators and the names of parameters of a path and a query.
func (m *urlMask) shaped(dst, rest []byte) []byte {
	query := false
	for len(rest) > 0 {
		end := bytes.IndexAny(rest, "/?#&=.;")
		if end < 0 {
			end = len(rest)
		}
		switch {
		case end == 0:
		case query && end < len(rest) && rest[end] == '=' && identifier(rest[:end]):
			dst = append(dst, rest[:end]...)
		default:
			dst = m.segment(dst, rest[:end])
		}
		if end == len(rest) {
			break
		}
		query = query && rest[end] != '=' || rest[end] == '?' || rest[end] == '&'
		dst = append(dst, rest[end])
		rest = rest[end+1:]
	}
	return dst
}

// segment replaces a part by a token of the same length.
func (m *urlMask) segment(dst, part []byte) []byte {
	sum := m.segments.of(part)
	for len(part) > maxBase32 {
		dst = appendBase32(dst, sum[:], maxBase32)
		part = part[maxBase32:]
		sum = m.segments.of(part)
	}
	start := len(dst)
	dst = appendBase32(dst, sum[:], len(part))
	if string(dst[start:]) == string(part) {
		bump(dst[start:])
	}
	return dst
}
