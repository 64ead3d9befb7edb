package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// embeddedDatabase is the database of the embedded state server.
const embeddedDatabase = "mayfly"

// EmbeddedOptions say where the embedded state server lives.
type EmbeddedOptions struct {
	Engine interface {
		driver.Engine
		driver.Inspector
	}
	// Dir is the host directory of its volume.
	Dir string
	// Volume is the id under which the engine knows Dir, and the id of the instance.
	Volume string
	// Major is the PostgreSQL major version of a new server; an existing one keeps its own.
	Major int
}

// StartEmbedded makes sure that Mayfly's own state server runs, fully durable, in a container from the same images that
// previews use, and returns how to connect to it. It keeps running when this process ends.
func StartEmbedded(ctx context.Context, opts EmbeddedOptions) (*pgxpool.Config, error) {
	major, err := existingMajor(opts.Dir)
	if err != nil {
		return nil, err
	}
	if major == 0 {
		major = opts.Major
	}
	image, err := opts.Engine.Image(ctx, "", major)
	if err != nil {
		return nil, fmt.Errorf("image of the embedded state database: %w", err)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the embedded state database: %w", err)
	}
	if err := os.Chown(opts.Dir, image.User.UID, image.User.GID); err != nil {
		return nil, fmt.Errorf("prepare the directory of the embedded state database: %w", err)
	}
	if err := cluster.Init(ctx, opts.Engine, image, opts.Volume, cluster.InitOptions{}); err != nil {
		return nil, fmt.Errorf("initialise the embedded state database: %w", err)
	}
	err = opts.Engine.Create(ctx, driver.InstanceSpec{
		ID: opts.Volume, Image: image.ID, Volume: opts.Volume, Args: cluster.Args(cluster.State),
		Labels: map[string]string{"role": "state"}, RestartOnEngineStart: true,
	})
	if err != nil {
		return nil, fmt.Errorf("create the embedded state database: %w", err)
	}
	if err := opts.Engine.Start(ctx, opts.Volume); err != nil {
		return nil, fmt.Errorf("start the embedded state database: %w", err)
	}
	if err := opts.createDatabase(ctx); err != nil {
		return nil, fmt.Errorf("prepare the embedded state database: %w", err)
	}
	return opts.Config()
}

func (o EmbeddedOptions) createDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // crash recovery of a small database
	defer cancel()
	conn, err := cluster.WaitReady(ctx, o.Engine, o.Volume, "postgres", func(ctx context.Context) error {
		instance, err := o.Engine.Inspect(ctx, o.Volume)
		if err != nil || instance.Running {
			return err
		}
		logs, _ := o.Engine.Logs(ctx, o.Volume, 5)
		return fmt.Errorf("it stopped with exit code %d: %s", instance.ExitCode, strings.TrimSpace(string(logs)))
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, "create database "+pgx.Identifier{embeddedDatabase}.Sanitize())
	if isCode(err, "42P04") || isCode(err, "23505") { // it exists, or another process made it at this moment
		return nil
	}
	return err
}

// Config returns how to connect to the embedded state server, which it does not start.
func (o EmbeddedOptions) Config() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig("host=/ sslmode=disable pool_max_conns=60 user=" + cluster.AdminRole)
	if err != nil {
		return nil, fmt.Errorf("make connection settings: %w", err)
	}
	config.ConnConfig.Database = embeddedDatabase
	config.ConnConfig.Password = ""
	config.ConnConfig.Fallbacks = nil
	config.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Engine.Dial(ctx, o.Volume) }
	return config, nil
}

// existingMajor returns the major version of the data directory, 0 if there is none.
func existingMajor(dir string) (int, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "pgdata", "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for an existing state database: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, mayfly.Errorf(mayfly.CodeStateUnavailable, "%s/pgdata/PG_VERSION is not a version: %w", dir, err)
	}
	return major, nil
}
