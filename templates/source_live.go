package templates

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

// liveSource reads a running server. It only ever reads: the sessions are read-only and inside one snapshot.
type liveSource struct {
	config   *pgx.ConnConfig
	conn     *pgx.Conn // holds the transaction that exported the snapshot
	report   SourceReport
	version  int // server_version_num
	snapshot string
	tables   *catalog
}

// sourceSettings are those of every session with the source. pg_dump sets the same ones so that text is unambiguous;
// row_security = off makes a policy that would hide rows an error instead.
const sourceSettings = `
SET default_transaction_read_only = on; SET statement_timeout = 0; SET lock_timeout = '60s';
SET idle_in_transaction_session_timeout = 0; SET row_security = off; SET synchronize_seqscans = off;
SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET bytea_output = hex;
SELECT pg_catalog.set_config('search_path', '', false)`

const connectTimeout = 15 * time.Second

// openLive connects, takes the snapshot and reads the catalog.
func openLive(ctx context.Context, dsn string) (_ source, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The parser's message quotes the connection string, and its idea of where the password is may be wrong.
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the source's connection string cannot be understood").
			WithHint("it looks like postgres://user:password@host:5432/database?sslmode=require, special characters in the password percent-encoded")
	}
	config.RuntimeParams = map[string]string{"application_name": "mayfly"} // a pooler may refuse any other
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	// A source whose machine vanishes sends nothing at all; these probes notice within half a minute.
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}}
	config.DialFunc = dialer.DialContext

	s := &liveSource{config: config}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.conn, err = s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.takeSnapshot(ctx); err != nil {
		return nil, s.failed(ctx, "take a snapshot of the source", err)
	}
	if s.major() < oldestMajor {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the source runs PostgreSQL %d", s.major()).
			WithHint("live sources need PostgreSQL %d or newer; make an archive with `pg_dump -Fc` instead", oldestMajor)
	}
	if s.tables, err = readCatalog(ctx, s.conn); err != nil {
		return nil, s.failed(ctx, "read the source's catalog", err)
	}
	if err := s.lockTables(ctx); err != nil {
		return nil, s.failed(ctx, "lock the source's tables against being changed", err)
	}
	return s, nil
}

func (s *liveSource) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return nil, s.failed(ctx, "connect to the source", err)
	}
	if _, err := conn.PgConn().Exec(ctx, sourceSettings).ReadAll(); err != nil {
		s.hangUp(ctx, conn)
		return nil, s.failed(ctx, "set up the session with the source", err)
	}
	return conn, nil
}

func (s *liveSource) takeSnapshot(ctx context.Context) error {
	if _, err := s.conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"); err != nil {
		return err
	}
	s.report.Kind = "live"
	err := s.conn.QueryRow(ctx, `SELECT pg_catalog.current_database(), pg_catalog.current_setting('server_version'),
		pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_encoding')`).
		Scan(&s.report.Database, &s.report.ServerVersion, &s.version, &s.report.Replica, &s.report.Encoding)
	if err != nil {
		return err
	}
	if _, err := s.conn.Exec(ctx, "SET client_encoding = "+quoteLiteral(s.encoding())); err != nil {
		return err
	}
	if err := s.conn.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&s.snapshot); err != nil {
		return err
	}
	s.report.Snapshot = s.snapshot
	return nil
}

// lockTables keeps the tables from being altered or dropped while they are read, as pg_dump does. ACCESS SHARE is what
// a SELECT takes.
func (s *liveSource) lockTables(ctx context.Context) error {
	const batch = 200
	for tables := s.tables.tables; len(tables) > 0; {
		n := min(batch, len(tables))
		names := make([]string, n)
		for i := range n {
			names[i] = "ONLY " + tables[i].sql()
		}
		if _, err := s.conn.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"); err != nil {
			return err
		}
		tables = tables[n:]
	}
	return nil
}

func (s *liveSource) hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // read-only: there is nothing to lose
}

func (s *liveSource) close() {
	if s.conn != nil {
		// Not graceful: if the build was cancelled the server has to notice at once.
		_ = s.conn.PgConn().Conn().Close()
	}
}

func (s *liveSource) describe() SourceReport { return s.report }
func (s *liveSource) major() int             { return s.version / 10000 }
func (s *liveSource) catalog() *catalog      { return s.tables }

func (s *liveSource) encoding() string {
	if s.report.Encoding == "SQL_ASCII" {
		return "SQL_ASCII" // the server knows no encoding and converts nothing
	}
	return "UTF8"
}

