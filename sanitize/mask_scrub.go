package sanitize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize/recognise"
)

func scrubKind() kind {
	return kind{
		name: "scrub", summary: "replaces what is recognised in a text (addresses, numbers, keys, …) and values of the row's other masked columns; it cannot prove that nothing personal is left",
		params: []param{
			{name: "only", kind: paramText, summary: "the recognisers, with commas between them; all without it"},
			{name: "items", kind: paramSpecs, summary: "transformers for what a recogniser finds, in place of the usual ones: {email: {domain: customer_email}}"},
			{name: "else", kind: paramChoice, values: []string{"keep", "redact_words"}, fallback: "keep", summary: "what happens to all other words"},
			{name: "row", kind: paramBool, fallback: "true", summary: "whether values of the row's other masked columns are looked for"},
		},
		families: []family{familyText},
		keyed:    true,
		master:   true,
		bind:     bindScrub,
	}
}

// scrubItem masks what one recogniser finds.
type scrubItem struct {
	kind recognise.Kind
	bind binding
}

func bindScrub(a *arguments, t *target, key []byte) (binding, error) {
	wanted, err := scrubKinds(a.text("only"))
	if err != nil {
		return binding{}, err
	}
	given := map[recognise.Kind]*spec{}
	for i := range a.specs {
		k := recognise.Kind(a.specs[i].name)
		if !slices.Contains(wanted, k) {
			return binding{}, &refusal{fmt.Sprintf("items names %s, which is not looked for%s", k, didYouMean(string(k), kindsText(wanted))), "the recognisers are: " + strings.Join(kindsText(wanted), ", ")}
		}
		given[k] = a.specs[i].spec
	}
	out := binding{escape: true, mapping: "scrub " + a.text("else")}
	items := make([]scrubItem, 0, len(wanted))
	for _, k := range wanted {
		s := given[k]
		own := s != nil
		if !own {
			s = scrubSpec(k)
		}
		if s == nil {
			items = append(items, scrubItem{kind: k, bind: binding{make: scrubOwn(k, key)}})
			continue
		}
		b, err := bindScrubItem(s, t, key)
		if err != nil {
			return binding{}, fmt.Errorf("%s: %w", k, err)
		}
		items = append(items, scrubItem{kind: k, bind: b})
		out.mapping += fmt.Sprintf(" %s: %s in %q", k, b.mapping, s.domainOrDefault())
		if own {
			out.inner = append(out.inner, domainUse{spec: s, mapping: b.mapping, where: string(k) + " (" + s.mask + ")"})
		}
	}
	redactWords, limit := a.text("else") == "redact_words", t.limit
	start := func(row rowReader) maskFunc {
		m := &scrubMask{items: map[recognise.Kind]maskFunc{}, redactWords: redactWords, limit: limit}
		m.scanner, _ = recognise.New(wanted...) // the kinds were checked
		for i := range items {
			m.items[items[i].kind] = constantOr(&items[i].bind)
		}
		if row != nil {
			m.row = &rowValues{row: row}
		}
		return m.mask
	}
	if a.text("row") == "true" && t.part == "" {
		out.siblings, out.results, out.makeRow = true, true, start
		out.mapping += " of " + t.path
	} else {
		out.make = func() maskFunc { return start(nil) }
	}
	return out, nil
}

func kindsText(kinds []recognise.Kind) []string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = string(k)
	}
	return out
}

// scrubKinds reads the parameter "only".
func scrubKinds(text string) ([]recognise.Kind, error) {
	all := recognise.Kinds()
	if text == "" {
		return all, nil
	}
	var wanted []recognise.Kind
	for name := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(all, recognise.Kind(name)) {
			return nil, &refusal{fmt.Sprintf("there is no recogniser %q%s", name, didYouMean(name, kindsText(all))), "the recognisers are: " + strings.Join(kindsText(all), ", ")}
		}
		wanted = append(wanted, recognise.Kind(name))
	}
	if len(wanted) == 0 {
		return nil, &refusal{"only names no recogniser", "leave it out for all"}
	}
	return wanted, nil
}

// scrubSpec returns the usual transformer for what a recogniser finds, nil if it is none of those for columns. Without a
// domain it maps as columns do that name none.
func scrubSpec(k recognise.Kind) *spec {
	use := func(mask string, values map[string]string) *spec {
		return &spec{mask: mask, args: arguments{params: findKind(mask).params, values: values}}
	}
	switch k {
	case recognise.Email:
		return use("email", nil)
	case recognise.Phone:
		return use("phone", nil)
	case recognise.Card:
		return use("card", nil)
	case recognise.IBAN:
		return use("iban", nil)
	case recognise.IP:
		return use("inet", nil)
	case recognise.MAC:
		return use("mac", nil)
	case recognise.URL:
		return use("url", nil)
	case recognise.UUID:
		return use("uuid", nil)
	case recognise.JWT, recognise.APIKey, recognise.PrivateKey, recognise.Secret, recognise.PasswordHash:
		return use("token", nil)
	case recognise.USITIN, recognise.USEIN, recognise.INPAN:
		return use("fpe", nil)
	case recognise.BirthDate, recognise.Coordinates:
		return nil
	default:
		return use("national_id", map[string]string{"scheme": string(k)})
	}
}

