package backup

import (
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// format is the version of the file's form.
const format = 1

const manifestName = "manifest.json"

// Manifest says what is in a backup.
type Manifest struct {
	Format    int       `json:"format"`
	Version   string    `json:"version"` // of the program that wrote it
	CreatedAt time.Time `json:"created_at"`
	// Installation and State are the ids of the installation and of its state database.
	Installation string `json:"installation"`
	State        string `json:"state"`
	// Config is where the configuration was. It is not in the backup, nor is what it names: masking keys and secrets.
	Config   string   `json:"config"`
	Projects []string `json:"projects"`
	// SchemaVersion and QueueVersion are those of the tables of the state database.
	SchemaVersion int32      `json:"schema_version"`
	QueueVersion  int        `json:"queue_version"`
	Tables        []Table    `json:"tables"`
	Sequences     []Sequence `json:"sequences"`
	Entries       []Entry    `json:"entries"`
}

// Table is one of the state database.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Rows    int64    `json:"rows"`
}

func (t Table) entry() string { return "state/" + t.Name + ".copy" }

// Sequence is where a sequence of the state database stands.
type Sequence struct {
	Name   string `json:"name"`
	Last   int64  `json:"last"`
	Called bool   `json:"called"`
}

// Entry is one file of the backup.
type Entry struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Rows is how many rows a table has in the backup.
func (m *Manifest) Rows(table string) int64 {
	for _, t := range m.Tables {
		if t.Name == table {
			return t.Rows
		}
	}
	return 0
}

// Bytes is how much there is in it, before compression.
func (m *Manifest) Bytes() int64 {
	var sum int64
	for _, e := range m.Entries {
		sum += e.Bytes
	}
	return sum
}

// checkName refuses names that lead out of the directories that a backup has.
func checkName(name string) error {
	dir, file, nested := strings.Cut(name, "/")
	switch {
	case !nested && (name == "installation" || name == "state.id"):
		return nil
	case nested && (dir == "keys" || dir == "proof" || dir == "state") && file != "" && file[0] != '.' && !strings.ContainsAny(file, "/\\\x00"):
		return nil
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "the backup has an entry %q, which none of ours has", name)
}
