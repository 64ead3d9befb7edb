package sanitize

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/mayflydb/mayfly"
)

// columnsVersion is the version of the format of column lists.
const columnsVersion = 1

// columnList is what is known of the tables of a source, in a file: names and types, no values.
type columnList struct {
	Version int     `json:"version"`
	Tables  []Table `json:"tables"`
}

// WriteColumns writes what Plan needs to know of tables, for checks that have no access to the source.
func WriteColumns(w io.Writer, tables []Table) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(columnList{columnsVersion, tables}); err != nil {
		return fmt.Errorf("write the list of columns: %w", err)
	}
	return nil
}

// ReadColumns reads what WriteColumns wrote.
func ReadColumns(name string, r io.Reader) ([]Table, error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	var list columnList
	if err := decoder.Decode(&list); err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s is no list of columns: %w", name, err).WithHint("make it with: mayfly sanitize scan --columns -o %s", name)
	}
	if list.Version != columnsVersion {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s is a list of columns of version %d; this is for version %d", name, list.Version, columnsVersion)
	}
	return list.Tables, nil
}

// made is a distribution that stands for one that nobody looked at.
type made struct{}

// Values implements Distribution.
func (made) Values() []CountedValue {
	const often = 1_000_000
	return []CountedValue{{Value: "0", Count: often}, {Value: "1", Count: often}}
}

// AssumeDistributions makes up the distributions that the rules need and that the tables do not have, for checks that look
// at no values: Plan then says everything that it would say otherwise.
func (r *Rules) AssumeDistributions(tables []Table) {
	for _, at := range r.Sampled(tables) {
		if c := &tables[at[0]].Columns[at[1]]; c.Distribution == nil {
			c.Distribution = made{}
		}
	}
}

// SplitRow returns the values of a row in COPY text format, without its line feed; nil stands for NULL.
func SplitRow(row []byte) []*string {
	var out []*string
	for pos := 0; pos <= len(row); {
		end := nextTab(row, pos)
		if end < 0 {
			end = len(row)
		}
		if field := row[pos:end]; string(field) == nullMarker {
			out = append(out, nil)
		} else {
			value := string(appendUnescaped(nil, field))
			out = append(out, &value)
		}
		pos = end + 1
	}
	return out
}
