package sanitize

import "strings"

// Transformer describes one transformer, for people.
type Transformer struct {
	Name    string      `json:"name"`
	Summary string      `json:"summary"`
	Params  []Parameter `json:"params,omitempty"`
	// Types are the kinds of column types it accepts.
	Types []string `json:"types"`
	// Keyed says that results depend on the key and the domain.
	Keyed bool `json:"keyed"`
	// Unique says that different values get different results, so that it may be used on unique columns.
	Unique bool `json:"unique"`
	// Deterministic says that equal values get equal results in every build with the same key.
	Deterministic bool `json:"deterministic"`
	// Disjoint says that results practically never equal a value that a source can hold.
	Disjoint bool `json:"disjoint"`
}

// Parameter describes one parameter of a transformer.
type Parameter struct {
	Name    string `json:"name"`
	Values  string `json:"values"`
	Default string `json:"default,omitempty"`
	Summary string `json:"summary"`
}

// Transformers describes all transformers, in the order of the documentation.
func Transformers() []Transformer {
	kinds := catalogue()
	out := make([]Transformer, len(kinds))
	for i, k := range kinds {
		out[i] = Transformer{Name: k.name, Summary: k.summary, Keyed: k.keyed, Unique: k.unique, Deterministic: !k.random, Disjoint: k.disjoint}
		for _, f := range k.families {
			out[i].Types = append(out[i].Types, string(f))
		}
		if k.families == nil {
			out[i].Types = []string{"any"}
		}
		for _, p := range k.params {
			out[i].Params = append(out[i].Params, Parameter{Name: p.name, Values: p.describe(), Default: p.fallback, Summary: p.summary})
		}
	}
	return out
}

// maskFunc appends the masked form of value, unescaped and not empty, to dst. It may use memory of its own, so one
// goroutine uses it, and it must not keep or change value.
type maskFunc func(dst, value []byte) []byte

// binding is a transformer bound to a column.
type binding struct {
	keep bool
	// constant, if not nil, is the result for every value, escaped for COPY.
	constant    []byte
	replaceNull bool
	// make returns a new maskFunc; nil for keep and constants.
	make func() maskFunc
	// escape says that results may hold bytes that COPY wants escaped.
	escape bool
	// unique says that different values get different results in this column.
	unique bool
	// mapping identifies what is done to a value, apart from the domain: two columns with equal mappings and domains
	// give equal results for equal values.
	mapping string
	// element is the mapping of what is inside of the values where the domain is about that, else "".
	element string
	// makeNested takes the place of make for transformers that mask what is inside of a value, and let see know of it.
	makeNested func(see *observation) maskFunc
	// json, of the json transformer only, is makeNested for those who look at documents.
	json func(see *observation) *jsonMask
	// makeRow takes the place of make for transformers that read other columns of the row: its maskFunc is called when the
	// row is known, and with replaceNull also for NULL (value is nil) and for empty texts. Such a column belongs to no
	// foreign key unless its mapping says what it reads.
	makeRow func(row rowReader) maskFunc
	// columns are the names of the columns that makeRow reads; siblings adds all columns of the table that are masked,
	// except those that ask for siblings themselves. results says that it reads what they become, too: then they are
	// computed first, and a cycle is refused.
	columns           []string
	siblings, results bool
	// ordered says that a value that is greater than another one stays so: what the bounds of a range need.
	ordered bool
	// keyed says that results follow from the value and cost enough to be worth remembering.
	keyed bool
	// inner are the uses of transformers inside of this one.
	inner []domainUse
}

// start returns a new maskFunc; nil for keep, constants and transformers that need the row.
func (b *binding) start(see *observation) maskFunc {
	switch {
	case b.makeNested != nil:
		return b.makeNested(see)
	case b.make != nil:
		return b.make()
	default:
		return nil
	}
}

// domainUse is one place where values of a domain are mapped.
type domainUse struct {
	spec    *spec
	mapping string
	where   string // for errors
}

// kind is one transformer.
type kind struct {
	name, summary string
	params        []param
	families      []family // nil: any
	keyed, unique bool
	// disjoint says that results practically never equal a value that the column, or another one of its kind, can hold by
	// nature: what stands in a result was never in the source. It is false for dictionaries (a drawn name may be the name of
	// somebody else), for small domains and where values of the source stay.
	disjoint bool
	// random says that results do not follow from key, domain and value alone.
	random bool
	// master says that bind gets the masking key itself, to derive several keys from it, instead of the key derived for
	// the transformer and the domain.
	master bool
	// bind fits the transformer to a column. The error is a *refusal.
	bind func(args *arguments, t *target, key []byte) (binding, error)
}

// refusal says why a transformer does not fit a column and what would.
type refusal struct{ reason, hint string }

func (r *refusal) Error() string { return r.reason }

// catalogue returns all transformers.
func catalogue() []kind {
	kinds := []kind{keepKind(), nullKind(), staticKind(), redactKind(), tokenKind()}
	kinds = append(kinds, emailKind(), usernameKind(), personNameKind(), companyKind(), phoneKind())
	kinds = append(kinds, streetAddressKind(), cityKind(), postcodeKind(), addressKind(), urlKind())
	kinds = append(kinds, inetKind(), numberKind(), noiseKind(), bucketKind(), dateShiftKind(), dateTruncKind(), birthDateKind())
	kinds = append(kinds, fpeKind(), cardKind(), ibanKind(), nationalIDKind(), uuidKind(), macKind())
	kinds = append(kinds, geoJitterKind(), passwordKind(), templateKind(), resampleKind(), shuffleKind())
	return append(kinds, scrubKind(), jsonKind(), compositeKind(), hstoreKind(), enumLabelKind())
}

// findKind returns the transformer of that name, or nil.
func findKind(name string) *kind {
	for _, k := range catalogue() {
		if k.name == name {
			return &k
		}
	}
	return nil
}

func kindNames() []string {
	var names []string
	for _, k := range catalogue() {
		names = append(names, k.name)
	}
	return names
}

// accepts reports whether the transformer works on columns of the family.
func (k *kind) accepts(f family) bool {
	if k.families == nil {
		return true
	}
	for _, have := range k.families {
		if have == f {
			return true
		}
	}
	return false
}

// familiesText lists the accepted types for an error.
func (k *kind) familiesText() string {
	names := make([]string, len(k.families))
	for i, f := range k.families {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}
