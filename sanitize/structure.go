package sanitize

import (
	"fmt"
)

// Values that have something inside, in PostgreSQL's text forms: arrays, composites, ranges, multiranges and hstore. A
// transformer for an array or a range is one for its elements or bounds; composite and hstore have one per field or key.
// What is not in the form of its type, which PostgreSQL never sends, becomes the empty value of the type.

// leaf masks one value inside of another.
type leaf struct {
	keep, nested bool
	mask         maskFunc
	constant     []byte // unescaped, nil for none
	null         bool   // every value becomes NULL
	replaceNull  bool
	see          *observation
	result       []byte
}

func newLeaf(b *binding, see *observation) *leaf {
	l := &leaf{keep: b.keep, nested: b.makeNested != nil, replaceNull: b.replaceNull, see: see, mask: b.start(see)}
	if b.constant != nil {
		l.constant = appendUnescaped([]byte{}, b.constant)
		l.null = string(b.constant) == nullMarker
	}
	return l
}

// of returns what a value becomes; it is valid until the next call. NULL and empty texts stay as they do in columns.
func (l *leaf) of(value []byte, null bool) (result []byte, isNull bool) {
	switch {
	case l.keep, null && !l.replaceNull:
		return value, null
	case l.constant != nil:
		if !null {
			l.see.original(value)
		}
		if l.null {
			return nil, true
		}
		l.see.result(l.constant)
		return l.constant, false
	case len(value) == 0:
		return value, false
	}
	l.result = l.mask(l.result[:0], value)
	if !l.nested {
		l.see.original(value)
		l.see.result(l.result)
	}
	return l.result, false
}

// fitValue fits a transformer to a column or to something inside of one.
func fitValue(key []byte, t *target, s *spec) (binding, error) {
	k := findKind(s.mask)
	inner := t.column.dataType()
	if k.families != nil {
		switch inner.Kind {
		case TypeArray:
			return fitArray(key, t, inner, s)
		case TypeRange, TypeMultirange:
			return fitRange(key, t, inner, s)
		case TypeScalar, TypeComposite:
		}
	}
	if !k.accepts(t.family) {
		r := &refusal{fmt.Sprintf("%s is %s; %s works on: %s", t.what(), t.column.Type, k.name, k.familiesText()), "use another transformer there"}
		if t.part == "" && !t.trial {
			r.hint = "write for example " + t.column.Name + ": " + propose(&Table{}, t.column).yaml()
		}
		return binding{}, r
	}
	own := key
	if !k.master {
		own = deriveKey(key, s.mask, s.domainOrDefault())
	}
	t.limits.share(s, t)
	b, err := k.bind(&s.args, t, own)
	b.keyed = k.keyed && !k.random
	return b, err
}

// what names the target in refusals.
func (t *target) what() string {
	if t.part != "" {
		return t.part
	}
	return "the column"
}

// fitInside fits a transformer to something inside of t, called part.
func fitInside(key []byte, t *target, d *DataType, part string, s *spec) (binding, error) {
	b, err := fitValue(key, t.inside(d, part), s)
	if err == nil && b.makeRow != nil {
		return binding{}, &refusal{s.mask + " reads other columns; it does not work inside of other values", "use another transformer"}
	}
	return b, err
}

func fitArray(key []byte, t *target, d *DataType, s *spec) (binding, error) {
	element, err := fitInside(key, t, d.Element, "an element", s)
	if err != nil {
		return binding{}, err
	}
	delimiter := d.Delimiter
	if delimiter == 0 {
		delimiter = ','
	}
	return binding{
		makeNested: func(see *observation) maskFunc {
			m := &arrayMask{element: newLeaf(&element, see), delimiter: delimiter}
			return m.mask
		},
		escape: true, unique: element.unique,
		mapping: "array of " + element.mapping, element: element.elementMapping(), inner: element.inner,
	}, nil
}

func fitRange(key []byte, t *target, d *DataType, s *spec) (binding, error) {
	bounds := d.Element
	if d.Kind == TypeMultirange && bounds != nil && bounds.Kind == TypeRange {
		bounds = bounds.Element
	}
	bound, err := fitInside(key, t, bounds, "a bound", s)
	if err != nil {
		return binding{}, err
	}
	if !bound.ordered {
		return binding{}, &refusal{
			s.mask + " does not keep the order of the bounds: a range would end before it starts",
			rangeHint(t.inside(bounds, "a bound").family),
		}
	}
	multiple := d.Kind == TypeMultirange
	return binding{
		makeNested: func(see *observation) maskFunc {
			m := &rangeMask{bound: newLeaf(&bound, see)}
			if multiple {
				return m.multirange
			}
			return m.single
		},
		escape: true, unique: bound.unique,
		mapping: string(d.Kind) + " of " + bound.mapping, element: bound.elementMapping(), inner: bound.inner,
	}, nil
}

func rangeHint(bounds family) string {
	if bounds == familyDate {
		return "use date_shift with by: constant, keep, null or static"
	}
	return "use keep, null or static"
}

// elementMapping is what counts in a domain: the mapping of the values inside, if there are any.
func (b *binding) elementMapping() string {
	if b.element != "" {
		return b.element
	}
	return b.mapping
}

// namedSpec is a transformer for a field or a key.
type namedSpec struct {
	name string
	at   position
	spec *spec
}
