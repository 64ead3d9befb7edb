package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/backup"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func newBackupCommand(s *shell) *cobra.Command {
	var configPath string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the state into one file (on the server)", Args: cobra.ExactArgs(1),
		Long: "Write what cannot be made again into one file: the state database as of this moment, keys, ids, and the proofs of templates. The service\n" +
			"may run. Templates and previews are not in it; nor are the configuration and the secrets that it names.\n" +
			"The file opens the passwords of previews: it is made for its owner alone (mode 0600); keep it so, or encrypt it. - writes to standard output.",
		Example: "  mayfly backup /var/backups/mayfly-$(date +%F).tar.gz --config /etc/mayfly/mayfly.yaml\n" +
			"  mayfly backup - --config /etc/mayfly/mayfly.yaml | age -r age1… > mayfly.age",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, args []string) (*answer, error) {
		c, err := config.Load(configPath)
		if err != nil {
			return nil, err
		}
		if args[0] == "-" {
			_, err := writeBackup(cmd.Context(), c, configPath, s.out)
			return nil, err
		}
		m, err := writeBackupFile(cmd.Context(), c, configPath, args[0])
		if err != nil {
			return nil, err
		}
		return said(m, args[0], "%s has the state: %d previews, %d templates, %s before compression", args[0], m.Rows("preview"), m.Rows("template"), bytesText(m.Bytes())), nil
	})
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "the server's configuration file")
	return cmd
}

// writeBackupFile writes beside the file and renames: what has its name is whole.
func writeBackupFile(ctx context.Context, c *config.Config, configPath, path string) (*backup.Manifest, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "write the backup: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	m, err := writeBackup(ctx, c, configPath, file)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, err
	}
	// What was written is read back: a backup that cannot be read is none.
	if err := verifyBackup(file.Name(), c.DataDir); err != nil {
		return nil, err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "write the backup: %w", err)
	}
	return m, nil
}

func verifyBackup(path, scratch string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the backup back: %w", err)
	}
	defer file.Close()
	unpacked, err := backup.Unpack(file, scratch)
	if err != nil {
		return fmt.Errorf("read the backup back: %w", err)
	}
	return unpacked.Remove()
}

func writeBackup(ctx context.Context, c *config.Config, configPath string, w io.Writer) (*backup.Manifest, error) {
	state, done, err := stateForReading(c)
	if errors.Is(err, os.ErrNotExist) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no state in %s yet", c.DataDir)
	}
	if err != nil {
		return nil, err
	}
	defer done()
	pool, err := pgxpool.NewWithConfig(ctx, state)
	if err != nil {
		return nil, fmt.Errorf("open the state database: %w", err)
	}
	defer pool.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeStateUnavailable, "the state database does not answer").WithHint("start the service with: mayfly serve")
	}
	defer conn.Release()
	about := backup.Manifest{Version: version, CreatedAt: time.Now().UTC().Truncate(time.Second), Config: configPath}
	for _, p := range c.Projects() {
		about.Projects = append(about.Projects, p.Name)
	}
	return backup.Write(ctx, w, backup.Source{Conn: conn.Conn(), Schema: store.DefaultSchema, DataDir: c.DataDir, Manifest: about})
}

func newRestoreCommand(s *shell) *cobra.Command {
	var configPath string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put the state of a backup back (on the server)", Args: cobra.ExactArgs(1),
		Long: "Put back what mayfly backup wrote, into an empty state database and a data_dir without other keys. The whole file is checked before anything\n" +
			"is touched, and it is refused while the service runs. Then start the service: it makes previews anew whose data is gone, and removes what\n" +
			"was made after the backup. Templates that are gone are built again: mayfly template build. - reads standard input.",
		Example: "  systemctl stop mayfly\n  mayfly restore /var/backups/mayfly-2026-03-01.tar.gz --config /etc/mayfly/mayfly.yaml\n  systemctl start mayfly",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, args []string) (*answer, error) {
		c, err := config.Load(configPath)
		if err != nil {
			return nil, err
		}
		from := s.in
		if args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the backup: %w", err)
			}
			defer file.Close()
			from = file
		}
		m, err := restore(cmd.Context(), c, from)
		if err != nil {
			return nil, err
		}
		s.note("start the service now: mayfly serve --config %s", configPath)
		return said(m, m.Installation, "the state of %s is back: %d previews, %d templates", m.CreatedAt.Local().Format("2006-01-02 15:04"), m.Rows("preview"), m.Rows("template")), nil
	})
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "the server's configuration file")
	return cmd
}

