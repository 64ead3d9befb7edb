package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// postgres is a server of this program's own, on a plain directory: the source, or what a dump is restored into. It has
// no network either; everybody on its socket is let in, and only root gets to the socket.
type postgres struct {
	engine *docker.Engine
	id     string
}

// startPostgres makes a cluster with the settings that a template is built with: nothing durable, a lot of memory.
func (b *bench) startPostgres(ctx context.Context, id string) (*postgres, error) {
	if err := b.plain.Create(ctx, id, b.image.User); err != nil {
		return nil, err
	}
	if err := cluster.Init(ctx, b.engine, b.image, id, cluster.InitOptions{}); err != nil {
		return nil, err
	}
	path, err := b.plain.Path(id)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(path, "pgdata", "pg_hba.conf"), []byte("local all all trust\n"), 0o600); err != nil {
		return nil, fmt.Errorf("open cluster %s: %w", id, err)
	}
	err = b.engine.Create(ctx, driver.InstanceSpec{
		ID: id, Image: b.image.ID, Volume: id, Args: cluster.Args(cluster.Build), Labels: map[string]string{"role": "bench"},
		Limits: driver.Limits{ShmBytes: 1 << 30},
	})
	if err != nil {
		return nil, err
	}
	if err := b.engine.Start(ctx, id); err != nil {
		return nil, err
	}
	p := &postgres{engine: b.engine, id: id}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := cluster.WaitReady(ready, b.engine, id, "postgres", nil)
	if err != nil {
		return nil, err
	}
	return p, conn.Close(ctx)
}

func (p *postgres) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return cluster.Connect(ctx, p.engine, p.id, database)
}

// exec runs statements as the superuser.
func (p *postgres) exec(ctx context.Context, database string, statements ...string) error {
	conn, err := p.connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%.60s: %w", sql, err)
		}
	}
	return nil
}

// dsn is how the service reaches a database here.
func (p *postgres) dsn(database string) string {
	return "postgres://" + databaseOwner + "@/" + database + "?host=" + url.QueryEscape(p.engine.SocketDir(p.id))
}

// size returns the bytes of a database.
func (p *postgres) size(ctx context.Context, database string) (float64, error) {
	conn, err := p.connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	var bytes int64
	err = conn.QueryRow(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes)
	return float64(bytes), err
}

// remove stops the server and deletes its data.
func (b *bench) removePostgres(ctx context.Context, p *postgres) error {
	return errors.Join(b.engine.Remove(ctx, p.id), b.plain.Delete(ctx, p.id))
}

// client runs a client program against the server, with the volume of dumps mounted.
func (b *bench) client(ctx context.Context, p *postgres, command ...string) error {
	result, err := b.engine.Run(ctx, driver.RunSpec{
		Image: b.image.ID, Command: command, Socket: p.id, Volume: dumps, Labels: map[string]string{"role": "bench"},
	})
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("%s: exit code %d: %s", command[0], result.ExitCode, strings.TrimSpace(string(result.Stderr)))
	}
	return nil
}

// dumps is the volume of dumps and archives.
const dumps = "dumps"

// archivePath is where the archive is that the archive's project is built from.
func (b *bench) archivePath() (string, error) {
	path, err := b.plain.Path(dumps)
	return filepath.Join(path, "app.dump"), err
}

// loadSource starts the source and loads the databases that the selected benchmarks need.
func (b *bench) loadSource(ctx context.Context) (err error) {
	if err := b.plain.Create(ctx, dumps, b.image.User); err != nil {
		return err
	}
	if b.source, err = b.startPostgres(ctx, "source"); err != nil {
		return err
	}
	if err := b.source.exec(ctx, "postgres", "CREATE ROLE "+databaseOwner+" LOGIN"); err != nil {
		return err
	}
	for i, s := range b.sizes[:len(b.neededTemplates())] {
		if err := b.loadPgbench(ctx, b.sizeProjects()[i], s); err != nil {
			return err
		}
	}
	if b.selected("build") || b.selected("archive") {
		return b.loadShop(ctx)
	}
	return nil
}

func (b *bench) createDatabase(ctx context.Context, name string) error {
	return b.source.exec(ctx, "postgres", "CREATE DATABASE "+name+" OWNER "+databaseOwner)
}

// mibPerScale is what one unit of pgbench's scale makes, indexes included.
const mibPerScale = 14.98

func (b *bench) loadPgbench(ctx context.Context, database string, s size) error {
	if err := b.createDatabase(ctx, database); err != nil {
		return err
	}
	scale := max(1, int(math.Round(s.gib*1024/mibPerScale)))
	b.say("  pgbench, scale %d (%s)", scale, s)
	err := b.client(ctx, b.source, "pgbench", "-i", "-q", "-s", strconv.Itoa(scale), "-h", driver.SocketDir, "-U", databaseOwner, database)
	if err != nil {
		return err
	}
	return b.source.exec(ctx, database, "CHECKPOINT")
}
