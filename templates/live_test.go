package templates

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func findingCodes(all []Finding) []string {
	var codes []string
	for _, f := range all {
		codes = append(codes, f.Code)
	}
	return codes
}

// openTwo opens a live source as a build with two workers does.
func openTwo(t *testing.T, dsn string) *liveSource {
	t.Helper()
	opened, err := openLive(t.Context(), dsn, liveOptionsOf(mayfly.Source{}, 2, time.Now))
	if err != nil {
		t.Fatalf("open the source: %v (%s)", err, mayfly.ErrorHint(err))
	}
	t.Cleanup(opened.close)
	return opened.(*liveSource)
}

// changing are statements that no session of ours may send.
var changing = regexp.MustCompile(`(?i)\b(insert|update|delete|truncate|create|drop|alter|grant|vacuum|analyze|reindex|commit|nextval|setval)\b`)

// TestSourceIsLeftAsItWas builds as a superuser, who could write, and looks at the server's log and counters. The server then
// comes back as a standby.
func TestSourceIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	server := pgtest.Start(t, pgtest.StartOptions{
		Args:   []string{"-c", "wal_level=replica", "-c", "max_wal_senders=1", "-c", "log_statement=all", "-c", "log_line_prefix=%a|", "-c", "autovacuum=off", "-c", "logging_collector=off"},
		Labels: map[string]string{"role": "pgtest"},
	})
	server.Exec(t, "postgres", "CREATE DATABASE shop")
	server.Exec(t, "shop", peopleSQL)
	endpoint := server.TCP(t, "shop")
	server.Exec(t, "shop", "ALTER ROLE "+endpoint.Role+" SUPERUSER")
	watch := server.Connect(t, "shop")
	state := func() string {
		t.Helper()
		return value(t, watch, `SELECT format('next transaction %s; %s rows changed; sequences %s; settings %s', txid_snapshot_xmax(txid_current_snapshot()),
			tup_inserted + tup_updated + tup_deleted, (SELECT count(*) FROM pg_sequences), (SELECT count(*) FROM pg_db_role_setting))
			FROM pg_stat_database WHERE datname = current_database()`)
	}
	before := state()
	result := b.build(t, request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules))
	if after := state(); after != before {
		t.Errorf("the build changed the source\nfrom %s\nto   %s", before, after)
	}
	if result.Report.Source.Connections != 2 || result.Report.Source.Snapshot == "" {
		t.Errorf("the source was read with %d connections in snapshot %q; want 2 in one", result.Report.Source.Connections, result.Report.Source.Snapshot)
	}
	if !slices.Contains(findingCodes(result.Report.Findings), codeSourceIsPrimary) {
		t.Errorf("nobody says that the source is a primary: %v", findingCodes(result.Report.Findings))
	}
	log, err := pgtest.Engine(t).Logs(t.Context(), server.ID, 5000)
	if err != nil {
		t.Fatal(err)
	}
	statements := 0
	for line := range strings.Lines(string(log)) {
		who, statement, found := strings.Cut(line, "|")
		if !found || !strings.HasPrefix(who, "mayfly") && !strings.HasPrefix(who, "pg_dump") {
			continue
		}
		statements++
		statement = regexp.MustCompile(`'[^']*'`).ReplaceAllString(statement, "''")
		if word := changing.FindString(statement); word != "" {
			t.Errorf("the build sent a statement with %s: %s", word, line)
		}
	}
	if statements < 20 {
		t.Errorf("the log has %d statements of the build; is it logged at all?", statements)
	}
	t.Run("as a standby", func(t *testing.T) { asStandby(t, server, endpoint) })
}

// asStandby restarts a server as a standby that waits for more WAL, and reads it.
func asStandby(t *testing.T, server *pgtest.Server, endpoint pgtest.Endpoint) {
	engine := pgtest.Engine(t)
	if err := engine.Stop(t.Context(), server.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	result, err := engine.Run(t.Context(), driver.RunSpec{Image: server.Image.ID, Command: []string{"touch", driver.DataDir + "/standby.signal"}, Volume: server.Volume})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("make it a standby: %v, %s", err, result.Stderr)
	}
	if err := engine.Start(t.Context(), server.ID); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := openTwo(t, endpoint.DSN())
	if !source.report.Replica || len(source.found) > 0 || source.workers(8) != 2 {
		t.Errorf("a standby: replica is %t, findings %v, %d workers; want true, none and 2", source.report.Replica, findingCodes(source.found), source.workers(8))
	}
}

