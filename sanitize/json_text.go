package sanitize

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Reading and writing JSON text (RFC 8259) without building values of it.

func (m *jsonMask) space() {
	for m.pos < len(m.src) {
		switch m.src[m.pos] {
		case ' ', '\t', '\n', '\r':
			m.pos++
		default:
			return
		}
	}
}

func (m *jsonMask) peek() byte {
	if m.pos < len(m.src) {
		return m.src[m.pos]
	}
	return 0
}

// number reads a number (RFC 8259, section 6).
func (m *jsonMask) number() (literal []byte, ok bool) {
	start := m.pos
	if m.peek() == '-' {
		m.pos++
	}
	if m.peek() == '0' {
		m.pos++
	} else if !m.digits() {
		return nil, false
	}
	if m.peek() == '.' {
		m.pos++
		if !m.digits() {
			return nil, false
		}
	}
	if c := m.peek(); c == 'e' || c == 'E' {
		m.pos++
		if c := m.peek(); c == '+' || c == '-' {
			m.pos++
		}
		if !m.digits() {
			return nil, false
		}
	}
	return m.src[start:m.pos], true
}

func (m *jsonMask) digits() bool {
	start := m.pos
	for c := m.peek(); '0' <= c && c <= '9'; c = m.peek() {
		m.pos++
	}
	return m.pos > start
}

// string decodes the string at pos into text. A surrogate without its partner becomes U+FFFD.
func (m *jsonMask) string() bool {
	m.text = m.text[:0]
	for m.pos++; m.pos < len(m.src); {
		switch c := m.src[m.pos]; {
		case c == '"':
			m.pos++
			return true
		case c < ' ':
			return false
		case c != '\\':
			m.text = append(m.text, c)
			m.pos++
		default:
			if !m.escape() {
				return false
			}
		}
	}
	return false
}

// escape decodes the escape sequence at pos.
func (m *jsonMask) escape() bool {
	if m.pos+1 >= len(m.src) {
		return false
	}
	c := m.src[m.pos+1]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		m.text = append(m.text, "\"\\/\b\f\n\r\t"[i])
		m.pos += 2
		return true
	}
	if c != 'u' {
		return false
	}
	r, ok := m.unit(m.pos)
	if !ok {
		return false
	}
	m.pos += 6
	if 0xd800 <= r && r < 0xdc00 {
		if low, ok := m.unit(m.pos); ok && 0xdc00 <= low && low < 0xe000 {
			m.pos += 6
			r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
		}
	}
	m.text = utf8.AppendRune(m.text, r)
	return true
}

// unit reads \uXXXX at pos.
func (m *jsonMask) unit(pos int) (r rune, ok bool) {
	if pos+6 > len(m.src) || m.src[pos] != '\\' || m.src[pos+1] != 'u' {
		return 0, false
	}
	for _, c := range m.src[pos+2 : pos+6] {
		digit, ok := hexValue(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

// appendJSONString writes s as a JSON string. Bytes that are not UTF-8 are passed on as they came.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t':
			dst = append(dst, '\\', escapeLetter(c))
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func validJSON(value []byte) bool { return json.Valid(value) }
