package templates

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

// SurveyOptions say what Survey reads besides the catalog.
type SurveyOptions struct {
	// Rows is how many rows of each table are sampled. 0 means none.
	Rows int
	// Tables are the tables to sample, as "schema.table"; none means all.
	Tables []string
	// Row is called with each sampled row, in COPY text format without its line feed; it must not keep it.
	Row func(schema, table string, row []byte) error
	// Progress, if set, is called before each table that is sampled.
	Progress func(done, total int, table string)
	Clock    func() time.Time
}

const (
	// surveyTimeout bounds each statement of a survey unless the source has a shorter limit.
	surveyTimeout = 30 * time.Second
	// wholeBytes is the size of a table from which on pages are sampled instead of reading from its start.
	wholeBytes = 16 << 20
)

// Survey reads the catalog of a live source and samples rows of its tables, in one read-only transaction in which each
// statement has a limit. Nothing is written anywhere.
func Survey(ctx context.Context, s mayfly.Source, o SurveyOptions) ([]sanitize.Table, error) {
	if s.DSN == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the source is a dump; only a running server can be looked at").
			WithHint("restore the dump where production data may be, and give the connection string with --dsn-file; or give a list of columns with --columns")
	}
	options := liveOptionsOf(s, 1, o.Clock)
	options.statementTimeout = min(options.statementTimeout, surveyTimeout)
	options.lockTimeout = min(options.lockTimeout, surveyTimeout)
	opened, err := openLive(ctx, s.DSN, options)
	if err != nil {
		return nil, err
	}
	defer opened.close()
	live, ok := opened.(*liveSource)
	if !ok {
		return nil, fmt.Errorf("a live source is a %T", opened)
	}
	if o.Rows > 0 {
		if err := live.survey(ctx, o); err != nil {
			return nil, err
		}
	}
	return live.tables.maskingTables(), nil
}

// survey samples the tables.
func (s *liveSource) survey(ctx context.Context, o SurveyOptions) error {
	var chosen []*table
	wanted := map[string]bool{}
	for _, name := range o.Tables {
		wanted[name] = true
	}
	for i := range s.tables.tables {
		t := &s.tables.tables[i]
		// What is said of a partitioned table is meant for its partitions.
		if len(wanted) == 0 || wanted[t.String()] || wanted[t.masking.PartitionOf] {
			chosen = append(chosen, t)
		}
	}
	for i, t := range chosen {
		if o.Progress != nil {
			o.Progress(i, len(chosen), t.String())
		}
		if err := s.surveyTable(ctx, t, o); err != nil {
			return err
		}
	}
	return nil
}

func (s *liveSource) surveyTable(ctx context.Context, t *table, o SurveyOptions) error {
	names := strings.TrimSuffix(strings.TrimPrefix(columnList(t.columns()), " ("), ")")
	if names == "" {
		return nil
	}
	from := "ONLY " + t.sql()
	if t.heapBytes > wholeBytes && t.estimate > 0 {
		// Pages are drawn, and rows of a page resemble each other: ten times as many as wanted are looked at.
		percent := min(100, 1000*float64(o.Rows)/float64(t.estimate))
		from += " TABLESAMPLE SYSTEM (" + strconv.FormatFloat(max(percent, 0.01), 'f', 4, 64) + ")"
	}
	lines := &lineWriter{each: func(row []byte) error { return o.Row(t.schema, t.name, row) }}
	_, err := s.conn.PgConn().CopyTo(ctx, lines, "COPY (SELECT "+names+" FROM "+from+" LIMIT "+strconv.Itoa(o.Rows)+") TO STDOUT")
	if lines.err != nil {
		return lines.err
	}
	if err != nil {
		return s.failed(ctx, "look at rows of "+t.String(), err)
	}
	return nil
}

// lineWriter cuts a stream into lines. The text format of COPY has line feeds only at the ends of rows.
type lineWriter struct {
	each func(line []byte) error
	part []byte
	err  error
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.part = append(w.part, p...)
	for w.err == nil {
		end := bytes.IndexByte(w.part, '\n')
		if end < 0 {
			return len(p), nil
		}
		w.err = w.each(w.part[:end])
		w.part = w.part[end+1:]
	}
	return 0, w.err
}
