package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

const snapshotColumns = `id, name, project, preview_id,
	coalesce((select preview.name from preview where preview.id = preview_id and preview.state <> 'deleted'), ''), branch, template_id,
	coalesce((select version from template where template.id = template_id), 0), state, size_bytes, observed_sha, observed_base_ref, observed_base_sha,
	keep, expires_at, created_by, created_at`

func scanSnapshot(row pgx.Row) (*mayfly.Snapshot, error) {
	var n mayfly.Snapshot
	err := row.Scan(&n.ID, &n.Name, &n.Project, &n.PreviewID, &n.PreviewName, &n.Branch, &n.TemplateID, &n.TemplateVersion, &n.State, &n.SizeBytes,
		&n.ObservedSHA, &n.ObservedBaseRef, &n.ObservedBaseSHA, &n.Keep, &n.ExpiresAt, &n.CreatedBy, &n.CreatedAt)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// CreateSnapshot stores that a snapshot is being made. CodeConflict if its preview has one of that name, CodeQuotaExceeded if the
// project has most already, or a quota of disk is used up, which holds also for concurrent calls; those that are made for branches do not count. A *DoneError if once
// was done before.
func (s *Store) CreateSnapshot(ctx context.Context, once *Once, n *mayfly.Snapshot, most int) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := once.claim(ctx, tx, n.ID); err != nil {
			return err
		}
		if err := s.checkSnapshots(ctx, tx, n, most); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			insert into snapshot (id, name, project, preview_id, branch, template_id, keep, expires_at, created_by)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning state, created_at`,
			n.ID, n.Name, n.Project, n.PreviewID, n.Branch, n.TemplateID, n.Keep, n.ExpiresAt, n.CreatedBy).Scan(&n.State, &n.CreatedAt)
		if isCode(err, "23505") {
			return mayfly.Errorf(mayfly.CodeConflict, "the preview has a snapshot named %s", n.Name).WithHint("choose another name, or delete that one first")
		}
		if err != nil || n.Branch {
			return err
		}
		return s.auditSnapshot(ctx, tx, n, "snapshot.create")
	})
	if err != nil {
		return failed(err, "store snapshot %s", n.ID)
	}
	return nil
}

func (s *Store) checkSnapshots(ctx context.Context, tx pgx.Tx, n *mayfly.Snapshot, most int) error {
	if n.Branch {
		return nil
	}
	if most <= 0 {
		return s.checkSnapshotDisk(ctx, tx, n)
	}
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('create snapshot ' || $1, 0))`, n.Project); err != nil {
		return err
	}
	var live int
	if err := tx.QueryRow(ctx, `select count(*) from snapshot where project = $1 and state <> 'deleted' and not branch`, n.Project).Scan(&live); err != nil {
		return err
	}
	if live >= most {
		return mayfly.Errorf(mayfly.CodeQuotaExceeded, "project %s already has %d snapshots, its limit", n.Project, live).
			WithHint("delete one with mayfly snapshot rm, or raise previews.max_snapshots in the server's configuration")
	}
	return s.checkSnapshotDisk(ctx, tx, n)
}

// checkSnapshotDisk holds a snapshot against the quotas of disk.
func (s *Store) checkSnapshotDisk(ctx context.Context, tx pgx.Tx, n *mayfly.Snapshot) error {
	limits := s.limitsOf(n.Project)
	limits.Full = nil // making the volume says so itself
	if limits == (Limits{}) {
		return nil
	}
	if _, err := tx.Exec(ctx, lockRoom); err != nil {
		return err
	}
	u, err := readUsage(ctx, tx)
	if err != nil {
		return err
	}
	c := claim{project: n.Project, person: n.CreatedBy}
	if err := tx.QueryRow(ctx, `select reserved_disk from preview where id = $1`, n.PreviewID).Scan(&c.disk); err != nil {
		return err
	}
	return u.admit(c, limits)
}

func (s *Store) auditSnapshot(ctx context.Context, tx execer, n *mayfly.Snapshot, action string) error {
	return s.audit(ctx, tx, AuditEntry{
		Action: action, Project: n.Project, Kind: "snapshot", Name: n.Name, ObjectID: n.ID, Detail: map[string]any{"preview_id": n.PreviewID},
	})
}

// FinishSnapshot stores that a snapshot's volume is there, its size, and what its preview has applied now. Whoever calls it holds the
// preview's lock.
func (s *Store) FinishSnapshot(ctx context.Context, n *mayfly.Snapshot) error {
	tag, err := s.pool.Exec(ctx, `
		update snapshot set state = 'ready', size_bytes = $2, template_id = $3, observed_sha = $4, observed_base_ref = $5, observed_base_sha = $6,
			applied = preview.applied, report = preview.report
		from preview
		where snapshot.id = $1 and snapshot.state = 'making' and preview.id = snapshot.preview_id`,
		n.ID, n.SizeBytes, n.TemplateID, n.ObservedSHA, n.ObservedBaseRef, n.ObservedBaseSHA)
	if err != nil {
		return failed(err, "record snapshot %s", n.ID)
	}
	if tag.RowsAffected() == 0 {
		return mayfly.Errorf(mayfly.CodeConflict, "snapshot %s was deleted while it was made", n.Name)
	}
	n.State = mayfly.SnapshotReady
	return nil
}

