package sanitize

import (
	"crypto/sha256"
	"fmt"
)

// Rules is a parsed rules file. It knows nothing of any database until Plan.
type Rules struct {
	name     string
	domains  []domainRule
	tables   []tableRule
	defaults []patternRule
	types    []typeRule
	proof    ProofRules
	subset   *Subset // nil for all rows
	catalog  CatalogRules
	sum      [sha256.Size]byte // of the file
}

// position is a place in the rules file, both numbers from 1; columns count characters.
type position struct{ line, column int }

// tableRule is an entry of "tables".
type tableRule struct {
	name    string // "schema.table"
	at      position
	noRows  bool
	where   string // the condition of rows that are taken, "" for all
	columns []columnRule
}

type columnRule struct {
	name string
	at   position
	spec *spec
}

// patternRule is an entry of "defaults".
type patternRule struct {
	pattern [3]string // schema, table, column
	at      position
	spec    *spec
}

// typeRule is an entry of "types".
type typeRule struct {
	name string // as format_type prints it, or keyType or enumType
	at   position
	spec *spec
}

// The names in "types" that are not types.
const (
	// keyType are integer and uuid columns of a primary key and those that refer to one by a foreign key.
	keyType = "key"
	// enumType are columns of any enum type.
	enumType = "enum"
)

// spec is one use of a transformer.
type spec struct {
	mask   string
	domain string // "" means the transformer's own
	args   arguments
	at     position
}

// domainOrDefault returns the domain: columns that name none share one per transformer, so that values that were equal
// in two columns still are.
func (s *spec) domainOrDefault() string {
	if s.domain != "" {
		return s.domain
	}
	return s.mask
}

// where formats a position for errors and reports.
func (r *Rules) where(at position) string {
	return fmt.Sprintf("%s:%d:%d", r.name, at.line, at.column)
}
