package proof

import (
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds values within values: an element of a jsonb[] is a document.
const maxDepth = 4

// leaves calls yield with the parts of a structured value: strings and numbers of JSON, keys and values of hstore,
// elements of arrays, fields of composites, bounds of ranges. It reads them all as one loose grammar, because a value
// that is cut differently than PostgreSQL does is merely looked at twice. What it yields is valid until yield returns.
func leaves(value []byte, yield func([]byte)) { walk(value, yield, maxDepth) }

func walk(value []byte, yield func([]byte), depth int) {
	if depth == 0 {
		return
	}
	var scratch []byte
	emit := func(leaf []byte) {
		if leaf = trim(leaf); len(leaf) == 0 {
			return
		}
		yield(leaf)
		if structured(leaf) {
			walk(leaf, yield, depth-1)
		}
	}
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			var end int
			scratch, end = quoted(scratch[:0], value, i+1)
			emit(scratch)
			i = end
		case structural(c):
			i++
		default:
			start := i
			for i < len(value) && value[i] != '"' && !structural(value[i]) {
				i++
			}
			emit(value[start:i])
		}
	}
}

// structured reports whether a value looks as if it had parts.
func structured(value []byte) bool {
	if len(value) < 2 {
		return false
	}
	switch value[0] {
	case '{', '[', '(', '"':
		return true
	default:
		return false
	}
}

func structural(c byte) bool {
	switch c {
	case '{', '}', '[', ']', '(', ')', ',', ':', '=', '>', '\n', '\t':
		return true
	default:
		return false
	}
}

// quoted appends the string that begins at i, after its quote, and returns where it ends. Two quotes within are one
// (composites), a backslash escapes (JSON, arrays, hstore).
func quoted(dst, value []byte, i int) ([]byte, int) {
	for i < len(value) {
		switch c := value[i]; {
		case c == '"' && len(dst) > 0 && i+1 < len(value) && value[i+1] == '"':
			dst = append(dst, '"')
			i += 2
		case c == '"':
			return dst, i + 1
		case c == '\\' && i+1 < len(value):
			dst, i = unescape(dst, value, i+1)
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst, i
}

// unescape appends what stands after a backslash at i-1.
func unescape(dst, value []byte, i int) ([]byte, int) {
	switch c := value[i]; {
	case c == 'u' && i+5 <= len(value):
		code, err := strconv.ParseUint(string(value[i+1:i+5]), 16, 16)
		if err != nil {
			return append(dst, c), i + 1
		}
		return utf8.AppendRune(dst, rune(code)), i + 5
	case c == 'n' || c == 't' || c == 'r':
		return append(dst, ' '), i + 1
	default:
		return append(dst, c), i + 1
	}
}
