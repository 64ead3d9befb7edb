package templates

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
)

// copyBuffer is the size of the buffers between reading, masking and loading. A worker holds a handful of them.
const copyBuffer = 256 << 10

// loader copies rows from a source, through the masker, into the target.
type loader struct {
	source source
	target *target
	plan   *sanitize.Plan
	meter  *progressMeter
	clock  func() time.Time
	// recorder, if set, sees what is masked.
	recorder *proof.Recorder
}

// loaded is what became of one table.
type loaded struct {
	load     load
	rows     int64 // by the source's count
	bytes    int64
	duration time.Duration
}

// all loads the tables with several workers, the largest first, and returns what was loaded in the order of loads.
func (l *loader) all(ctx context.Context, loads []load, workers int) ([]loaded, error) {
	order := make([]int, len(loads))
	var total, estimate int64
	for i := range loads {
		order[i] = i
		total += loads[i].weight
		estimate += loads[i].table.estimate
	}
	if one, ok := l.source.(interface{ ordered() bool }); ok && one.ordered() {
		workers = 1
	} else {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(loads[b].weight, loads[a].weight) })
	}
	l.meter.change(true, func(p *Progress) { p.TotalBytes, p.TotalRows, p.TablesTotal = total, estimate, len(loads) })

	queue := make(chan int, len(loads))
	for _, i := range order {
		queue <- i
	}
	close(queue)
	results := make([]loaded, len(loads))
	group, groupCtx := errgroup.WithContext(ctx)
	for range max(1, min(workers, len(loads))) {
		group.Go(func() error { return l.worker(groupCtx, loads, queue, results) })
	}
	return results, group.Wait()
}

func (l *loader) worker(ctx context.Context, loads []load, queue <-chan int, results []loaded) error {
	reader, err := l.source.reader(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	conn, err := l.target.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for i := range queue {
		if results[i], err = l.table(ctx, reader, conn, loads[i]); err != nil {
			return err
		}
	}
	return nil
}

// table loads one table in one transaction that starts by truncating it: so the rows can be frozen as they come, and
// with wal_level=minimal nothing is written to the WAL (PostgreSQL docs, "Populating a Database").
func (l *loader) table(ctx context.Context, reader rowReader, conn *pgx.Conn, what load) (loaded, error) {
	masker := l.plan.Table(what.table.schema, what.table.name)
	if masker == nil {
		return loaded{}, fmt.Errorf("the plan does not have the table %s", what.table)
	}
	meter := l.meter.table(what.table.String(), what.weight, what.table.estimate)
	result := loaded{load: what}
	started := l.clock()
	if masker.Rows() {
		name := what.table.sql()
		if err := execAll(ctx, conn, "BEGIN; TRUNCATE ONLY "+name); err != nil {
			return loaded{}, fmt.Errorf("prepare %s: %w", what.table, err)
		}
		stream := stream{reader: reader, load: &what, masker: masker, observe: l.observe, advance: meter.advance, passed: meter.passed, utf8: l.target.takesUTF8()}
		into := "COPY " + name + columnList(what.table.columns()) + " FROM STDIN WITH (FREEZE)"
		err := stream.run(ctx, conn.PgConn(), into)
		if err != nil {
			return loaded{}, err
		}
		if err := execAll(ctx, conn, "COMMIT"); err != nil {
			return loaded{}, loadError(ctx, what.table, err)
		}
		result.rows, result.bytes = stream.rows, stream.bytes
	}
	result.duration = l.clock().Sub(started)
	meter.done(result.rows)
	return result, nil
}

// stream is one table on its way.
type stream struct {
	reader  rowReader
	load    *load
	masker  *sanitize.TableMasker
	observe func(*table, *sanitize.TableMasker, *sanitize.Writer) (end func())
	advance func(bytes int64)
	passed  func(rows int64)
	utf8    bool // what is loaded has to be UTF-8

	rows, bytes int64
}

// errTargetGone is what the reading side sees when the loading side has failed.
var errTargetGone = errors.New("the template's cluster stopped taking rows")

// run reads and masks in one goroutine and loads in another.
func (s *stream) run(ctx context.Context, conn *pgconn.PgConn, into string) error {
	out, in := io.Pipe()
	var readErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.utf8 {
			readErr = s.readMasked(ctx, &textCheck{w: in, table: s.load.table})
		} else {
			readErr = s.readMasked(ctx, in)
		}
		_ = in.CloseWithError(readErr) // nil means the end
	}()
	tag, loadErr := conn.CopyFrom(ctx, out, into)
	_ = out.CloseWithError(errTargetGone)
	<-done
	switch {
	case readErr != nil && !errors.Is(readErr, errTargetGone):
		return readErr
	case loadErr != nil:
		return loadError(ctx, s.load.table, loadErr)
	case readErr != nil:
		return readErr
	case tag.RowsAffected() != s.rows:
		return countError(s.load.table.relation, s.rows, tag.RowsAffected())
	}
	return nil
}

// readMasked writes the table's masked rows to w.
func (s *stream) readMasked(ctx context.Context, w io.Writer) error {
	buffered := bufio.NewWriterSize(w, copyBuffer)
	counted := &byteCounter{w: buffered}
	var masked *sanitize.Writer
	if !s.masker.Passthrough() && len(s.load.table.columns()) > 0 {
		masked = s.masker.Writer(buffered)
		defer s.observe(s.load.table, s.masker, masked)()
		counted.w = masked
	}
	var told int64
	rows, err := s.reader.read(ctx, s.load, counted, func(n int64) {
		s.advance(n)
		s.passed(counted.lines - told)
		told = counted.lines
	})
	if err != nil {
		return err
	}
	if masked != nil {
		if err := masked.Close(); err != nil {
			return fmt.Errorf("mask %s: %w", s.load.table, err)
		}
		if masked.Rows() != rows {
			return countError(s.load.table.relation, rows, masked.Rows())
		}
	}
	s.rows, s.bytes = rows, counted.bytes
	return buffered.Flush()
}

// byteCounter counts what passes. In COPY text format each line is a row: a newline inside a value is written as \n.
type byteCounter struct {
	w            io.Writer
	bytes, lines int64
}

func (c *byteCounter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.bytes += int64(n)
	c.lines += int64(bytes.Count(p[:n], []byte{'\n'}))
	return n, err
}

func countError(r relation, source, template int64) error {
	return mayfly.Errorf(mayfly.CodeVerificationFailed, "%s has %d rows in the template and %d in the source", r, template, source).
		WithHint("build again; if it happens again, a hook or a trigger may have changed rows: look at what the project runs in the template")
}

// copyContext picks the place out of the context of a COPY error: `COPY users, line 5, column email: "value"`.
var copyContext = regexp.MustCompile(`line (\d+)(?:, column ([^:]+))?`)

// loadError says where a row was refused. The server's own text may quote the value, so it is not shown.
func loadError(ctx context.Context, t *table, err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) || ctx.Err() != nil {
		return fmt.Errorf("load %s: %w", t, err)
	}
	if server.Code == sqlDiskFull {
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: %s cannot be loaded", t).WithHint("free space in the pool, or enlarge it")
	}
	where := ""
	if m := copyContext.FindStringSubmatch(server.Where); m != nil {
		where = " in row " + m[1]
		if m[2] != "" {
			where += ", column " + m[2]
		}
	}
	if server.ConstraintName != "" {
		where += ", constraint " + server.ConstraintName
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "%s refused a masked value%s (SQLSTATE %s)", t, where, server.Code).
		WithHint("choose a transformer whose values fit the column's type, length and constraints")
}
