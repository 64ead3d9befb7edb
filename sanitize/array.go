package sanitize

import "bytes"

// arrayMask masks the elements of arrays in the form of PostgreSQL's array_out (PostgreSQL 18 docs, 8.15.6): bounds,
// braces and NULL elements stay, each element is unquoted, masked, and quoted where PostgreSQL would.
type arrayMask struct {
	element   *leaf
	delimiter byte
	text      []byte // an unquoted element
}

const emptyArray = "{}"

func (m *arrayMask) mask(dst, value []byte) []byte {
	start := len(dst)
	i := 0
	if value[0] == '[' {
		// Bounds, "[2:4][0:1]=", hold no data.
		end := bytes.IndexByte(value, '=')
		if end < 1 || value[end-1] != ']' || len(bytes.Trim(value[:end], "[]:-+0123456789")) > 0 {
			return append(dst, emptyArray...)
		}
		i = end + 1
		dst = append(dst, value[:i]...)
	}
	depth, wantElement := 0, false
	for i < len(value) {
		switch c := value[i]; {
		case c == '{':
			depth++
			wantElement = true
			dst = append(dst, c)
			i++
		case c == '}':
			depth--
			wantElement = false
			dst = append(dst, c)
			i++
			if depth <= 0 {
				if depth < 0 || i != len(value) {
					return append(dst[:start], emptyArray...)
				}
				return dst
			}
		case c == m.delimiter:
			wantElement = true
			dst = append(dst, c)
			i++
		case spaceByte(c):
			i++
		case !wantElement || depth == 0:
			return append(dst[:start], emptyArray...)
		default:
			var ok bool
			if dst, i, ok = m.one(dst, value, i); !ok {
				return append(dst[:start], emptyArray...)
			}
			wantElement = false
		}
	}
	return append(dst[:start], emptyArray...)
}

// one masks the element that starts at i.
func (m *arrayMask) one(dst, value []byte, i int) (out []byte, next int, ok bool) {
	m.text = m.text[:0]
	quoted := value[i] == '"'
	if quoted {
		i++
	}
	significant := 0 // length without the spaces at the end, which count only when escaped
	for ; ; i++ {
		if i >= len(value) {
			return dst, i, false
		}
		c := value[i]
		if quoted && c == '"' {
			i++
			break
		}
		if !quoted && (c == m.delimiter || c == '}' || c == '{' || c == '"') {
			if c == '{' || c == '"' {
				return dst, i, false
			}
			m.text = m.text[:significant]
			break
		}
		escaped := c == '\\'
		if escaped {
			i++
			if i >= len(value) {
				return dst, i, false
			}
			c = value[i]
		}
		m.text = append(m.text, c)
		if escaped || !spaceByte(c) {
			significant = len(m.text)
		}
	}
	null := !quoted && bytes.EqualFold(m.text, []byte("NULL"))
	result, null := m.element.of(m.text, null)
	if null {
		return append(dst, "NULL"...), i, true
	}
	return appendArrayElement(dst, result, m.delimiter), i, true
}

// appendArrayElement quotes an element as array_out does.
func appendArrayElement(dst, element []byte, delimiter byte) []byte {
	quote := len(element) == 0 || bytes.EqualFold(element, []byte("NULL"))
	for _, c := range element {
		quote = quote || c == '"' || c == '\\' || c == '{' || c == '}' || c == delimiter || spaceByte(c)
	}
	if !quote {
		return append(dst, element...)
	}
	dst = append(dst, '"')
	for _, c := range element {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// spaceByte is array_isspace, and isspace in the C locale.
func spaceByte(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
