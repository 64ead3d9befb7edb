package runner_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/migrations/runner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds a run, on a machine that is busy with other tests.
const patience = 90 * time.Second

// bed is a preview's database, in a server that has another one, and a way to run commands for it.
type bed struct {
	server   *pgtest.Server
	database string
	owner    string
	password string
	timeout  time.Duration
}

func setup(t *testing.T) *bed {
	t.Helper()
	server := pgtest.Cluster(t)
	b := &bed{server: server, database: server.Database(t), password: "p/a:s@s " + rand.Text(), timeout: patience}
	b.owner = "owner_" + b.database
	verifier, err := cluster.ScramVerifier(b.password)
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "postgres", "create role "+b.owner+" login nosuperuser password '"+verifier+"'; alter database "+b.database+" owner to "+b.owner)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), server.DSN("postgres"))
		if err != nil {
			t.Errorf("connect to clean up: %v", err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		for _, sql := range []string{"drop database if exists " + b.database + " with (force)", "drop role if exists " + b.owner} {
			if _, err := conn.Exec(context.Background(), sql); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	})
	return b
}

// outcome is what became of a run.
type outcome struct {
	err    error
	report *runner.Report
}

// run runs a command with files of a repository.
func (b *bed) run(t *testing.T, settings mayfly.RunnerSettings, files map[string]string) outcome {
	t.Helper()
	return b.runWith(t, mayfly.MigrationSettings{Tool: runner.Command, Runner: settings}, archive(t, files))
}

func (b *bed) runWith(t *testing.T, settings mayfly.MigrationSettings, repository []byte) outcome {
	t.Helper()
	engine := pgtest.Engine(t)
	session, err := runner.New(runner.Options{
		Settings: settings, Login: runner.Login{User: b.owner, Password: b.password, Database: b.database},
		Dial:    func(ctx context.Context) (net.Conn, error) { return engine.Dial(ctx, b.server.ID) },
		Archive: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(repository)), nil },
	})
	if err != nil {
		return outcome{err: err}
	}
	image, err := engine.ProjectImage(t.Context(), pgtest.RunnerImage(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), b.timeout)
	defer cancel()
	limits := session.Limits()
	result, err := engine.RunProject(ctx, driver.ProjectSpec{
		Image: image, User: settings.Runner.User, Program: pgtest.Relay(t), Args: runner.Args(),
		Volume: pgtest.LimitedVolume(t, limits.DiskBytes), Mounts: map[string]string{"checkout": session.Dir(), "home": runner.HomeDir},
		Sockets: session.Sockets(ctx), SocketDirs: []string{runner.SocketDir, runner.ClientDir},
		TmpBytes: limits.TmpBytes, Output: session.Output(), Labels: map[string]string{"role": "runner"},
		Limits: driver.Limits{MemoryBytes: limits.MemoryBytes, CPUs: limits.CPUs, Pids: limits.Pids},
	})
	ended := runner.Ended{Err: err, ExitCode: result.ExitCode, OOMKilled: result.OOMKilled}
	return outcome{err: session.Outcome(ctx, ended), report: session.Report(settings.Runner.Image, 0)}
}

// shell is a command for the image's shell.
func shell(script string) mayfly.RunnerSettings {
	return mayfly.RunnerSettings{Command: []string{"/bin/bash", "-euc", script}}
}

// archive packs files as a forge does: below a directory of its own.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var headers []tar.Header
	for name, content := range files {
		headers = append(headers, tar.Header{Name: "acme-shop-1234567/" + name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))})
	}
	return pack(t, headers, func(name string) string { return files[name[len("acme-shop-1234567/"):]] })
}

func pack(t *testing.T, headers []tar.Header, content func(name string) string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	out := tar.NewWriter(zipped)
	for i := range headers {
		if err := out.WriteHeader(&headers[i]); err != nil {
			t.Fatal(err)
		}
		if headers[i].Size > 0 {
			if _, err := io.WriteString(out, content(headers[i].Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}
