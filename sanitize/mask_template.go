package sanitize

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

func templateKind() kind {
	return kind{
		name: "template", summary: "a text made from what other columns of the row become: \"{{first_name|slug}}.{{token:10}}@example.com\"",
		params: []param{
			{name: "text", kind: paramText, required: true, summary: "{{column}}, {{column|lower}} and {{column|slug}} (ASCII letters, digits and -) stand for results of other columns, {{token:N}} for N keyed digits of the value itself"},
		},
		families: []family{familyText},
		keyed:    true, unique: true,
		bind: bindTemplate,
	}
}

// templatePart is a piece of a template: a literal, a column, or a token.
type templatePart struct {
	literal string
	column  int // -1: none
	filter  string
	token   int // digits; 0: none
}

func bindTemplate(a *arguments, t *target, key []byte) (binding, error) {
	text := a.text("text")
	parts, columns, err := parseTemplate(text)
	if err != nil {
		return binding{}, err
	}
	digits := 0
	for _, p := range parts {
		digits = max(digits, p.token)
	}
	return binding{
		columns: columns,
		results: true,
		makeRow: func(row rowReader) maskFunc {
			m := &templateMask{prf: newPRF(key, t), row: row, parts: parts, limit: t.limit}
			return m.mask
		},
		escape: true,
		// Cutting could take the token away.
		unique:  digits*5 >= uniqueBits && t.limit == 0,
		mapping: fmt.Sprintf("template %q of %s", text, t.path),
	}, nil
}

func parseTemplate(text string) (parts []templatePart, columns []string, err error) {
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "{{")
		if before != "" {
			parts = append(parts, templatePart{literal: before, column: -1})
		}
		if !found {
			break
		}
		inside, behind, closed := strings.Cut(after, "}}")
		if !closed {
			return nil, nil, &refusal{"text has a {{ without }}", "write for example {{first_name}}"}
		}
		rest = behind
		name, filter, _ := strings.Cut(inside, "|")
		name, filter = strings.TrimSpace(name), strings.TrimSpace(filter)
		if digits, isToken := strings.CutPrefix(name, "token:"); isToken {
			n, err := strconv.Atoi(digits)
			if err != nil || n < 1 || n > maxBase32 || filter != "" {
				return nil, nil, &refusal{fmt.Sprintf("a token has 1 to %d digits", maxBase32), "write for example {{token:10}}"}
			}
			parts = append(parts, templatePart{column: -1, token: n})
			continue
		}
		if name == "" || !contains([]string{"", "lower", "slug"}, filter) {
			return nil, nil, &refusal{fmt.Sprintf("{{%s}} is neither a column, with lower or slug behind a bar, nor a token", inside), "write for example {{first_name|lower}}"}
		}
		parts = append(parts, templatePart{column: len(columns), filter: filter})
		columns = append(columns, name)
	}
	return parts, columns, nil
}

type templateMask struct {
	prf   *prf
	row   rowReader
	parts []templatePart
	limit int
}

func (m *templateMask) mask(dst, value []byte) []byte {
	start := len(dst)
	for i := range m.parts {
		p := &m.parts[i]
		switch {
		case p.token > 0:
			dst = appendBase32(dst, m.prf.of(value)[:], p.token)
		case p.column >= 0:
			other, _ := m.row.masked(p.column) // NULL gives nothing
			dst = appendFiltered(dst, other, p.filter)
		default:
			dst = append(dst, p.literal...)
		}
	}
	return fit(dst, start, m.limit)
}

func appendFiltered(dst, text []byte, filter string) []byte {
	switch filter {
	case "lower":
		return appendLower(dst, string(text))
	case "slug":
		start := len(dst)
		for i := 0; i < len(text); {
			c, size := text[i], 1
			if c >= utf8.RuneSelf {
				_, size = utf8.DecodeRune(text[i:])
			}
			i += size
			switch {
			case 'A' <= c && c <= 'Z':
				dst = append(dst, c|0x20)
			case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
				dst = append(dst, c)
			case len(dst) > start && dst[len(dst)-1] != '-':
				dst = append(dst, '-')
			}
		}
		if len(dst) > start && dst[len(dst)-1] == '-' {
			dst = dst[:len(dst)-1]
		}
		return dst
	default:
		return append(dst, text...)
	}
}
