package templates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

// liveSource reads a running server. It only ever reads: every session is one read-only transaction in one snapshot, and
// leaves nothing behind when it ends.
type liveSource struct {
	config   *pgx.ConnConfig
	options  liveOptions
	dialer   *dialer
	conn     *pgx.Conn // of the first session, which exported the snapshot
	report   SourceReport
	version  int       // server_version_num
	identity [2]string // the snapshot, as the server writes it, and when the server started
	tables   *catalog
	contents *inventory
	found    []Finding

	mu   sync.Mutex
	idle []*pgx.Conn // sessions in the snapshot that no worker has
}

// openLive connects, takes the snapshot and reads the catalog.
func openLive(ctx context.Context, dsn string, options liveOptions) (source, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The parser's message quotes the connection string, and its idea of where the password is may be wrong.
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the source's connection string cannot be understood").
			WithHint("it looks like postgres://user:password@host:5432/database?sslmode=require, special characters in the password percent-encoded; files that sslrootcert, sslcert and sslkey name must exist")
	}
	// A source whose machine vanishes sends nothing at all; these probes notice within half a minute.
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}}
	config.DialFunc = dialer.DialContext
	return openLiveConfig(ctx, config, options)
}

// openLiveConfig is openLive for a server that config reaches.
func openLiveConfig(ctx context.Context, config *pgx.ConnConfig, options liveOptions) (_ source, err error) {
	config.RuntimeParams = map[string]string{"application_name": "mayfly"} // a pooler may refuse any other
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	s := &liveSource{config: config, options: options, dialer: &dialer{dial: config.DialFunc, throttle: newThrottle(options.rateLimit, options.clock)}}
	config.DialFunc = s.dialer.dialContext
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.conn, err = pgx.ConnectConfig(ctx, s.config.Copy()); err != nil {
		return nil, s.failed(ctx, "connect to the source", err)
	}
	s.dialer.pin()
	for _, step := range []struct {
		doing string
		do    func(context.Context) error
	}{
		{"take a snapshot of the source", s.takeSnapshot},
		{"share the snapshot of the source", s.share},
		{"read the source's catalog", s.readCatalog},
		{"lock the source's tables against being changed", s.lockTables},
	} {
		if err := step.do(ctx); err != nil {
			return nil, s.failed(ctx, step.doing, err)
		}
	}
	return s, nil
}

// takeSnapshot begins the first session's transaction.
func (s *liveSource) takeSnapshot(ctx context.Context) error {
	s.report.Kind = "live"
	if err := s.begin(ctx, s.conn); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	if s.major() < oldestMajor {
		return mayfly.Errorf(mayfly.CodeInvalid, "the source runs PostgreSQL %d", s.major()).
			WithHint("live sources need PostgreSQL %d or newer; make an archive with `pg_dump -Fc` instead", oldestMajor)
	}
	if !s.report.Replica && !s.options.restored {
		s.found = append(s.found, Finding{
			Code: codeSourceIsPrimary, Severity: SeverityWarning, Object: "source " + s.report.Database,
			Cause:  "the source is the primary: reading all of it is load there, and holds back its VACUUM until the build ends",
			Done:   "read all the same",
			Advice: "name a read replica in the connection string, or several hosts with target_session_attrs=prefer-standby; source.rate_limit makes reading gentle",
		})
	}
	return nil
}

// begin starts the transaction that holds the snapshot.
func (s *liveSource) begin(ctx context.Context, conn *pgx.Conn) error {
	if conn.PgConn().TxStatus() != 'I' {
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			return err
		}
	}
	_, err := conn.PgConn().Exec(ctx, beginSnapshot).ReadAll()
	return err
}

// identify asks what server it is and sets up the session. That it is asked for what BEGIN said finds poolers that give
// each statement another session.
func (s *liveSource) identify(ctx context.Context) error {
	var isolation, readOnly string
	err := s.conn.QueryRow(ctx, `SELECT pg_catalog.current_database(), pg_catalog.current_setting('server_version'),
		pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_encoding'),
		pg_catalog.current_setting('transaction_isolation'), pg_catalog.current_setting('transaction_read_only')`).
		Scan(&s.report.Database, &s.report.ServerVersion, &s.version, &s.report.Replica, &s.report.Encoding, &isolation, &readOnly)
	if err != nil {
		return err
	}
	if isolation != "repeatable read" || readOnly != "on" {
		return mayfly.Errorf(mayfly.CodeSourceUnavailable, "the source does not keep a transaction together: each statement gets another session").
			WithHint("point the connection string at the server itself, or at a pooler in session or transaction mode")
	}
	return s.setUp(ctx)
}

