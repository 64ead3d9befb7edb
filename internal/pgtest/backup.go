package pgtest

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Primary is a Postgres of which base backups can be taken, and that archives its WAL.
type Primary struct {
	*Server
	dir string // of its volume on the host
}

// StartPrimary starts one for this test alone. Arguments are further settings, "name=value".
func StartPrimary(tb testing.TB, major int, further ...string) *Primary {
	tb.Helper()
	image := Image(tb, major)
	volume := Volume(tb, image)
	args := append([]string{
		"wal_level=replica", "max_wal_senders=4", "archive_mode=on", "full_page_writes=on", "min_wal_size=32MB",
		"archive_command=mkdir -p " + driver.VolumeMount + "/archive && cp %p " + driver.VolumeMount + "/archive/%f",
	}, further...)
	server := Start(tb, StartOptions{Major: major, Volume: volume, Args: settings(args...)})
	rules := "local replication " + cluster.AdminRole + " peer map=mayfly\n" + cluster.AccessRules
	server.Exec(tb, "postgres", "COPY (SELECT pg_catalog.regexp_split_to_table("+quote(rules)+", E'\\n')) TO '"+driver.DataDir+"/pg_hba.conf'; SELECT pg_reload_conf()")
	return &Primary{Server: server, dir: current(tb).plainDir(volume)}
}

func quote(s string) string { return "'" + s + "'" }

// ArchiveDir is the host's directory of archived WAL.
func (p *Primary) ArchiveDir() string { return filepath.Join(p.dir, "archive") }

// ArchiveWAL ends the WAL segment and waits until it is in the archive.
func (p *Primary) ArchiveWAL(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), readyTimeout)
	defer cancel()
	conn := p.Connect(tb, "postgres")
	var segment string
	if err := conn.QueryRow(ctx, "SELECT pg_walfile_name(pg_switch_wal())").Scan(&segment); err != nil {
		tb.Fatalf("switch the WAL segment: %v", err)
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		var done bool
		if err := conn.QueryRow(ctx, "SELECT coalesce(last_archived_wal >= $1, false) FROM pg_stat_archiver", segment).Scan(&done); err != nil {
			tb.Fatalf("wait for the WAL archive: %v", err)
		}
		if done {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("the WAL segment %s was not archived in time", segment)
		case <-ticker.C:
		}
	}
}

// BaseBackup runs pg_basebackup with further arguments and returns the host's directory that it wrote.
func (p *Primary) BaseBackup(tb testing.TB, args ...string) string {
	tb.Helper()
	volume := Volume(tb, p.Image)
	p.run(tb, volume, append([]string{"pg_basebackup", "--pgdata=" + driver.VolumeMount + "/backup", "--checkpoint=fast", "--no-sync"}, args...)...)
	return filepath.Join(current(tb).plainDir(volume), "backup")
}

// Client runs a client program of the image, such as pg_dumpall, as the superuser, and returns what it writes.
func (p *Primary) Client(tb testing.TB, command ...string) []byte {
	tb.Helper()
	return p.run(tb, "", command...)
}

func (p *Primary) run(tb testing.TB, volume string, command ...string) []byte {
	tb.Helper()
	var out bytes.Buffer
	result, err := p.engine.Run(tb.Context(), driver.RunSpec{
		Image: p.Image.ID, Volume: volume, Stdout: &out, Env: []string{"PGHOST=" + driver.SocketDir, "PGUSER=" + cluster.AdminRole},
		Command: command, Listener: func(client net.Conn) { p.splice(tb.Context(), client) },
	})
	if err != nil || result.ExitCode != 0 {
		tb.Fatalf("%s: exit code %d, %v: %s", command[0], result.ExitCode, err, result.Stderr)
	}
	return out.Bytes()
}

// splice copies bytes between a client and the server, which sees this process.
func (p *Primary) splice(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := p.engine.Dial(ctx, p.ID)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var both sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	both.Go(func() { oneWay(server, client) })
	both.Go(func() { oneWay(client, server) })
	both.Wait()
}
