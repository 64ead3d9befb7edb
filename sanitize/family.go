package sanitize

import "strings"

// family is a kind of column type as far as transformers care.
type family string

const (
	familyText      family = "text"
	familyTextArray family = "text array"
	familyInteger   family = "integer"
	familyNumeric   family = "numeric"
	familyBoolean   family = "boolean"
	familyDate      family = "date" // date and timestamps: values start with a calendar date
	familyTime      family = "time" // time of day and interval
	familyUUID      family = "uuid"
	familyJSON      family = "json"
	familyInet      family = "inet"
	familyBytes     family = "bytea"
	familyXML       family = "xml"
	familyTSVector  family = "tsvector"
	familyEnum      family = "enum"
	familyArray     family = "array" // of anything that is no text
	familyComposite family = "composite"
	familyRange     family = "range" // and multirange
	familyHstore    family = "hstore"
	familyMAC       family = "macaddr"
	familyPoint     family = "point" // also of PostGIS
	familyOther     family = "other"
)

// freeForm reports whether values of the family can hold anything, personal data included. No rule that is not about
// named columns may keep them.
func (f family) freeForm() bool {
	switch f {
	case familyText, familyTextArray, familyJSON, familyInet, familyBytes, familyXML, familyTSVector, familyArray, familyComposite, familyHstore, familyMAC, familyPoint, familyOther:
		return true
	default:
		return false
	}
}

// baseType strips the modifier and the schema from what format_type prints: "character varying(40)" becomes
// "character varying", "timestamp(3) with time zone" becomes "timestamp with time zone", "public.citext" "citext".
func baseType(formatted string) string {
	name := formatted
	if open := strings.IndexByte(name, '('); open >= 0 {
		if end := strings.IndexByte(name[open:], ')'); end >= 0 {
			name = name[:open] + name[open+end+1:]
		}
	}
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		name = name[dot+1:]
	}
	return strings.TrimSpace(name)
}

// typeAlias returns the name that format_type uses for a type that people write differently ("varchar", "int8").
func typeAlias(name string) string {
	switch name {
	case "varchar":
		return "character varying"
	case "char", "bpchar":
		return "character"
	case "int", "int4", "serial":
		return "integer"
	case "int2":
		return "smallint"
	case "int8", "bigserial":
		return "bigint"
	case "bool":
		return "boolean"
	case "decimal":
		return "numeric"
	case "float4":
		return "real"
	case "float8":
		return "double precision"
	case "timestamptz":
		return "timestamp with time zone"
	case "timestamp":
		return "timestamp without time zone"
	case "timetz":
		return "time with time zone"
	case "time":
		return "time without time zone"
	default:
		return name
	}
}

// familyOf classifies a column's type.
func familyOf(c *Column) family {
	if len(c.EnumLabels) > 0 {
		return familyEnum
	}
	if c.Inner != nil {
		switch c.Inner.Kind {
		case TypeComposite:
			return familyComposite
		case TypeRange, TypeMultirange:
			return familyRange
		case TypeArray:
			if familyOfType(baseType(c.Type)) != familyTextArray {
				return familyArray
			}
		case TypeScalar:
		}
	}
	return familyOfType(baseType(c.Type))
}

func familyOfType(name string) family {
	switch name {
	case "character varying", "character", "text", "citext", "name":
		return familyText
	case "character varying[]", "character[]", "text[]", "citext[]":
		return familyTextArray
	case "smallint", "integer", "bigint":
		return familyInteger
	case "numeric", "real", "double precision":
		return familyNumeric
	case "boolean":
		return familyBoolean
	case "date", "timestamp with time zone", "timestamp without time zone":
		return familyDate
	case "time with time zone", "time without time zone", "interval":
		return familyTime
	case "uuid":
		return familyUUID
	case "json", "jsonb":
		return familyJSON
	case "inet", "cidr":
		return familyInet
	case "macaddr", "macaddr8":
		return familyMAC
	case "point", "geometry", "geography":
		return familyPoint
	case "bytea":
		return familyBytes
	case "xml":
		return familyXML
	case "tsvector":
		return familyTSVector
	case "hstore":
		return familyHstore
	default:
		switch {
		case strings.HasSuffix(name, "[]"):
			return familyArray
		case rangeBound(name) != "":
			return familyRange
		}
		return familyOther
	}
}

// nameLength is the length limit of the type "name" (NAMEDATALEN - 1), in bytes.
const nameLength = 63

// target is a column as a transformer sees it.
type target struct {
	// path is "schema.table.column".
	path string
	// shown is the path in errors: partitions go by the name of their table.
	shown  string
	column *Column
	family family
	base   string
	// limit is the greatest length of a result in characters, 0 for none.
	limit int
	// part is what the target is inside of the column's values, "" for the column itself.
	part string
	// trial says that nobody reads why something does not fit.
	trial bool
	// limits are what the columns of domains agree about.
	limits domainLimits
	// fold says that the type compares without regard to case (citext), trim that trailing spaces do not count (character).
	fold, trim bool
}

func newTarget(t *Table, c *Column) *target {
	base := baseType(c.Type)
	limit := c.MaxLength
	if base == "name" && limit == 0 {
		limit = nameLength
	}
	shown := tablePath(t)
	if t.PartitionOf != "" {
		shown = t.PartitionOf
	}
	return &target{
		shown:  shown + "." + c.Name,
		path:   t.Schema + "." + t.Name + "." + c.Name,
		column: c,
		family: familyOf(c),
		base:   base,
		limit:  limit,
		fold:   strings.HasPrefix(base, "citext"),
		trim:   base == "character",
	}
}

// fits reports whether results of at most n characters can be stored.
func (t *target) fits(n int) bool { return t.limit == 0 || n <= t.limit }