// DeleteSnapshot records that a snapshot is deleted; its volume may be removed then. Deleting one that is deleted does nothing.
func (s *Store) DeleteSnapshot(ctx context.Context, n *mayfly.Snapshot) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update snapshot set state = 'deleted', deleted_at = now(), applied = null, report = null where id = $1 and state <> 'deleted'`, n.ID)
		if err != nil || tag.RowsAffected() == 0 || n.Branch {
			return err
		}
		return s.auditSnapshot(ctx, tx, n, "snapshot.delete")
	})
	if err != nil {
		return failed(err, "delete snapshot %s", n.ID)
	}
	return nil
}

// RestoreApplied gives a preview the record of migrations, and the report, that it had when the snapshot was made.
func (s *Store) RestoreApplied(ctx context.Context, previewID, snapshotID string) error {
	_, err := s.pool.Exec(ctx, `
		update preview set applied = snapshot.applied, report = snapshot.report from snapshot where preview.id = $1 and snapshot.id = $2`, previewID, snapshotID)
	if err != nil {
		return failed(err, "restore the migration report of preview %s", previewID)
	}
	return nil
}

// Snapshot returns a snapshot by id, deleted or not. CodeNotFound if there is none.
func (s *Store) Snapshot(ctx context.Context, id string) (*mayfly.Snapshot, error) {
	n, err := scanSnapshot(s.pool.QueryRow(ctx, `select `+snapshotColumns+` from snapshot where id = $1`, id))
	return oneSnapshot(n, err, id)
}

// SnapshotOf returns the live snapshot of a preview with that id or name. CodeNotFound if there is none.
func (s *Store) SnapshotOf(ctx context.Context, previewID, idOrName string) (*mayfly.Snapshot, error) {
	n, err := scanSnapshot(s.pool.QueryRow(ctx, `
		select `+snapshotColumns+` from snapshot
		where preview_id = $1 and (id = $2 or name = $2) and state = 'ready' and not branch order by id = $2 desc limit 1`, previewID, idOrName))
	return oneSnapshot(n, err, idOrName)
}

func oneSnapshot(n *mayfly.Snapshot, err error, what string) (*mayfly.Snapshot, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no snapshot %s", what)
	}
	if err != nil {
		return nil, failed(err, "read snapshot %s", what)
	}
	return n, nil
}

// Snapshots returns a page of the finished snapshots of a project or, if previewID is not "", of one preview, oldest first.
func (s *Store) Snapshots(ctx context.Context, project, previewID string, page Page) ([]*mayfly.Snapshot, error) {
	args := []any{project, previewID}
	after, order := page.clause(SortKey{"created_at", "timestamptz"}, "id", "text", &args)
	return s.snapshots(ctx, `project = $1 and ($2 = '' or preview_id = $2) and state = 'ready' and not branch and `+after+" "+order, args...)
}

// LiveSnapshots returns all snapshots that are not deleted: those that are being made and the origins of branches too.
func (s *Store) LiveSnapshots(ctx context.Context) ([]*mayfly.Snapshot, error) {
	return s.snapshots(ctx, `state <> 'deleted' order by created_at, id`)
}

// SnapshotInUse reports whether the next generation of a live preview would be cloned from the snapshot.
func (s *Store) SnapshotInUse(ctx context.Context, id string) (bool, error) {
	var used bool
	err := s.pool.QueryRow(ctx, `select exists (select from preview where snapshot_id = $1 and state <> 'deleted')`, id).Scan(&used)
	if err != nil {
		return false, failed(err, "look for previews of snapshot %s", id)
	}
	return used, nil
}

func (s *Store) snapshots(ctx context.Context, where string, args ...any) ([]*mayfly.Snapshot, error) {
	rows, err := s.pool.Query(ctx, `select `+snapshotColumns+` from snapshot where `+where, args...)
	if err != nil {
		return nil, failed(err, "list snapshots")
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Snapshot, error) { return scanSnapshot(row) })
	if err != nil {
		return nil, failed(err, "list snapshots")
	}
	return all, nil
}

// SnapshotPosition returns where a snapshot is in a list.
func SnapshotPosition(n *mayfly.Snapshot) Position {
	return Position{Key: TimeKey(&n.CreatedAt, ""), ID: n.ID}
}