// schema runs the image's pg_dump over a socket that this process serves and authenticates: the container has neither
// a network nor a password.
func (s *liveSource) schema(ctx context.Context, runner schemaRunner) (*archive.Archive, error) {
	var dump bytes.Buffer
	relay := newRelay(ctx, s.config)
	result, err := runner.engine.Run(ctx, driver.RunSpec{
		Image: runner.image.ID,
		Command: []string{
			"pg_dump", "--format=custom", "--compress=0", "--schema-only", "--encoding=" + s.encoding(), "--snapshot=" + s.snapshot,
			"--lock-wait-timeout=60000", "--no-password", "--host=" + driver.SocketDir, "--username=mayfly", "--dbname=mayfly",
		},
		Listener: relay.serve,
		Stdout:   &dump,
		Labels:   runner.labels,
	})
	if err != nil {
		return nil, fmt.Errorf("run pg_dump: %w", err)
	}
	if err := relay.err(); err != nil {
		return nil, s.failed(ctx, "connect to the source for pg_dump", err)
	}
	if result.ExitCode != 0 {
		return nil, mayfly.Errorf(mayfly.CodeSourceUnavailable, "pg_dump could not read the source's schema: %s", lastLines(s.scrub(string(result.Stderr)), 4)).
			WithHint("the source's role needs SELECT on all tables and sequences, for example through pg_read_all_data")
	}
	toc, err := archive.Open(bytes.NewReader(dump.Bytes()), int64(dump.Len()))
	if err != nil {
		return nil, fmt.Errorf("read what pg_dump wrote: %w", err)
	}
	return toc, nil
}

func (s *liveSource) loads(tables *catalog, _ *archive.Archive) ([]load, []Finding, error) {
	loads := make([]load, len(tables.tables))
	for i := range tables.tables {
		t := &tables.tables[i]
		loads[i] = load{table: t, weight: t.heapBytes}
	}
	return loads, nil, nil
}

func (s *liveSource) reader(ctx context.Context) (rowReader, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	_, err = conn.PgConn().Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT "+
		quoteLiteral(s.snapshot)+"; SET client_encoding = "+quoteLiteral(s.encoding())).ReadAll()
	if err != nil {
		s.hangUp(ctx, conn)
		return nil, s.failed(ctx, "join the snapshot of the source", err)
	}
	return &liveReader{source: s, conn: conn}, nil
}

type liveReader struct {
	source *liveSource
	conn   *pgx.Conn
}

func (r *liveReader) close() { _ = r.conn.PgConn().Conn().Close() }

// read copies a table out. The number of rows is the server's own: the command tag of COPY.
func (r *liveReader) read(ctx context.Context, l *load, w io.Writer, advance func(int64)) (int64, error) {
	sink := &meteredWriter{w: w, advance: advance}
	tag, err := r.conn.PgConn().CopyTo(ctx, sink, "COPY "+l.table.sql()+columnList(l.table.columns())+" TO STDOUT")
	if sink.err != nil {
		return 0, sink.err
	}
	if err != nil {
		return 0, r.source.failed(ctx, "read "+l.table.String()+" from the source", err)
	}
	sink.flush()
	return tag.RowsAffected(), nil
}

// meteredWriter tells advance about what passes, in steps big enough not to matter, and keeps the destination's error
// apart from the source's.
type meteredWriter struct {
	w       io.Writer
	advance func(int64)
	pending int64
	err     error
}

const meterStep = 1 << 20

func (m *meteredWriter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	if err != nil {
		m.err = err
	}
	if m.pending += int64(n); m.pending >= meterStep {
		m.flush()
	}
	return n, err
}

func (m *meteredWriter) flush() {
	m.advance(m.pending)
	m.pending = 0
}

// sequences reads where every sequence stands. Sequences are outside snapshots, here as in pg_dump: values that were
// drawn since are skipped, never repeated.
func (s *liveSource) sequences(ctx context.Context, _ *archive.Archive) ([]sequenceValue, error) {
	var values []sequenceValue
	for _, seq := range s.tables.sequences {
		var last int64
		var called bool
		if err := s.conn.QueryRow(ctx, "SELECT last_value, is_called FROM "+seq.sql()).Scan(&last, &called); err != nil {
			return nil, s.failed(ctx, "read the sequence "+seq.String(), err)
		}
		values = append(values, sequenceValue{name: seq.sql(), value: strconv.FormatInt(last, 10), called: strconv.FormatBool(called)})
	}
	return values, nil
}

func (s *liveSource) populated(*archive.Archive) map[relation]bool {
	views := map[relation]bool{}
	for _, v := range s.tables.matviews {
		if v.populated {
			views[v.relation] = true
		}
	}
	return views
}
