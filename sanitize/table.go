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
	// EnumLabels are the labels of an enum type in their order, else nil.
	EnumLabels []string
	// References names the columns, as "schema.table.column", that this one points at by foreign keys.
	References []string
}
