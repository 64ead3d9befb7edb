package jobs

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	mayfly "github.com/mayflydb/mayfly"
)

// MigrateTo brings the queue's tables to one version, for a backup that has it; Migrate brings them to the newest from there. Nobody else may
// migrate them meanwhile. CodeInvalid if this program knows no such version.
func MigrateTo(ctx context.Context, pool *pgxpool.Pool, version int) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return fmt.Errorf("prepare the queue's tables: %w", err)
	}
	if known := len(migrator.AllVersions()); version < 1 || version > known {
		return mayfly.Errorf(mayfly.CodeInvalid, "the queue is of version %d, and this mayfly knows up to %d", version, known).
			WithHint("use the mayfly that wrote it, or a newer one")
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: version}); err != nil {
		return fmt.Errorf("migrate the queue's tables: %w", err)
	}
	return nil
}
