package sanitize

import (
	"strconv"
	"strings"
)

// TypeKind says what the values of a type are made of.
type TypeKind string

// The kinds of types that have something inside. All others are TypeScalar.
const (
	TypeScalar     TypeKind = ""
	TypeArray      TypeKind = "array"
	TypeComposite  TypeKind = "composite"
	TypeRange      TypeKind = "range"
	TypeMultirange TypeKind = "multirange"
)

// DataType describes a type as far as masking must know it. Domains are given as what they are over.
type DataType struct {
	// Name is what format_type prints, as in Column.Type.
	Name string   `json:"name"`
	Kind TypeKind `json:"kind,omitempty"`
	// MaxLength and EnumLabels are those of Column.
	MaxLength  int      `json:"max_length,omitempty"`
	EnumLabels []string `json:"enum_labels,omitempty"`
	// Element is the type of an array's elements, or that of the bounds of a range or multirange.
	Element *DataType `json:"element,omitempty"`
	// Delimiter stands between the elements of an array (pg_type.typdelim); 0 means a comma.
	Delimiter byte `json:"delimiter,omitempty"`
	// Fields are those of a composite type, in their order.
	Fields []Field `json:"fields,omitempty"`
}

// Field is one field of a composite type.
type Field struct {
	Name string    `json:"name"`
	Type *DataType `json:"type"`
}

// dataType returns what the column's type is made of: as the catalog says or, where it says nothing, by the type's name.
func (c *Column) dataType() *DataType {
	if c.Inner != nil {
		return c.Inner
	}
	d := typeByName(c.Type)
	if d.Kind == TypeScalar {
		d.MaxLength, d.EnumLabels = c.MaxLength, c.EnumLabels
	} else if d.Kind == TypeArray && c.MaxLength > 0 {
		d.Element.MaxLength = c.MaxLength
	}
	return d
}

// typeByName understands arrays, the built-in ranges, and lengths.
func typeByName(name string) *DataType {
	d := &DataType{Name: name}
	if element, ok := strings.CutSuffix(name, "[]"); ok {
		d.Kind, d.Element = TypeArray, typeByName(element)
		if baseType(element) == "box" {
			d.Delimiter = ';'
		}
		return d
	}
	base := baseType(name)
	kind := TypeRange
	if strings.HasSuffix(base, "multirange") {
		kind = TypeMultirange
	}
	if bound := rangeBound(base); bound != "" {
		d.Kind, d.Element = kind, &DataType{Name: bound}
		return d
	}
	if base == "character varying" || base == "character" {
		_, rest, _ := strings.Cut(name, "(")
		digits, _, _ := strings.Cut(rest, ")")
		d.MaxLength, _ = strconv.Atoi(digits)
	}
	return d
}

// rangeBound returns the type of the bounds of a built-in range or multirange, else "".
func rangeBound(base string) string {
	switch base {
	case "int4range", "int4multirange":
		return "integer"
	case "int8range", "int8multirange":
		return "bigint"
	case "numrange", "nummultirange":
		return "numeric"
	case "tsrange", "tsmultirange":
		return "timestamp without time zone"
	case "tstzrange", "tstzmultirange":
		return "timestamp with time zone"
	case "daterange", "datemultirange":
		return "date"
	default:
		return ""
	}
}

// inside returns the target for something inside of t's values, called part in refusals.
func (t *target) inside(d *DataType, part string) *target {
	c := &Column{Name: t.column.Name, Type: d.Name, MaxLength: d.MaxLength, EnumLabels: d.EnumLabels}
	if d.Kind != TypeScalar {
		c.Inner = d
	}
	inner := newTarget(&Table{}, c)
	inner.path, inner.shown, inner.limits, inner.part = t.path, t.shown, t.limits, part
	return inner
}
