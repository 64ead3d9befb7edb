package sanitize

// Table is what Plan needs to know of one table of the source.
type Table struct {
	Schema, Name string
	// PartitionOf is "schema.table" of the topmost partitioned table when this is one of its partitions, at any depth,
	// else "". The rules of that table apply to the partition unless the rules name the partition itself.
	PartitionOf string
	// Columns in the order in which COPY sends them. Generated columns, which COPY does not send, may be among them,
	// flagged; their positions are skipped.
	Columns []Column
	// Uniques are its unique indexes and exclusion constraints, primary key included.
	Uniques []Unique
	// Checks are its CHECK constraints that hold for all rows.
	Checks []Check
}

// Unique is a unique index or an exclusion constraint.
type Unique struct {
	Name string
	// Columns are the key columns, and those that its expressions use.
	Columns []string
	// Expression says that a part of the key is an expression.
	Expression bool
	// Predicate are the columns in the condition of a partial index.
	Predicate []string
	// NullsNotDistinct says that two NULLs count as equal; in a primary key there are none.
	NullsNotDistinct bool
	// Exclusion says that it is an exclusion constraint.
	Exclusion bool
}

// Check is a CHECK constraint.
type Check struct {
	Name string
	// Expression is what pg_get_expr prints: SQL over the table's columns, unqualified.
	Expression string
	Columns    []string // that the expression uses
}

// Column is what Plan needs to know of one column.
type Column struct {
	Name string
	// Type is what format_type(atttypid, atttypmod) prints: "character varying(40)", "integer", "text[]". For a column
	// whose type is a domain it is the domain's base type.
	Type       string
	NotNull    bool // a NOT NULL constraint of the column or of its domain
	Generated  bool // GENERATED ALWAYS AS (…) STORED or VIRTUAL; identity columns are not
	PrimaryKey bool // a part of the primary key
	Unique     bool // alone in a unique index or primary key, partial or not
	// Inner says what arrays, composites, ranges and multiranges are made of; nil for all other types, and where the name
	// in Type says it (arrays of built-in types, built-in ranges).
	Inner *DataType
	// PartitionKey says that the column is used in the partition key of its table or of an ancestor.
	PartitionKey bool
	// MaxLength is n of character varying(n) and character(n), in characters; 0 means no limit.
	MaxLength int
	// Domain is the name of the column's type, with its schema and quoted, where that is a domain with CHECK constraints,
	// else ""; DomainChecks are their expressions, over VALUE.
	Domain       string
	DomainChecks []string
	// EnumLabels are the labels of an enum type in their order, else nil.
	EnumLabels []string
	// References names the columns, as "schema.table.column", that this one points at by foreign keys.
	References []string
	// Distribution is a sample of the column's values, for the columns that Rules.Sampled names; nil for all others.
	Distribution Distribution
}
