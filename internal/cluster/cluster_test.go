package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait, on a machine that is busy with other tests.
const patience = time.Minute

func TestProfilesStart(t *testing.T) {
	t.Parallel()
	for name, profile := range map[string]cluster.Profile{"build": cluster.Build, "preview": cluster.Preview, "state": cluster.State} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.StartOptions{Profile: profile})
			conn := server.Connect(t, "postgres")
			want := map[string]string{
				"listen_addresses": "", "data_checksums": "", "server_encoding": "UTF8", "lc_collate": "", "fsync": "off",
				"password_encryption": "scram-sha-256", "unix_socket_directories": driver.SocketDir, "data_directory": driver.DataDir,
			}
			if profile == cluster.State {
				want["fsync"], want["synchronous_commit"], want["full_page_writes"] = "on", "on", "on"
			}
			for setting, value := range want {
				if value == "" && setting != "listen_addresses" {
					continue
				}
				var got string
				if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != value {
					t.Errorf("%s is %q, error %v; want %q", setting, got, err, value)
				}
			}
		})
	}
}

func TestInitTwiceKeepsTheData(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.StartOptions{})
	engine := pgtest.Engine(t)
	server.Exec(t, "postgres", "CREATE TABLE kept (n int)")
	for _, state := range []string{"running", "stopped"} {
		if err := cluster.Init(t.Context(), engine, server.Image, server.Volume, cluster.InitOptions{}); err != nil {
			t.Fatalf("init of a %s cluster: %v", state, err)
		}
		if state == "running" {
			if err := engine.Stop(t.Context(), server.ID, patience); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := engine.Start(t.Context(), server.ID); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "INSERT INTO kept VALUES (1)")
}

// TestInitAfterACrash leaves a volume as an Init that was cut off at different moments does.
func TestInitAfterACrash(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]string{
		"half of initdb":      "mkdir -p $d.new/base/1 && echo 15 >$d.new/PG_VERSION",
		"no rename yet":       "initdb -D $d.new -U somebody --no-sync",
		"no PG_VERSION":       "mkdir -p $d/base && echo rest >$d/base/x",
		"both, neither whole": "mkdir -p $d/base $d.new/base",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.StartOptions{Prepare: "set -e; d=" + driver.DataDir + "; " + leave})
			var left bool
			conn := server.Connect(t, "postgres")
			if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_ls_dir('..') AS f WHERE f <> 'pgdata')").Scan(&left); err != nil || left {
				t.Errorf("something is left beside the data directory: %t, error %v", left, err)
			}
		})
	}
}

// TestInitCut cuts Init off at several moments and repeats it.
func TestInitCut(t *testing.T) {
	t.Parallel()
	engine, image := pgtest.Engine(t), pgtest.Image(t, 0)
	volume := pgtest.Volume(t, image)
	for _, milliseconds := range []int{20, 150, 400, 700, 900} {
		after := time.Duration(milliseconds) * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), after)
		err := cluster.Init(ctx, engine, image, volume, cluster.InitOptions{})
		cancel()
		if err == nil {
			break // faster than that
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("init cut after %s: got error %v, want context.DeadlineExceeded", after, err)
		}
	}
	pgtest.Start(t, pgtest.StartOptions{Volume: volume})
}

func TestInitTakesEncodingAndLocale(t *testing.T) {
	t.Parallel()
	engine, image := pgtest.Engine(t), pgtest.Image(t, 0)
	volume := pgtest.Volume(t, image)
	if err := cluster.Init(t.Context(), engine, image, volume, cluster.InitOptions{Encoding: "LATIN1", Locale: "C"}); err != nil {
		t.Fatal(err)
	}
	server := pgtest.Start(t, pgtest.StartOptions{Volume: volume})
	var encoding, collate string
	if err := server.Connect(t, "postgres").QueryRow(t.Context(),
		"SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'template1'").Scan(&encoding, &collate); err != nil {
		t.Fatal(err)
	}
	if encoding != "LATIN1" || collate != "C" {
		t.Errorf("encoding %s, collation %s; want LATIN1, C", encoding, collate)
	}
}

func TestInitReportsWhatInitdbSays(t *testing.T) {
	t.Parallel()
	engine, image := pgtest.Engine(t), pgtest.Image(t, 0)
	volume := pgtest.Volume(t, image)
	err := cluster.Init(t.Context(), engine, image, volume, cluster.InitOptions{Locale: "xx_YY.nonsense"})
	if err == nil || !strings.Contains(err.Error(), "locale") {
		t.Errorf("init with an impossible locale: %v", err)
	}
	err = cluster.Init(t.Context(), engine, image, "no-such-volume", cluster.InitOptions{})
	if !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("init without the volume: got error %v, want ErrNotFound", err)
	}
}

