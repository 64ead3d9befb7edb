package templates

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
)

// What a source is read with unless the project says otherwise.
const (
	defaultStatementTimeout = 6 * time.Hour
	defaultLockTimeout      = time.Minute
	connectTimeout          = 15 * time.Second
)

// liveOptions say how carefully a live source is read.
type liveOptions struct {
	connections      int // at most, and as many as there are workers
	rateLimit        int64
	statementTimeout time.Duration
	lockTimeout      time.Duration
	clock            func() time.Time
	// restored says that the server is a cluster of ours that a dump was restored into: nobody else uses it.
	restored bool
}

// liveOptionsOf returns the options of a project's source for a build with that many workers.
func liveOptionsOf(s mayfly.Source, workers int, clock func() time.Time) liveOptions {
	o := liveOptions{
		connections: max(1, workers), rateLimit: s.RateLimit, statementTimeout: s.StatementTimeout, lockTimeout: s.LockTimeout, clock: clock,
	}
	if s.MaxConnections > 0 {
		o.connections = min(o.connections, s.MaxConnections)
	}
	if o.statementTimeout <= 0 {
		o.statementTimeout = defaultStatementTimeout
	}
	if o.lockTimeout <= 0 {
		o.lockTimeout = defaultLockTimeout
	}
	return o
}

// settings are those of every session with a source, for one transaction alone: behind a pooler a session goes to
// somebody else afterwards, who must not inherit them. pg_dump sets the same ones so that text is unambiguous;
// row_security = off makes a policy that would hide rows an error instead.
func (o liveOptions) settings(version int, encoding string) string {
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	settings := "SET LOCAL statement_timeout = " + milliseconds(o.statementTimeout) + "; SET LOCAL lock_timeout = " + milliseconds(o.lockTimeout) + `;
SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL row_security = off; SET LOCAL synchronize_seqscans = off;
SET LOCAL standard_conforming_strings = on;
SET LOCAL DateStyle = ISO; SET LOCAL IntervalStyle = postgres; SET LOCAL extra_float_digits = 3; SET LOCAL TimeZone = 'UTC';
SET LOCAL bytea_output = hex; SET LOCAL client_encoding = ` + quoteLiteral(encoding) + ";"
	if version >= 170000 {
		settings += "SET LOCAL transaction_timeout = 0;"
	}
	return settings + "SELECT pg_catalog.set_config('search_path', '', true)"
}

const beginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

// dialer makes the connections to one source: all to the server that answered first, and all within the one rate.
type dialer struct {
	dial     pgconn.DialFunc
	throttle *throttle

	mu     sync.Mutex
	pinned string // "network address" of the server that the first session is with
	latest string
}

// errOtherServer is why a host of the connection string, or an address of its name, is not tried.
var errOtherServer = errors.New("it is not the server that holds the snapshot")

func (d *dialer) dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	where := network + " " + address
	d.mu.Lock()
	pinned := d.pinned
	d.mu.Unlock()
	if pinned != "" && pinned != where {
		return nil, errOtherServer
	}
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.latest = where
	d.mu.Unlock()
	return d.throttle.wrap(conn), nil
}

// pin keeps all further connections with the server of the latest one.
func (d *dialer) pin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pinned = d.latest
}

// share exports the snapshot and opens the other sessions in it, before anything is copied. Where that cannot be done,
// one session reads everything, and a finding says so.
func (s *liveSource) share(ctx context.Context) error {
	s.idle = []*pgx.Conn{s.conn}
	if s.options.connections < 2 {
		return nil
	}
	err := s.conn.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.txid_current_snapshot()::text, pg_catalog.pg_postmaster_start_time()::text").
		Scan(&s.report.Snapshot, &s.identity[0], &s.identity[1])
	if err != nil {
		if !isServerError(err) {
			return err
		}
		s.alone("it cannot export its snapshot", err)
		s.report.Snapshot = ""
		if err := s.begin(ctx, s.conn); err != nil { // anew: an error ends a transaction
			return err
		}
		return s.identify(ctx)
	}
	for len(s.idle) < s.options.connections {
		conn, err := s.join(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			s.alone("a second connection cannot use the snapshot of the first", err)
			return nil
		}
		s.idle = append([]*pgx.Conn{conn}, s.idle...) // the session that everything else goes through is taken last
	}
	return nil
}

// alone gives up all sessions but the first.
func (s *liveSource) alone(cause string, err error) {
	for _, conn := range s.idle {
		if conn != s.conn {
			_ = conn.PgConn().Conn().Close()
		}
	}
	s.idle = []*pgx.Conn{s.conn}
	s.report.Snapshot = ""
	s.found = append(s.found, Finding{
		Code: codeSnapshotNotShared, Severity: SeverityWarning, Object: "source " + s.report.Database,
		Cause:  cause + ": " + s.scrub(sourceMessage(err)) + ". A pooler, an endpoint of several servers and some managed services do that",
		Done:   "one worker reads everything in the one transaction that holds the snapshot, so that the template is of one moment all the same; the build takes longer",
		Advice: "point the connection string at one server itself, past poolers and balancers; or set source.max_connections to 1 if this is how it shall be",
	})
}

// isServerError tells a refusal of the server from a connection that broke.
func isServerError(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server)
}

var errOtherSnapshot = errors.New("the second connection is with another server")

// join opens a session in the snapshot.
func (s *liveSource) join(ctx context.Context) (_ *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout) // a pooler without a free session lets us wait
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.PgConn().Conn().Close()
		}
	}()
	begin := beginSnapshot + "; SET TRANSACTION SNAPSHOT " + quoteLiteral(s.report.Snapshot) + ";" + s.options.settings(s.version, s.encoding())
	if _, err := conn.PgConn().Exec(ctx, begin).ReadAll(); err != nil {
		return nil, err
	}
	// Names of snapshots are small numbers: another server may have one of the same name.
	var identity [2]string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.txid_current_snapshot()::text, pg_catalog.pg_postmaster_start_time()::text").Scan(&identity[0], &identity[1]); err != nil {
		return nil, err
	}
	if identity != s.identity {
		return nil, errOtherSnapshot
	}
	return conn, nil
}
