package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/tern/v2/migrate"

	mayfly "github.com/mayflydb/mayfly"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Migrate brings the store's own schema up to date. Several processes may call it at once.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return withMigrator(ctx, pool, func(m *migrate.Migrator) error { return m.Migrate(ctx) })
}

// MigrateTo brings the store's own schema to one version, for a backup that has it; Migrate brings it to the newest from there.
// CodeInvalid if this program knows no such version.
func MigrateTo(ctx context.Context, pool *pgxpool.Pool, version int32) error {
	return withMigrator(ctx, pool, func(m *migrate.Migrator) error {
		if version < 1 || int(version) > len(m.Migrations) {
			return mayfly.Errorf(mayfly.CodeInvalid, "the state is of version %d, and this mayfly knows up to %d", version, len(m.Migrations)).
				WithHint("use the mayfly that wrote it, or a newer one")
		}
		return m.MigrateTo(ctx, version)
	})
}

func withMigrator(ctx context.Context, pool *pgxpool.Pool, do func(*migrate.Migrator) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return unavailable(err)
	}
	defer conn.Release()
	migrator, err := migrate.NewMigrator(ctx, conn.Conn(), "schema_version")
	if err != nil {
		return fmt.Errorf("prepare the state database's schema: %w", err)
	}
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		return fmt.Errorf("read embedded schema: %w", err)
	}
	if err := migrator.LoadMigrations(files); err != nil {
		return fmt.Errorf("read embedded schema: %w", err)
	}
	if err := do(migrator); err != nil {
		return failed(err, "migrate the state database")
	}
	return nil
}
