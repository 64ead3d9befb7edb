package sanitize

import (
	"fmt"
	"strings"
)

func compositeKind() kind {
	return kind{
		name: "composite", summary: "masks the fields of a composite type, each by its own transformer",
		params: []param{
			{name: "fields", kind: paramSpecs, required: true, summary: "every field of the type, with what happens to it"},
		},
		families: []family{familyComposite},
		keyed:    true,
		master:   true,
		bind:     bindComposite,
	}
}

func bindComposite(a *arguments, t *target, key []byte) (binding, error) {
	d := t.column.dataType()
	names := make([]string, len(d.Fields))
	for i := range d.Fields {
		names[i] = d.Fields[i].Name
	}
	given := map[string]*spec{}
	for i := range a.specs {
		name := a.specs[i].name
		if !contains(names, name) {
			return binding{}, &refusal{fmt.Sprintf("type %s has no field %s%s", d.Name, name, didYouMean(name, names)), "its fields are: " + strings.Join(names, ", ")}
		}
		given[name] = a.specs[i].spec
	}
	whole := binding{escape: true, unique: true, mapping: "composite"}
	fields := make([]binding, len(names))
	for i, name := range names {
		s := given[name]
		if s == nil {
			return binding{}, &refusal{fmt.Sprintf("field %s of type %s has no rule", name, d.Name), "give every field; those that are harmless: keep"}
		}
		b, err := fitInside(key, t, d.Fields[i].Type, "the field", s)
		if err != nil {
			return binding{}, fmt.Errorf("field %s: %w", name, err)
		}
		fields[i] = b
		whole.unique = whole.unique && b.unique
		whole.mapping += fmt.Sprintf(" %q: %s in %q", name, b.mapping, s.domainOrDefault())
		whole.inner = append(append(whole.inner, b.inner...), domainUse{spec: s, mapping: b.elementMapping(), where: "field " + name + " (" + s.mask + ")"})
	}
	whole.makeNested = func(see *observation) maskFunc {
		m := &compositeMask{}
		for i := range fields {
			m.fields = append(m.fields, newLeaf(&fields[i], see))
		}
		return m.mask
	}
	return whole, nil
}

// compositeMask masks the fields of rows in the form of record_out (PostgreSQL 18 docs, 8.16.6).
type compositeMask struct {
	fields []*leaf
	text   []byte
}

func (m *compositeMask) mask(dst, value []byte) []byte {
	start := len(dst)
	if value[0] != '(' || value[len(value)-1] != ')' {
		return m.empty(dst)
	}
	dst = append(dst, '(')
	i := 1
	for n, field := range m.fields {
		if n > 0 {
			if i >= len(value) || value[i] != ',' {
				return m.empty(dst[:start])
			}
			dst = append(dst, ',')
			i++
		}
		var null, ok bool
		if m.text, i, null, ok = appendUnquoted(m.text[:0], value, i, ",)"); !ok {
			return m.empty(dst[:start])
		}
		if result, null := field.of(m.text, null); !null {
			dst = appendQuoted(dst, result, "(),")
		}
	}
	if i != len(value)-1 {
		return m.empty(dst[:start])
	}
	return append(dst, ')')
}

// empty appends a row of NULLs.
func (m *compositeMask) empty(dst []byte) []byte {
	dst = append(dst, '(')
	for i := 1; i < len(m.fields); i++ {
		dst = append(dst, ',')
	}
	return append(dst, ')')
}

// appendUnquoted reads a field of a composite or a bound of a range, up to one of the bytes of ends. Nothing at all is NULL.
func appendUnquoted(dst, value []byte, i int, ends string) (out []byte, next int, null, ok bool) {
	null = true
	quoted := false
	for ; i < len(value); i++ {
		c := value[i]
		if !quoted && strings.IndexByte(ends, c) >= 0 {
			return dst, i, null, true
		}
		null = false
		switch {
		case c == '\\':
			i++
			if i >= len(value) {
				return dst, i, false, false
			}
			dst = append(dst, value[i])
		case c != '"':
			dst = append(dst, c)
		case quoted && i+1 < len(value) && value[i+1] == '"':
			dst = append(dst, '"')
			i++
		default:
			quoted = !quoted
		}
	}
	return dst, i, null, false
}

// appendQuoted quotes as record_out and range_out do; special are the bytes that mean something outside of quotes.
func appendQuoted(dst, text []byte, special string) []byte {
	quote := len(text) == 0
	for _, c := range text {
		quote = quote || c == '"' || c == '\\' || spaceByte(c) || strings.IndexByte(special, c) >= 0
	}
	if !quote {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, c)
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
