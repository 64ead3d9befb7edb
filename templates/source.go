package templates

import (
	"context"
	"io"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

// source is where a build reads from. It is consistent: everything it returns is of one snapshot.
type source interface {
	// describe returns what the report says of it.
	describe() SourceReport
	// major is the major version of the server that the data is from, 0 if unknown.
	major() int
	// encoding is what names and rows are in when they leave the source: "UTF8".
	encoding() string
	// catalog returns the tables, or nil if they cannot be known before the schema is restored.
	catalog() *catalog
	// schema returns the definitions of all objects.
	schema(ctx context.Context, runner schemaRunner) (*archive.Archive, error)
	// loads returns what there is to copy, once the tables are known, and findings about data that has no table.
	loads(tables *catalog, toc *archive.Archive) (loads []load, findings []Finding, err error)
	// reader returns a reader for one worker.
	reader(ctx context.Context) (rowReader, error)
	// sequences returns where all sequences stand.
	sequences(ctx context.Context, toc *archive.Archive) ([]sequenceValue, error)
	// populated returns the materialized views that have contents in the source.
	populated(toc *archive.Archive) map[relation]bool
	// inventory returns what the database of the source has.
	inventory(toc *archive.Archive) *inventory
	// workers returns how many readers there may be at a time, of those wanted.
	workers(wanted int) int
	// findings returns what there is to say about the source before anything is copied.
	findings() []Finding
	close()
}

// schemaRunner is what a source may use to run pg_dump.
type schemaRunner struct {
	engine driver.Engine
	image  driver.Image
	labels map[string]string
}

// sequenceValue is where a sequence stands.
type sequenceValue struct {
	name   string // quoted, as pg_catalog.regclass takes it
	value  string // a number
	called string // "true" or "false"
}

// load is one table's rows.
type load struct {
	table  *table
	entry  *archive.Entry // archives only
	weight int64          // towards the total of the progress
	choice *choice        // nil for all rows; live sources only
}

// rowReader reads rows of a source. One goroutine uses it.
type rowReader interface {
	// read writes the rows of the table to w in COPY text format and returns how many there were. advance is told how
	// many bytes, in the unit of load.weight, were read.
	read(ctx context.Context, l *load, w io.Writer, advance func(int64)) (rows int64, err error)
	close()
}

// openSource opens a project's source.
func openSource(ctx context.Context, s mayfly.Source, options liveOptions) (source, error) {
	switch {
	case s.DSN != "" && s.Archive != "":
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the project has two sources").WithHint("set either source.dsn_file (or source.dsn_env) or source.archive")
	case s.DSN != "":
		return openLive(ctx, s.DSN, options)
	case s.Archive != "":
		return openArchive(ctx, s.Archive)
	}
	return nil, mayfly.Errorf(mayfly.CodeInvalid, "the project has no source").WithHint("set source.dsn_file, source.dsn_env or source.archive")
}
