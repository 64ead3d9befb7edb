package sanitize

import (
	"bytes"
	"fmt"
	"strings"
)

func jsonKind() kind {
	return kind{
		name: "json", summary: "masks strings and numbers inside a JSON document by their paths; the structure stays",
		params: []param{
			{name: "default", kind: paramChoice, values: []string{"redact", "keep"}, fallback: "redact", summary: "what happens to values that no path names"},
			{name: "keys", kind: paramChoice, values: []string{"keep", "mask"}, fallback: "keep", summary: "mask makes tokens of all keys that are not named by a path; keep only of those that do not look like a name"},
			{name: "paths", kind: paramPaths, summary: "$, .name, [\"name\"], .*, [*] and ..name; where several match, the longest match into the document wins, then the first in the file"},
		},
		families: []family{familyJSON, familyText},
		keyed:    true,
		master:   true,
		bind:     bindJSON,
	}
}

// jsonLeaf is what happens to the values that a path names.
type jsonLeaf struct {
	name    string
	bind    binding
	text    string // static
	numeric bool   // masks numbers
}

func bindJSON(a *arguments, t *target, key []byte) (binding, error) {
	if t.limit > 0 {
		return binding{}, &refusal{
			fmt.Sprintf("masked documents may be longer than the %d characters that the column takes", t.limit),
			"use redact, null or static",
		}
	}
	leaves := make([]jsonLeaf, len(a.paths))
	var inner []domainUse
	var mapping strings.Builder
	mapping.WriteString("json default " + a.text("default"))
	if a.text("keys") == "mask" {
		mapping.WriteString(" keys mask")
	}
	for i := range a.paths {
		r := &a.paths[i]
		leaf, err := bindJSONLeaf(r.spec, t, key)
		if err != nil {
			return binding{}, err
		}
		leaves[i] = leaf
		inner = append(inner, domainUse{spec: r.spec, mapping: leaf.bind.mapping, where: r.path + " (" + r.spec.mask + ")"})
		fmt.Fprintf(&mapping, " %q: %s in %q", r.path, leaf.bind.mapping, r.spec.domainOrDefault())
	}
	rules, redact, maskKeys := a.paths, a.text("default") == "redact", a.text("keys") == "mask"
	start := func(see *observation) *jsonMask {
		m := &jsonMask{see: see, rules: rules, leaves: leaves, redact: redact, maskKeys: maskKeys, keys: newPRF(deriveKey(key, "json keys", ""), t)}
		m.masks = make([]maskFunc, len(leaves))
		for i := range leaves {
			m.masks[i] = leaves[i].bind.start(see)
		}
		return m
	}
	return binding{
		makeNested: func(see *observation) maskFunc { return start(see).mask },
		json:       start,
		escape:     true,
		mapping:    mapping.String(),
		inner:      inner,
	}, nil
}

// bindJSONLeaf fits a transformer to a value inside a document: a text without limits, or a number.
func bindJSONLeaf(s *spec, t *target, key []byte) (jsonLeaf, error) {
	k := findKind(s.mask)
	inner := &target{path: t.path, part: "the value", column: &Column{Name: t.column.Name, Type: "text"}, family: familyText, base: "text", limits: t.limits}
	t.limits.share(s, inner)
	switch s.mask {
	case "json":
		return jsonLeaf{}, &refusal{"json inside json", "write longer paths instead"}
	case "number", "noise", "bucket", "geo_jitter":
		inner.family, inner.base = familyNumeric, "numeric"
	case "date_shift", "date_trunc", "birth_date":
		inner.family, inner.base = familyDate, "timestamp with time zone"
	}
	if !k.accepts(inner.family) {
		return jsonLeaf{}, &refusal{s.mask + " does not work inside json", "use another transformer"}
	}
	own := key
	if !k.master {
		own = deriveKey(key, s.mask, s.domainOrDefault())
	}
	// A path maps like a column of the same domain.
	b, err := k.bind(&s.args, inner, own)
	if err != nil {
		return jsonLeaf{}, err
	}
	if b.makeRow != nil {
		return jsonLeaf{}, &refusal{s.mask + " reads other columns and does not work inside json", "use another transformer"}
	}
	return jsonLeaf{name: s.mask, bind: b, text: s.args.text("value"), numeric: inner.family == familyNumeric}, nil
}

// maxJSONDepth bounds the nesting of a document; PostgreSQL itself gives up at about 6,000 levels of jsonb.
const maxJSONDepth = 10000

