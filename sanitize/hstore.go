package sanitize

import (
	"fmt"
	"strings"
)

func hstoreKind() kind {
	return kind{
		name: "hstore", summary: "masks the values of an hstore by their keys",
		params: []param{
			{name: "entries", kind: paramSpecs, summary: "keys with what happens to their values"},
			{name: "default", kind: paramChoice, values: []string{"redact", "keep", "null"}, fallback: "redact", summary: "what happens to the values of all other keys"},
			{name: "keys", kind: paramChoice, values: []string{"keep", "mask"}, fallback: "keep", summary: "mask makes tokens of keys that entries does not name"},
		},
		families: []family{familyHstore},
		keyed:    true,
		master:   true,
		bind:     bindHstore,
	}
}

func bindHstore(a *arguments, t *target, key []byte) (binding, error) {
	text := &DataType{Name: "text"}
	whole := binding{escape: true, mapping: fmt.Sprintf("hstore default %s keys %s", a.text("default"), a.text("keys"))}
	values := map[string]binding{}
	for i := range a.specs {
		e := &a.specs[i]
		b, err := fitInside(key, t, text, "the value", e.spec)
		if err != nil {
			return binding{}, fmt.Errorf("key %s: %w", e.name, err)
		}
		values[e.name] = b
		whole.mapping += fmt.Sprintf(" %q: %s in %q", e.name, b.mapping, e.spec.domainOrDefault())
		whole.inner = append(append(whole.inner, b.inner...), domainUse{spec: e.spec, mapping: b.elementMapping(), where: "key " + e.name + " (" + e.spec.mask + ")"})
	}
	other, err := fitInside(key, t, text, "the value", &spec{mask: a.text("default")})
	if err != nil {
		return binding{}, err
	}
	maskKeys := a.text("keys") == "mask"
	whole.makeNested = func(see *observation) maskFunc {
		m := &hstoreMask{values: map[string]*leaf{}, other: newLeaf(&other, see), see: see}
		for name := range values {
			b := values[name]
			m.values[name] = newLeaf(&b, see)
		}
		if maskKeys {
			m.keys = newPRF(deriveKey(key, "hstore keys", ""), t)
		}
		return m.mask
	}
	return whole, nil
}

// hstoreMask masks `"key"=>"value", "key"=>NULL`, the form of hstore_out (PostgreSQL 18 docs, F.17.1).
type hstoreMask struct {
	values map[string]*leaf
	other  *leaf
	keys   *prf // nil: keys stay
	see    *observation
	text   []byte
}

func (m *hstoreMask) mask(dst, value []byte) []byte {
	start := len(dst)
	for i := 0; ; {
		var ok bool
		if m.text, i, ok = appendHstoreText(m.text[:0], value, i); !ok {
			return dst[:start]
		}
		values, named := m.values[string(m.text)]
		if !named {
			values = m.other
		}
		dst = m.key(dst, named)
		if !strings.HasPrefix(string(value[i:min(len(value), i+2)]), "=>") {
			return dst[:start]
		}
		dst = append(dst, "=>"...)
		i += len("=>")
		null := strings.HasPrefix(string(value[i:min(len(value), i+4)]), "NULL")
		m.text = m.text[:0]
		if null {
			i += len("NULL")
		} else if m.text, i, ok = appendHstoreText(m.text, value, i); !ok {
			return dst[:start]
		}
		if result, null := values.of(m.text, null); null {
			dst = append(dst, "NULL"...)
		} else {
			dst = appendHstoreQuoted(dst, result)
		}
		if i == len(value) {
			return dst
		}
		if !strings.HasPrefix(string(value[i:min(len(value), i+2)]), ", ") {
			return dst[:start]
		}
		dst = append(dst, ", "...)
		i += len(", ")
	}
}

// key writes the key in text.
func (m *hstoreMask) key(dst []byte, named bool) []byte {
	if m.keys == nil || named || len(m.text) == 0 {
		return appendHstoreQuoted(dst, m.text)
	}
	m.see.original(m.text)
	dst = append(dst, '"')
	start := len(dst)
	sum := m.keys.of(m.text)
	dst = appendBase32(dst, sum[:], emailToken)
	m.see.result(dst[start:])
	return append(dst, '"')
}

// appendHstoreText reads a quoted text.
func appendHstoreText(dst, value []byte, i int) (out []byte, next int, ok bool) {
	if i >= len(value) || value[i] != '"' {
		return dst, i, false
	}
	for i++; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			return dst, i + 1, true
		case c == '\\' && i+1 < len(value):
			i++
			dst = append(dst, value[i])
		default:
			dst = append(dst, c)
		}
	}
	return dst, i, false
}

func appendHstoreQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}