// TestSnapshotNotShared has sources whose snapshot a second connection cannot use.
func TestSnapshotNotShared(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	t.Run("no export", func(t *testing.T) {
		t.Parallel()
		endpoint := sourceDatabase(t, peopleSQL+"REVOKE EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() FROM PUBLIC")
		var details []string
		req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
		req.Phase = func(name string) func(string, error) {
			return func(detail string, _ error) { details = append(details, name+": "+detail) }
		}
		result := b.build(t, req)
		if result.Report.Rows != 4000 || result.Report.Source.Connections != 1 {
			t.Errorf("%d rows were read by %d connections; want 4000 by one", result.Report.Rows, result.Report.Source.Connections)
		}
		if !slices.Contains(findingCodes(result.Report.Findings), codeSnapshotNotShared) {
			t.Errorf("the findings do not say that the snapshot is not shared: %v", findingCodes(result.Report.Findings))
		}
		said := slices.IndexFunc(details, func(d string) bool { return strings.Contains(d, "one worker reads everything") })
		copied := slices.IndexFunc(details, func(d string) bool { return strings.HasPrefix(d, PhaseLoad) })
		if said < 0 || said > copied {
			t.Errorf("the timeline does not say it before copying: %v", details)
		}
	})
	t.Run("one connection allowed", func(t *testing.T) {
		t.Parallel()
		endpoint := sourceDatabase(t, peopleSQL)
		pgtest.Cluster(t).Exec(t, endpoint.Database, "ALTER ROLE "+endpoint.Role+" CONNECTION LIMIT 1")
		onlyOne(t, openTwo(t, endpoint.DSN()), codeSnapshotNotShared)
	})
	t.Run("several servers", func(t *testing.T) {
		t.Parallel()
		endpoint := sourceDatabase(t, peopleSQL)
		other := pgtest.Start(t, pgtest.StartOptions{Major: pgtest.Cluster(t).Image.Major, Labels: map[string]string{"role": "pgtest"}})
		other.Exec(t, "postgres", "CREATE ROLE "+endpoint.Role+" LOGIN PASSWORD '"+endpoint.Password+"'")
		other.Exec(t, "postgres", "CREATE DATABASE "+endpoint.Database)
		// A snapshot of the same name exists there, too: names are small numbers.
		second := other.TCP(t, endpoint.Database)
		endpoint.Port = balanced(t, endpoint.Port, second.Port)
		onlyOne(t, openTwo(t, endpoint.DSN()), codeSnapshotNotShared)
	})
}

func onlyOne(t *testing.T, source *liveSource, code string) {
	t.Helper()
	if source.workers(4) != 1 || source.report.Snapshot != "" || !slices.Contains(findingCodes(source.found), code) {
		t.Errorf("%d workers share snapshot %q, findings %v; want one worker and %s", source.workers(4), source.report.Snapshot, findingCodes(source.found), code)
	}
	if source.tables == nil || len(source.tables.tables) != 1 {
		t.Error("the catalog was not read after falling back to one connection")
	}
}

// balanced listens on a port whose first connection ends at one port and whose others end at another.
func balanced(t *testing.T, first, others int) int {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for port := first; ; port = others {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				_ = client.Close()
				continue
			}
			wait.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
			wait.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
		}
	})
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

// TestConnectionCap reads with one connection because the project says so, which is nothing to report.
func TestConnectionCap(t *testing.T) {
	t.Parallel()
	endpoint := sourceDatabase(t, peopleSQL)
	opened, err := openLive(t.Context(), endpoint.DSN(), liveOptionsOf(mayfly.Source{MaxConnections: 1}, 4, time.Now))
	if err != nil {
		t.Fatal(err)
	}
	defer opened.close()
	count := value(t, pgtest.Cluster(t).Connect(t, endpoint.Database), "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", endpoint.Role)
	if opened.workers(4) != 1 || count != "1" || slices.Contains(findingCodes(opened.findings()), codeSnapshotNotShared) {
		t.Errorf("%d workers, %s connections, findings %v; want one, one, and no word about it", opened.workers(4), count, findingCodes(opened.findings()))
	}
}

// TestTimeouts waits for a lock that nobody gives back.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	endpoint := sourceDatabase(t, peopleSQL)
	holder := pgtest.Cluster(t).Connect(t, endpoint.Database)
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE public.people IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]mayfly.Source{"lock": {LockTimeout: 50 * time.Millisecond}, "statement": {StatementTimeout: 300 * time.Millisecond}} {
		_, err := openLive(t.Context(), endpoint.DSN(), liveOptionsOf(s, 2, time.Now))
		if mayfly.ErrorCode(err) != mayfly.CodeSourceUnavailable || mayfly.ErrorHint(err) == "" {
			t.Errorf("%s timeout: %v (%s); want %s with a hint", name, err, mayfly.ErrorHint(err), mayfly.CodeSourceUnavailable)
		}
	}
}