// jsonMask rewrites one document after the other.
type jsonMask struct {
	rules  []jsonRule
	leaves []jsonLeaf
	masks  []maskFunc
	redact bool
	// maskKeys makes tokens of all keys that no path names, not only of those that do not look like a name.
	maskKeys bool
	keys     *prf
	see      *observation
	// visit, if not nil, is shown every place with a value: the steps to it and the rule that decides.
	visit func(steps []string, rule int)
	steps []string

	src   []byte
	pos   int
	depth int
	// positions holds, level by level, one word per rule: bit i says that the first i segments of its path match the
	// place in the document.
	positions []uint64
	text      []byte // a decoded string or key
	result    []byte // a masked string
}

// ruleDefault stands for values that no path names.
const ruleDefault = -1

// mask appends the masked document. What is not JSON becomes {}.
func (m *jsonMask) mask(dst, value []byte) []byte {
	start := len(dst)
	dst, ok := m.rewrite(dst, value)
	if !ok {
		return append(dst[:start], "{}"...)
	}
	return dst
}

// document reports whether value is JSON, and shows its places to visit.
func (m *jsonMask) document(value []byte) bool {
	_, ok := m.rewrite(nil, value)
	return ok
}

// rewrite appends the masked document. ok is false when it is not JSON.
func (m *jsonMask) rewrite(dst, value []byte) (out []byte, ok bool) {
	m.src, m.pos, m.depth = value, 0, 0
	m.steps = m.steps[:0]
	m.positions = m.positions[:0]
	rule := ruleDefault
	for i := range m.rules {
		set := m.closure(&m.rules[i], 1)
		m.positions = append(m.positions, set)
		if rule == ruleDefault && set>>len(m.rules[i].segs)&1 == 1 {
			rule = i
		}
	}
	if dst, ok = m.value(dst, 0, rule); ok {
		m.space()
	}
	return dst, ok && m.pos == len(value)
}

// value masks the value at pos. ok is false when it is not JSON.
func (m *jsonMask) value(dst []byte, base, rule int) (out []byte, ok bool) {
	m.space()
	c := m.peek()
	if m.visit != nil && c != '{' && c != '[' {
		m.visit(m.steps, rule)
	}
	switch {
	case c == '{' || c == '[':
		m.depth++
		defer func() { m.depth-- }()
		if m.depth > maxJSONDepth {
			return dst, false
		}
		if c == '{' {
			return m.object(dst, base, rule)
		}
		return m.array(dst, base, rule)
	case c == '"':
		if !m.string() {
			return dst, false
		}
		return m.maskString(dst, rule), true
	case c == '-' || '0' <= c && c <= '9':
		literal, ok := m.number()
		if !ok {
			return dst, false
		}
		return m.maskNumber(dst, literal, rule), true
	default:
		return m.word(dst, rule)
	}
}

func (m *jsonMask) object(dst []byte, base, rule int) (out []byte, ok bool) {
	m.pos++
	dst = append(dst, '{')
	m.space()
	if m.peek() == '}' {
		m.pos++
		return append(dst, '}'), true
	}
	for {
		m.space()
		if m.peek() != '"' || !m.string() {
			return dst, false
		}
		childBase, childRule := m.enter(base, rule, m.text)
		if m.visit != nil {
			m.steps = append(m.steps, jsonStep(m.text))
		}
		dst = m.key(dst, rule, childRule)
		m.space()
		if m.peek() != ':' {
			return dst, false
		}
		m.pos++
		dst = append(dst, ':', ' ')
		if dst, ok = m.value(dst, childBase, childRule); !ok {
			return dst, false
		}
		m.positions = m.positions[:childBase]
		m.steps = m.steps[:max(len(m.steps)-1, 0)]
		m.space()
		switch m.peek() {
		case ',':
			m.pos++
			dst = append(dst, ',', ' ')
		case '}':
			m.pos++
			return append(dst, '}'), true
		default:
			return dst, false
		}
	}
}

func (m *jsonMask) array(dst []byte, base, rule int) (out []byte, ok bool) {
	m.pos++
	dst = append(dst, '[')
	m.space()
	if m.peek() == ']' {
		m.pos++
		return append(dst, ']'), true
	}
	childBase, childRule := m.enter(base, rule, nil)
	if m.visit != nil {
		m.steps = append(m.steps, "[*]")
	}
	for {
		if dst, ok = m.value(dst, childBase, childRule); !ok {
			return dst, false
		}
		m.space()
		switch m.peek() {
		case ',':
			m.pos++
			dst = append(dst, ',', ' ')
		case ']':
			m.pos++
			m.positions = m.positions[:childBase]
			m.steps = m.steps[:max(len(m.steps)-1, 0)]
			return append(dst, ']'), true
		default:
			return dst, false
		}
	}
}

