package sanitize

// Table is what Plan needs to know of one table of the source.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// PartitionOf is "schema.table" of the topmost partitioned table when this is one of its partitions, at any depth,
	// else "". The rules of that table apply to the partition unless the rules name the partition itself.
	PartitionOf string `json:"partition_of,omitempty"`
	// Columns in the order in which COPY sends them. Generated columns, which COPY does not send, may be among them,
	// flagged; their positions are skipped.
	Columns []Column `json:"columns"`
	// Uniques are its unique indexes and exclusion constraints, primary key included.
	Uniques []Unique `json:"uniques,omitempty"`
	// Checks are its CHECK constraints that hold for all rows.
	Checks []Check `json:"checks,omitempty"`
}

// Unique is a unique index or an exclusion constraint.
type Unique struct {
	Name string `json:"name"`
	// Columns are the key columns, and those that its expressions use.
	Columns []string `json:"columns"`
	// Expression says that a part of the key is an expression.
	Expression bool `json:"expression,omitempty"`
	// Predicate are the columns in the condition of a partial index.
	Predicate []string `json:"predicate,omitempty"`
	// NullsNotDistinct says that two NULLs count as equal; in a primary key there are none.
	NullsNotDistinct bool `json:"nulls_not_distinct,omitempty"`
	// Exclusion says that it is an exclusion constraint.
	Exclusion bool `json:"exclusion,omitempty"`
}

// Check is a CHECK constraint.
type Check struct {
	Name string `json:"name"`
	// Expression is what pg_get_expr prints: SQL over the table's columns, unqualified.
	Expression string   `json:"expression,omitempty"`
	Columns    []string `json:"columns"` // that the expression uses
}

// Column is what Plan needs to know of one column.
type Column struct {
	Name string `json:"name"`
	// Type is what format_type(atttypid, atttypmod) prints: "character varying(40)", "integer", "text[]". For a column
	// whose type is a domain it is the domain's base type.
	Type       string `json:"type"`
	NotNull    bool   `json:"not_null,omitempty"`    // a NOT NULL constraint of the column or of its domain
	Generated  bool   `json:"generated,omitempty"`   // GENERATED ALWAYS AS (…) STORED or VIRTUAL; identity columns are not
	PrimaryKey bool   `json:"primary_key,omitempty"` // a part of the primary key
	Unique     bool   `json:"unique,omitempty"`      // alone in a unique index or primary key, partial or not
	// Inner says what arrays, composites, ranges and multiranges are made of; nil for all other types, and where the name
	// in Type says it (arrays of built-in types, built-in ranges).
	Inner *DataType `json:"inner,omitempty"`
	// PartitionKey says that the column is used in the partition key of its table or of an ancestor.
	PartitionKey bool `json:"partition_key,omitempty"`
	// MaxLength is n of character varying(n) and character(n), in characters; 0 means no limit.
	MaxLength int `json:"max_length,omitempty"`
	// Domain is the name of the column's type, with its schema and quoted, where that is a domain with CHECK constraints,
	// else ""; DomainChecks are their expressions, over VALUE.
	Domain       string   `json:"domain,omitempty"`
	DomainChecks []string `json:"domain_checks,omitempty"`
	// EnumLabels are the labels of an enum type in their order, else nil.
	EnumLabels []string `json:"enum_labels,omitempty"`
	// References names the columns, as "schema.table.column", that this one points at by foreign keys.
	References []string `json:"references,omitempty"`
	// Distribution is a sample of the column's values, for the columns that Rules.Sampled names; nil for all others.
	Distribution Distribution `json:"-"`
}