// TestSeveralHosts names a host that does not answer before the one that does, and wants a standby if there is one.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	endpoint := sourceDatabase(t, peopleSQL)
	source := openTwo(t, fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=1,%d user=%s password=%s dbname=%s sslmode=disable target_session_attrs=prefer-standby",
		endpoint.Port, endpoint.Role, endpoint.Password, endpoint.Database))
	if source.workers(2) != 2 {
		t.Errorf("%d workers read; want 2: %v", source.workers(2), source.found)
	}
}

// TestThrottle reads through many connections at once, with a clock that only sleeping moves.
func TestThrottle(t *testing.T) {
	t.Parallel()
	const perSecond, connections, each = 1 << 20, 4, 3 << 20
	start := time.Unix(0, 0)
	var mu sync.Mutex
	now, slept := start, 0
	limit := newThrottle(perSecond, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	})
	var all sync.WaitGroup
	limit.sleep = func(d time.Duration, _ <-chan struct{}) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
		slept++
	}
	for range connections {
		client, server := net.Pipe()
		all.Go(func() { _, _ = server.Write(make([]byte, each)); _ = server.Close() })
		all.Go(func() {
			conn := limit.wrap(client)
			defer func() { _ = conn.Close() }()
			if n, err := io.Copy(io.Discard, conn); n != each || err != nil {
				t.Errorf("%d bytes came through, %v; want %d", n, err, each)
			}
		})
	}
	all.Wait()
	// All together may read a chunk at once, and after it no more than the rate.
	least := time.Duration(float64(connections*each-limit.chunk) / perSecond * float64(time.Second))
	if passed := now.Sub(start); passed < least-time.Millisecond {
		t.Errorf("%d bytes took %s of the clock in %d waits; want at least %s", connections*each, passed, slept, least)
	}
}

// TestSettingsEndWithTheTransaction: behind a pooler a session goes to somebody else afterwards.
func TestSettingsEndWithTheTransaction(t *testing.T) {
	t.Parallel()
	for _, version := range []int{100000, 180000} {
		settings := liveOptionsOf(mayfly.Source{}, 2, time.Now).settings(version, "UTF8")
		if all, local := strings.Count(settings, "SET "), strings.Count(settings, "SET LOCAL "); all != local || !strings.HasSuffix(settings, "true)") {
			t.Errorf("%d of %d settings for version %d outlive the transaction: %s", all-local, all, version, settings)
		}
	}
}

func TestThrottleOff(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer func() { _, _ = client.Close(), server.Close() }()
	if newThrottle(0, time.Now).wrap(client) != client {
		t.Error("a connection without a rate is wrapped")
	}
}

// TestCatalogQueriesOfOldServers checks that nothing newer than a server is asked of it.
func TestCatalogQueriesOfOldServers(t *testing.T) {
	t.Parallel()
	since := map[string]int{
		"attgenerated": 120000, "indnkeyatts": 110000, "conparentid": 110000, "tgparentid": 130000, "prokind": 110000, "datlocprovider": 150000,
		"pg_current_snapshot": 130000, "pg_current_xact_id": 130000, "attcompression": 140000,
	}
	for _, version := range []int{100023, 110022, 120020, 130010, 150003, 180000} {
		for name, query := range map[string]string{"tables": tablesQuery, "columns": columnsQuery, "keys": foreignKeysQuery, "inventory": inventoryQuery} {
			chosen := forVersion(query, version)
			for word, first := range since {
				if version < first && strings.Contains(chosen, word) {
					t.Errorf("the query for %s asks version %d for %s, which is of %d", name, version, word, first)
				}
			}
			if version >= 130000 && chosen != query {
				t.Errorf("the query for %s is changed for version %d", name, version)
			}
		}
	}
}

// TestRecoveryConflict is what a standby says when it has to replay what a read still needs.
func TestRecoveryConflict(t *testing.T) {
	t.Parallel()
	s := &liveSource{config: &pgx.ConnConfig{}}
	for _, code := range []string{sqlSerializationFailure, "57P01"} {
		err := s.failed(t.Context(), "read public.people from the source", &pgconn.PgError{
			Code: code, Message: "canceling statement due to conflict with recovery", Detail: "User query might have needed to see row versions that must be removed.",
		})
		if mayfly.ErrorCode(err) != mayfly.CodeSourceUnavailable || !strings.Contains(mayfly.ErrorHint(err), "hot_standby_feedback") || !strings.Contains(mayfly.ErrorHint(err), "max_standby_streaming_delay") {
			t.Errorf("SQLSTATE %s: %v (%s)", code, err, mayfly.ErrorHint(err))
		}
		if !errors.As(err, new(*mayfly.Error)) {
			t.Errorf("%v is no error for people", err)
		}
	}
}