// keeps reports whether values under the rule stay as they are.
func (m *jsonMask) keeps(rule int) bool {
	if rule == ruleDefault {
		return !m.redact
	}
	return m.leaves[rule].bind.keep
}

// key writes the decoded key in text. Keys are structure and stay, except those that do not look like a name
// ("ada@example.com", "4915112345678"): they are data and become tokens, unless values here are kept, or a path names them.
func (m *jsonMask) key(dst []byte, rule, childRule int) []byte {
	named := childRule != rule && childRule != ruleDefault && m.lastName(childRule)
	if named || len(m.text) == 0 || !m.maskKeys && (m.keeps(rule) || identifier(m.text)) {
		return appendJSONString(dst, m.text)
	}
	m.see.original(m.text)
	dst = append(dst, '"')
	start := len(dst)
	sum := m.keys.of(m.text)
	dst = appendBase32(dst, sum[:], emailToken)
	m.see.result(dst[start:])
	return append(dst, '"')
}

// lastName reports whether the rule's path ends with a name.
func (m *jsonMask) lastName(rule int) bool {
	segs := m.rules[rule].segs
	return len(segs) > 0 && segs[len(segs)-1].kind == segmentName
}

// identifier reports whether a key looks like the name of a field: a letter or _, then letters, digits, _, -, at most
// 64 bytes.
func identifier(key []byte) bool {
	if len(key) == 0 || len(key) > 64 {
		return len(key) == 0
	}
	for i, c := range key {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '$'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

func (m *jsonMask) maskString(dst []byte, rule int) []byte {
	switch {
	case m.keeps(rule):
		return appendJSONString(dst, m.text)
	case rule == ruleDefault:
		m.result = redactText(m.result[:0], m.text)
	case m.masks[rule] == nil:
		return m.constant(dst, rule, m.text)
	case len(m.text) == 0:
		m.result = m.result[:0]
	case m.leaves[rule].numeric && !decimal(m.text):
		m.result = redactText(m.result[:0], m.text)
	default:
		m.result = m.masks[rule](m.result[:0], m.text)
	}
	m.see.original(m.text)
	m.see.result(m.result)
	return appendJSONString(dst, m.result)
}

// decimal reports whether a string holds nothing but a number.
func decimal(s []byte) bool {
	digits, points := 0, 0
	for i, c := range s {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c == '.':
			points++
		case c != '-' || i > 0:
			return false
		}
	}
	return digits > 0 && points <= 1
}

// maskNumber gives another number for transformers of numbers and 0 for every other transformer that is keyed: a name or an address in
// place of a number would change the type of the field.
func (m *jsonMask) maskNumber(dst, literal []byte, rule int) []byte {
	start := len(dst)
	switch {
	case m.keeps(rule):
		return append(dst, literal...)
	case rule != ruleDefault && m.masks[rule] == nil:
		return m.constant(dst, rule, literal)
	case rule != ruleDefault && m.leaves[rule].numeric:
		dst = m.masks[rule](dst, literal)
	default:
		dst = append(dst, '0')
	}
	m.see.original(literal)
	m.see.result(dst[start:])
	return dst
}

// constant writes what null and static give instead of a value.
func (m *jsonMask) constant(dst []byte, rule int, value []byte) []byte {
	m.see.original(value)
	if m.leaves[rule].name == "null" {
		return append(dst, "null"...)
	}
	m.see.result([]byte(m.leaves[rule].text))
	return appendJSONString(dst, []byte(m.leaves[rule].text))
}

// word masks true, false and null. Booleans become false, null stays.
func (m *jsonMask) word(dst []byte, rule int) (out []byte, ok bool) {
	for _, word := range [...]string{"true", "false", "null"} {
		if !bytes.HasPrefix(m.src[m.pos:], []byte(word)) {
			continue
		}
		m.pos += len(word)
		switch {
		case m.keeps(rule) || word == "null" && (rule == ruleDefault || !m.leaves[rule].bind.replaceNull):
			return append(dst, word...), true
		case rule != ruleDefault && m.masks[rule] == nil:
			return m.constant(dst, rule, nil), true
		default:
			return append(dst, "false"...), true
		}
	}
	return dst, false
}
