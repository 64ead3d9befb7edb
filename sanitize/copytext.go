package sanitize

import "bytes"

// The text format of COPY, as PostgreSQL's CopyReadAttributesText reads it (PostgreSQL 18 docs, COPY, "Text Format").

// nullMarker is the field that stands for NULL. It is compared before unescaping.
const nullMarker = `\N`

// endMarker is the line that ends the data.
const endMarker = `\.`

// escaped reports whether the byte at i is preceded by an odd number of backslashes and so belongs to the data.
func escaped(row []byte, i int) bool {
	n := 0
	for i > n && row[i-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// nextTab returns the index of the first separator at or after pos, or -1.
func nextTab(row []byte, pos int) int {
	for {
		i := bytes.IndexByte(row[pos:], '\t')
		if i < 0 {
			return -1
		}
		i += pos
		if i == 0 || row[i-1] != '\\' || !escaped(row, i) {
			return i
		}
		pos = i + 1
	}
}

// countTabs counts the separators.
func countTabs(row []byte) int {
	n := bytes.Count(row, []byte{'\t'})
	if n == 0 || bytes.IndexByte(row, '\\') < 0 {
		return n
	}
	n = 0
	for pos := 0; ; n++ {
		i := nextTab(row, pos)
		if i < 0 {
			return n
		}
		pos = i + 1
	}
}

// appendUnescaped appends the value of a field that is not NULL.
func appendUnescaped(dst, field []byte) []byte {
	for len(field) > 0 {
		i := bytes.IndexByte(field, '\\')
		if i < 0 {
			return append(dst, field...)
		}
		dst = append(dst, field[:i]...)
		field = field[i+1:]
		if len(field) == 0 {
			return dst // PostgreSQL drops a backslash at the end of the line
		}
		var c byte
		var size int
		c, size = unescape(field)
		dst = append(dst, c)
		field = field[size:]
	}
	return dst
}

// unescape returns the byte that the characters after a backslash stand for, and how many they are.
func unescape(s []byte) (c byte, size int) {
	switch c = s[0]; c {
	case 'b':
		return '\b', 1
	case 'f':
		return '\f', 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'v':
		return '\v', 1
	case '0', '1', '2', '3', '4', '5', '6', '7':
		value := 0
		for size = 0; size < 3 && size < len(s) && '0' <= s[size] && s[size] <= '7'; size++ {
			value = value<<3 | int(s[size]-'0')
		}
		return byte(value), size
	case 'x':
		value := 0
		for size = 1; size < 3 && size < len(s); size++ {
			digit, ok := hexValue(s[size])
			if !ok {
				break
			}
			value = value<<4 | digit
		}
		if size == 1 {
			return 'x', 1
		}
		return byte(value), size
	default:
		return c, 1
	}
}

func hexValue(c byte) (int, bool) {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10, true
	default:
		return 0, false
	}
}

// appendEscaped appends value as a field.
func appendEscaped(dst, value []byte) []byte {
	start := 0
	for i, c := range value {
		if c > '\r' && c != '\\' {
			continue
		}
		e := escapeLetter(c)
		if e == 0 {
			continue
		}
		dst = append(dst, value[start:i]...)
		dst = append(dst, '\\', e)
		start = i + 1
	}
	return append(dst, value[start:]...)
}

// escapeLetter returns what follows the backslash for a byte that must be escaped, else 0.
func escapeLetter(c byte) byte {
	switch c {
	case '\\':
		return '\\'
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	case '\v':
		return 'v'
	default:
		return 0
	}
}