func TestScramVerifierLetsIn(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	role, password := mayfly.NewID("r"), `pa'ss \ "word" 0123`
	verifier, err := cluster.ScramVerifier(password)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := cluster.ScramVerifier(password); again == verifier {
		t.Error("two verifiers of one password are equal: the salt is not random")
	}
	server.Exec(t, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, verifier))
	t.Cleanup(func() { server.Exec(cleanup{t}, "postgres", "DROP ROLE "+role) })
	login := func(password string) error {
		config, err := cluster.ConnConfig(pgtest.Engine(t), server.ID, "postgres")
		if err != nil {
			return err
		}
		config.User, config.Password = role, password
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err
	}
	if err := login(password); err != nil {
		t.Errorf("log in with the right password: %v", err)
	}
	for _, wrong := range []string{"", "wrong", password + " ", verifier} {
		var pgErr *pgconn.PgError
		if err := login(wrong); !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
			t.Errorf("log in with the wrong password %q: got %v, want SQLSTATE 28P01", wrong, err)
		}
	}
}

// cleanup gives a clean-up function a context that is not over yet.
type cleanup struct{ testing.TB }

func (cleanup) Context() context.Context { return context.Background() }

// TestOnlyRootIsAdmin tries to get in as the admin role from inside the container, as the postgres user, which owns
// everything there, and with a password over the socket.
func TestOnlyRootIsAdmin(t *testing.T) {
	t.Parallel()
	server, engine := pgtest.Cluster(t), pgtest.Engine(t)
	for _, env := range [][]string{nil, {"PGPASSWORD=x"}} {
		result, err := engine.Run(t.Context(), driver.RunSpec{
			Image: server.Image.ID, Socket: server.ID, Env: env,
			Command: []string{"psql", "-X", "-w", "-h", driver.SocketDir, "-U", cluster.AdminRole, "-c", "SELECT 1", "postgres"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if result.ExitCode == 0 || !strings.Contains(string(result.Stderr), "Peer authentication failed") {
			t.Errorf("psql as %s inside a container: exit code %d: %s", cluster.AdminRole, result.ExitCode, result.Stderr)
		}
	}
}

func TestConnConfigIgnoresTheEnvironment(t *testing.T) {
	t.Setenv("PGPASSWORD", "secret")
	t.Setenv("PGHOST", "db.example.com")
	t.Setenv("PGUSER", "somebody")
	t.Setenv("PGDATABASE", "other")
	t.Setenv("PGSSLMODE", "require")
	t.Setenv("PGTARGETSESSIONATTRS", "read-only")
	t.Setenv("PGOPTIONS", "-c work_mem=64kB")
	server := pgtest.Cluster(t)
	conn, err := cluster.Connect(t.Context(), pgtest.Engine(t), server.ID, "template1")
	if err != nil {
		t.Fatalf("connect with PG* variables set: %v", err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var user, database, memory string
	if err := conn.QueryRow(t.Context(), "SELECT current_user, current_database(), current_setting('work_mem')").Scan(&user, &database, &memory); err != nil {
		t.Fatal(err)
	}
	if user != cluster.AdminRole || database != "template1" || memory == "64kB" || conn.Config().Password != "" {
		t.Errorf("user %s, database %s, work_mem %s, password %q", user, database, memory, conn.Config().Password)
	}
}

func TestWaitReadyGivesUp(t *testing.T) {
	t.Parallel()
	engine := pgtest.Engine(t)
	server := pgtest.Cluster(t)

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := cluster.WaitReady(ctx, engine, "no-such-instance", "postgres", nil)
	if mayfly.ErrorCode(err) != mayfly.CodeTimeout {
		t.Errorf("nothing ever listens: got %v, want code %s", err, mayfly.CodeTimeout)
	}

	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	dead := errors.New("it is dead")
	_, err = cluster.WaitReady(ctx, engine, "no-such-instance", "postgres", func(context.Context) error { return dead })
	if !errors.Is(err, dead) {
		t.Errorf("the instance is dead: got %v, want %v", err, dead)
	}

	var pgErr *pgconn.PgError
	_, err = cluster.WaitReady(ctx, engine, server.ID, "no_such_database", nil)
	if !errors.As(err, &pgErr) || pgErr.Code != "3D000" {
		t.Errorf("a database that does not exist: got %v, want SQLSTATE 3D000 at once", err)
	}
}
