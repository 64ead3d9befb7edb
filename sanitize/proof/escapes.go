package proof

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxDecodings is how often a value is decoded: a document within a document has escapes of escapes.
	maxDecodings = 2
	// decodedPart is how much of a value is decoded at once.
	decodedPart = 1 << 20
)

// decodeEscapes appends value as one loose grammar reads it that has the escapes of JSON and C, of URLs, of HTML, and the
// doubled quotes of SQL and CSV. Whatever is no escape stays. changed says whether there was any.
func decodeEscapes(dst, value []byte) (out []byte, changed bool) {
	if len(value) < minBytes || bytes.IndexByte(value, '\\') < 0 && bytes.IndexByte(value, '%') < 0 && bytes.IndexByte(value, '&') < 0 &&
		!bytes.Contains(value, []byte("''")) && !bytes.Contains(value, []byte(`""`)) {
		return dst, false
	}
	for i := 0; i < len(value); {
		n := 0
		switch value[i] {
		case '\\':
			dst, n = unescaped(dst, value[i:])
		case '%':
			dst, n = percent(dst, value[i:])
		case '&':
			dst, n = entity(dst, value[i:])
		case '\'', '"':
			if i+1 < len(value) && value[i+1] == value[i] {
				dst, n = append(dst, value[i]), 2
			}
		}
		if n == 0 {
			dst = append(dst, value[i])
			n = 1
		} else {
			changed = true
		}
		i += n
	}
	return dst, changed
}

// unescaped appends what a backslash begins and returns the length of it, 0 if it begins nothing.
func unescaped(dst, value []byte) ([]byte, int) {
	if len(value) < 2 {
		return dst, 0
	}
	switch c := value[1]; c {
	case 'n', 'r', 't', 'b', 'f', 'v':
		return append(dst, ' '), 2
	case '\\', '/', '"', '\'':
		return append(dst, c), 2
	case 'x':
		if code, ok := hexCode(value, 2, 2); ok {
			return append(dst, byte(code)), 4
		}
	case 'u':
		code, ok := hexCode(value, 2, 4)
		if !ok {
			return dst, 0
		}
		if len(value) > 8 && utf16.IsSurrogate(code) && value[6] == '\\' && value[7] == 'u' {
			if low, ok := hexCode(value, 8, 4); ok {
				return utf8.AppendRune(dst, utf16.DecodeRune(code, low)), 12
			}
		}
		return utf8.AppendRune(dst, code), 6
	}
	return dst, 0
}

// percent appends the byte that %40 stands for.
func percent(dst, value []byte) ([]byte, int) {
	if code, ok := hexCode(value, 1, 2); ok {
		return append(dst, byte(code)), 3
	}
	return dst, 0
}

// entity appends the character that &amp; or &#64; stands for.
func entity(dst, value []byte) ([]byte, int) {
	const longest = len("&#x10ffff;")
	end := bytes.IndexByte(value[:min(len(value), longest)], ';')
	if end < 2 {
		return dst, 0
	}
	name := string(value[1:end])
	for _, known := range [...]struct {
		name string
		char byte
	}{{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"nbsp", ' '}} {
		if name == known.name {
			return append(dst, known.char), end + 1
		}
	}
	if name[0] != '#' {
		return dst, 0
	}
	digits, base := name[1:], 10
	if digits != "" && digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	code, err := strconv.ParseInt(digits, base, 32)
	if err != nil || code < 0 || code > utf8.MaxRune {
		return dst, 0
	}
	return utf8.AppendRune(dst, rune(code)), end + 1
}

// hexCode reads count hexadecimal digits at a place.
func hexCode(value []byte, at, count int) (rune, bool) {
	if len(value) < at+count {
		return 0, false
	}
	code := rune(0)
	for _, c := range value[at : at+count] {
		switch {
		case '0' <= c && c <= '9':
			code = code<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			code = code<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return code, true
}