func restore(ctx context.Context, c *config.Config, from io.Reader) (_ *backup.Manifest, err error) {
	if err := notServing(ctx, c); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil { //nolint:gosec // previews' sockets are reached through it
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "make data_dir: %w", err)
	}
	unpacked, err := backup.Unpack(from, c.DataDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unpacked.Remove()) }()
	if err := unpacked.CheckFiles(c.DataDir); err != nil {
		return nil, err
	}
	m := unpacked.Manifest
	pool, done, err := openEmptyState(ctx, c, m)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the state database: %w", err)
	}
	defer conn.Release()
	if err := unpacked.Load(ctx, conn.Conn(), store.DefaultSchema); err != nil {
		return nil, err
	}
	// Last: with state.id there, serve takes the state for what it had before.
	return m, unpacked.PutFiles(c.DataDir)
}

// notServing refuses while a service runs: one listens, or one works with the state database.
func notServing(ctx context.Context, c *config.Config) error {
	running := func(why string) error {
		return mayfly.Errorf(mayfly.CodeConflict, "a service is running: %s", why).WithHint("nothing was touched. Stop it first: systemctl stop mayfly")
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return running("something listens on " + c.Listen)
	}
	if err := listener.Close(); err != nil {
		return fmt.Errorf("look whether a service runs: %w", err)
	}
	state, done, err := stateForReading(c)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	pool, err := pgxpool.NewWithConfig(ctx, state)
	if err != nil {
		return fmt.Errorf("open the state database: %w", err)
	}
	defer pool.Close()
	var sessions int
	err = pool.QueryRow(ctx, "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'mayfly' and pid <> pg_backend_pid()").Scan(&sessions)
	switch {
	case err != nil && c.DatabaseURL == "":
		return nil // the embedded one is stopped, too
	case err != nil:
		return mayfly.Errorf(mayfly.CodeStateUnavailable, "the state database does not answer").WithHint("check the URL in database_url_file")
	case sessions > 0:
		return running(fmt.Sprintf("%d sessions work with the state database", sessions))
	}
	return nil
}

// openEmptyState starts the state database if it is embedded, and makes tables of the backup's version in it.
func openEmptyState(ctx context.Context, c *config.Config, m *backup.Manifest) (_ *pgxpool.Pool, done func(), err error) {
	d := &daemon{config: c, logger: slog.New(slog.DiscardHandler)}
	if c.DatabaseURL == "" {
		if os.Geteuid() != 0 {
			return nil, nil, mayfly.Errorf(mayfly.CodeForbidden, "the embedded state database needs root").WithHint("run it with sudo")
		}
		d.engine, err = docker.New(docker.Options{
			Host: c.Engine.Host, RunDir: filepath.Join(c.DataDir, "run"), Installation: m.Installation, Logger: d.logger,
			VolumePath: func(id string) (string, error) {
				if id == stateVolume {
					return d.stateDir(), nil
				}
				return "", fmt.Errorf("volume %s: %w", id, driver.ErrNotFound)
			},
		})
		if err != nil {
			return nil, nil, err
		}
	}
	closeEngine := func() {
		if d.engine != nil {
			_ = d.engine.Close()
		}
	}
	state, err := d.stateConfig(ctx)
	if err != nil {
		closeEngine()
		return nil, nil, err
	}
	pool, err := store.Connect(ctx, state, "")
	if err != nil {
		closeEngine()
		return nil, nil, err
	}
	done = func() {
		pool.Close()
		closeEngine()
	}
	if err = emptyTables(ctx, pool, m); err != nil {
		done()
		return nil, nil, err
	}
	return pool, done, nil
}

func emptyTables(ctx context.Context, pool *pgxpool.Pool, m *backup.Manifest) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("open the state database: %w", err)
	}
	err = backup.Empty(ctx, conn.Conn(), store.DefaultSchema)
	conn.Release()
	if err != nil {
		return err
	}
	if err := store.MigrateTo(ctx, pool, m.SchemaVersion); err != nil {
		return err
	}
	return jobs.MigrateTo(ctx, pool, m.QueueVersion)
}