// setUp makes the first session's settings, again after it was lent.
func (s *liveSource) setUp(ctx context.Context) error {
	_, err := s.conn.PgConn().Exec(ctx, s.options.settings(s.version, s.encoding())).ReadAll()
	return err
}

func (s *liveSource) readCatalog(ctx context.Context) (err error) {
	if s.tables, err = readCatalog(ctx, s.conn); err != nil {
		return err
	}
	if s.contents, err = readInventory(ctx, s.conn); err != nil {
		return err
	}
	s.report.Connections = len(s.idle)
	s.report.Collations, err = readCollations(ctx, s.conn)
	return err
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

func (s *liveSource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.idle = append(s.idle, s.conn)
	}
	for _, conn := range s.idle {
		// Not graceful: if the build was cancelled the server has to notice at once. And a pooler ends a session that is
		// left in a transaction, instead of handing it on.
		_ = conn.PgConn().Conn().Close()
	}
}

func (s *liveSource) describe() SourceReport { return s.report }
func (s *liveSource) major() int             { return s.version / 10000 }
func (s *liveSource) catalog() *catalog      { return s.tables }
func (s *liveSource) findings() []Finding    { return s.found }

func (s *liveSource) inventory(*archive.Archive) *inventory { return s.contents }

// workers returns how many can read at the same time.
func (s *liveSource) workers(wanted int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(1, min(wanted, len(s.idle)))
}

func (s *liveSource) encoding() string {
	if s.report.Encoding == "SQL_ASCII" {
		return "SQL_ASCII" // the server knows no encoding and converts nothing
	}
	return "UTF8"
}

// schema runs the image's pg_dump over a socket that this process serves, on the session that holds the snapshot: the
// container has neither a network nor a password.
func (s *liveSource) schema(ctx context.Context, runner schemaRunner) (*archive.Archive, error) {
	var dump bytes.Buffer
	lender := &lender{ctx: ctx, conn: s.conn}
	result, err := runner.engine.Run(ctx, driver.RunSpec{
		Image: runner.image.ID,
		Command: []string{
			"pg_dump", "--format=custom", "--compress=0", "--schema-only", "--encoding=" + s.encoding(),
			"--lock-wait-timeout=" + strconv.FormatInt(s.options.lockTimeout.Milliseconds(), 10), "--no-password", "--host=" + driver.SocketDir, "--username=mayfly", "--dbname=mayfly",
		},
		Listener: lender.serve,
		Stdout:   &dump,
		Labels:   runner.labels,
	})
	if err != nil {
		return nil, fmt.Errorf("run pg_dump: %w", err)
	}
	if err := lender.err(); err != nil {
		return nil, s.failed(ctx, "read the source's schema", err)
	}
	if result.ExitCode != 0 {
		return nil, mayfly.Errorf(mayfly.CodeSourceUnavailable, "pg_dump could not read the source's schema: %s", lastLines(s.scrub(string(result.Stderr)), 4)).
			WithHint("%s", schemaHint(string(result.Stderr)))
	}
	if err := s.setUp(ctx); err != nil { // pg_dump has its own ideas
		return nil, s.failed(ctx, "set up the session with the source", err)
	}
	toc, err := archive.Read(ctx, bytes.NewReader(dump.Bytes()), int64(dump.Len()))
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

// reader gives out a session in the snapshot.
func (s *liveSource) reader(ctx context.Context) (rowReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		return nil, errors.New("there are more readers of the source than sessions")
	}
	conn := s.idle[0]
	s.idle = s.idle[1:]
	return &liveReader{source: s, conn: conn}, ctx.Err()
}

type liveReader struct {
	source *liveSource
	conn   *pgx.Conn
}

// close gives the session back, unless it broke.
func (r *liveReader) close() {
	if r.conn.IsClosed() || r.conn.PgConn().IsBusy() || r.conn.PgConn().TxStatus() != 'T' {
		_ = r.conn.PgConn().Conn().Close()
		return
	}
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	r.source.idle = append(r.source.idle, r.conn)
}

// read copies a table out. The number of rows is the server's own: the command tag of COPY.
func (r *liveReader) read(ctx context.Context, l *load, w io.Writer, advance func(int64)) (int64, error) {
	sink := &meteredWriter{w: w, advance: advance}
	if l.choice != nil {
		defer sink.flush()
		return r.readChosen(ctx, l, sink)
	}
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