// bindScrubItem fits a transformer to what is found in texts: a text without a limit.
func bindScrubItem(s *spec, t *target, key []byte) (binding, error) {
	k := findKind(s.mask)
	inner := &target{path: t.path, shown: t.shown, part: "an item", column: &Column{Name: t.column.Name, Type: "text"}, family: familyText, base: "text", limits: t.limits}
	t.limits.share(s, inner)
	if !k.accepts(familyText) || s.mask == "scrub" || s.mask == "json" {
		return binding{}, &refusal{s.mask + " does not work on parts of a text", "use another transformer"}
	}
	own := key
	if !k.master {
		own = deriveKey(key, s.mask, s.domainOrDefault())
	}
	b, err := k.bind(&s.args, inner, own)
	if err != nil {
		return binding{}, err
	}
	if b.makeRow != nil || b.makeNested != nil {
		return binding{}, &refusal{s.mask + " does not work on parts of a text", "use another transformer"}
	}
	return b, nil
}

// constantOr returns the mask of a binding for an item.
func constantOr(b *binding) maskFunc {
	switch {
	case b.keep:
		return func(dst, value []byte) []byte { return append(dst, value...) }
	case string(b.constant) == nullMarker: // there is no NULL inside of a text
		return func(dst, _ []byte) []byte { return dst }
	case b.constant != nil:
		text := appendUnescaped([]byte{}, b.constant)
		return func(dst, _ []byte) []byte { return append(dst, text...) }
	default:
		return b.make()
	}
}

// scrubOwn masks what no transformer for columns masks in the forms that texts have.
func scrubOwn(k recognise.Kind, key []byte) func() maskFunc {
	if k == recognise.Coordinates {
		return func() maskFunc {
			return func(dst, value []byte) []byte { // no place on earth is near enough to be harmless
				for _, c := range value {
					if '0' <= c && c <= '9' {
						c = '0'
					}
					dst = append(dst, c)
				}
				return dst
			}
		}
	}
	derived := deriveKey(key, "scrub", string(k))
	return func() maskFunc {
		p := newPRF(derived, &target{})
		return func(dst, value []byte) []byte { return scrubDate(dst, value, p.of(value)) }
	}
}

// scrubDate writes another day of a year nearby, in the form of the date: groups of up to two digits become day and month,
// both at most 12 so that any order is one, the group of four another year.
func scrubDate(dst, value []byte, sum *[32]byte) []byte {
	group := 0
	for i := 0; i < len(value); {
		end := i
		for end < len(value) && '0' <= value[end] && value[end] <= '9' {
			end++
		}
		if end == i {
			dst = append(dst, value[i])
			i++
			continue
		}
		n := int(sum[group])%12 + 1
		if end-i == 4 {
			n = numberIn(value[i:end]) + int(sum[group])%7 - 3
		} else if group == 2 {
			n = numberIn(value[i:end])
		}
		text := fmt.Sprintf("%0*d", end-i, n)
		dst = append(dst, text[:end-i]...)
		group = min(group+1, len(sum)-1)
		i = end
	}
	return dst
}

// scrubMask masks texts.
type scrubMask struct {
	scanner     *recognise.Scanner
	items       map[recognise.Kind]maskFunc
	row         *rowValues // nil for none
	redactWords bool
	limit       int

	found []recognise.Match
}

func (m *scrubMask) mask(dst, value []byte) []byte {
	start, pos := len(dst), 0
	m.found = m.scanner.Find(m.found[:0], value)
	var known []rowMatch
	if m.row != nil {
		known = m.row.find(value)
	}
	for a, b := 0, 0; ; {
		for a < len(m.found) && m.found[a].End <= pos {
			a++
		}
		for b < len(known) && known[b].end <= pos {
			b++
		}
		if a == len(m.found) && b == len(known) {
			break
		}
		byRow := a == len(m.found)
		if !byRow && b < len(known) {
			f, r := m.found[a], known[b]
			byRow = r.start < f.Start || r.start == f.Start && r.end >= f.End
		}
		var from, end int
		if byRow {
			from, end = known[b].start, known[b].end
		} else {
			from, end = m.found[a].Start, m.found[a].End
		}
		switch {
		case from < pos: // the rest of an item that another one reached into
			dst = redactText(dst, value[pos:end])
		case byRow:
			dst = m.row.replace(m.other(dst, value[pos:from]), value[from:end], known[b])
		default:
			dst = m.items[m.found[a].Kind](m.other(dst, value[pos:from]), value[from:end])
		}
		pos = end
	}
	dst = m.other(dst, value[pos:])
	return fit(dst, start, m.limit)
}

// other appends what is no item.
func (m *scrubMask) other(dst, text []byte) []byte {
	if m.redactWords {
		return redactText(dst, text)
	}
	return append(dst, text...)
}
