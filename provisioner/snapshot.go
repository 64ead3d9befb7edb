package provisioner

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

const (
	// snapshotTimeout bounds the making of a snapshot, from the first lock to the last sync.
	snapshotTimeout = 5 * time.Minute
	// busyTimeout bounds the wait for whoever is at work on the preview.
	busyTimeout = 30 * time.Second
	// holdLimit bounds how long the processes of a preview are held still. A driver that shares blocks takes milliseconds; one that copies
	// bytes is cut off here, because clients take a database that is silent for longer for a dead one.
	holdLimit = 10 * time.Second
	// checkpointTimeout bounds the checkpoint before that, which saves what is made from the snapshot most of its crash recovery.
	checkpointTimeout = 10 * time.Second
	// defaultMaxSnapshots bounds the snapshots of a project whose configuration does not.
	defaultMaxSnapshots = 20
	// defaultKeep is how long a snapshot outlives its preview.
	defaultKeep = 30 * 24 * time.Hour
)

// SnapshotRequest asks for a snapshot of a preview.
type SnapshotRequest struct {
	// Name is unique among the preview's snapshots; "" for one that is made of the time.
	Name string
	// Keep lets it outlive the preview, for KeepFor; 0 means 30 days.
	Keep      bool
	KeepFor   time.Duration
	CreatedBy string
	// Once, if not nil, makes the request one that may be made again.
	Once *store.Once
}

var snapshotName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Snapshot keeps the data of a preview as it is now, as a state that it can be brought back to and others can be made from. Its clients
// notice a pause of milliseconds. CodeConflict if the preview is not in a state to be copied.
func (s *Service) Snapshot(ctx context.Context, name string, r SnapshotRequest) (*mayfly.Snapshot, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	now := s.Clock()
	n := &mayfly.Snapshot{
		ID: mayfly.NewID("n"), Name: or(r.Name, now.UTC().Format("20060102-150405")), Project: p.Project, PreviewID: p.ID, PreviewName: p.Name,
		TemplateID: p.TemplateID, TemplateVersion: p.TemplateVersion, Keep: r.Keep, CreatedBy: r.CreatedBy,
	}
	if !snapshotName.MatchString(n.Name) {
		return nil, mayfly.InvalidField("/name", "snapshot name %q is not usable", n.Name).WithHint("use lower-case letters, digits and '-', at most 63")
	}
	if r.Keep {
		until := now.Add(or(r.KeepFor, defaultKeep))
		n.ExpiresAt = &until
	}
	err = s.takeSnapshot(ctx, r.Once, p, n, func() error { return nil })
	if before := (*store.DoneError)(nil); errors.As(err, &before) {
		return s.Store.Snapshot(ctx, before.Resource)
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// branchable says whether there is something to copy, and nobody at work on it.
func branchable(p *mayfly.Preview) error {
	if p.WantDeleted || p.State == mayfly.PreviewDeleted {
		return mayfly.Errorf(mayfly.CodeConflict, "preview %s is being removed", p.Name)
	}
	if p.ObservedGeneration != p.Generation || !p.Connectable() {
		return mayfly.Errorf(mayfly.CodeConflict, "preview %s is %s: its data cannot be copied now", p.Name, p.State).
			WithHint("wait until it is ready: mayfly get %s", p.Name)
	}
	return nil
}

// takeSnapshot stores the snapshot, makes its volume, and calls then. Until that has returned nobody takes the snapshot for a leftover.
// If anything fails, nothing is left.
func (s *Service) takeSnapshot(ctx context.Context, once *store.Once, p *mayfly.Preview, n *mayfly.Snapshot, then func() error) error {
	if err := branchable(p); err != nil {
		return err
	}
	if err := s.checkSpace(ctx); err != nil {
		return err
	}
	select { // each holds two connections to the state database at a time
	case s.shots <- struct{}{}:
		defer func() { <-s.shots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	unlock, err := s.Store.Lock(ctx, snapshotLock(n.ID))
	if err != nil {
		return err
	}
	defer unlock()
	project, _ := s.Projects.Project(p.Project)
	if err := s.Store.CreateSnapshot(ctx, once, n, or(project.Previews.MaxSnapshots, defaultMaxSnapshots)); err != nil {
		return err
	}
	s.Checkpoint("snapshot stored")
	// From here on it is brought to an end, whoever asked may leave.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotTimeout)
	defer cancel()
	if err = s.fillSnapshot(work, p.ID, n); err == nil {
		err = then()
	}
	if err == nil {
		return nil
	}
	clean, cancelClean := context.WithTimeout(context.WithoutCancel(ctx), snapshotTimeout)
	defer cancelClean()
	return errors.Join(err, s.Store.Undo(clean, once), s.dropSnapshot(clean, n))
}

func snapshotLock(id string) string { return "snapshot:" + id }

// fillSnapshot makes the volume, with the preview's lock held: nobody starts, stops, migrates or removes it meanwhile.
func (s *Service) fillSnapshot(ctx context.Context, previewID string, n *mayfly.Snapshot) error {
	unlock, err := s.lockPreview(ctx, previewID)
	if err != nil {
		return err
	}
	defer func() {
		unlock()
		s.goOn(ctx, previewID)
	}()
	p, err := s.Store.Preview(ctx, previewID) // with the lock held: it may have changed since
	if err != nil {
		return err
	}
	if err := branchable(p); err != nil {
		return err
	}
	shooter, ok := s.Volumes.(driver.Snapshotter)
	if !ok {
		return mayfly.Errorf(mayfly.CodeConflict, "this pool cannot copy a volume that is in use")
	}
	n.TemplateID, n.TemplateVersion = p.TemplateID, p.TemplateVersion
	n.ObservedSHA, n.ObservedBaseRef, n.ObservedBaseSHA = p.ObservedSHA, p.ObservedBaseRef, p.ObservedBaseSHA
	err = s.step(ctx, p, "snapshot", n.Name, func(ctx context.Context) (string, error) {
		var held time.Duration
		err := shooter.Snapshot(ctx, p.Instance(), n.ID, func(ctx context.Context) (context.Context, func(), error) {
			return s.hold(ctx, p, &held)
		})
		return fmt.Sprintf("%s, held for %s", n.Name, held.Round(time.Millisecond)), snapshotError(err, p)
	})
	if err != nil {
		return err
	}
	s.Checkpoint("snapshot filled")
	if n.SizeBytes, err = s.Volumes.Size(ctx, n.ID); err != nil {
		return err
	}
	return s.Store.FinishSnapshot(ctx, n)
}

func snapshotError(err error, p *mayfly.Preview) error {
	switch {
	case errors.Is(err, driver.ErrNoSpace):
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is too full for a copy of preview %s: %w", p.Name, err).
			WithHint("remove previews (mayfly rm) or snapshots, or make the pool larger (pool.size)")
	case errors.Is(err, driver.ErrNotFound):
		return mayfly.Errorf(mayfly.CodeConflict, "the data of preview %s is not there: %w", p.Name, err).WithHint("connect to it, or reset it: mayfly reset %s", p.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return mayfly.Errorf(mayfly.CodeConflict, "preview %s cannot be held still for as long as this pool takes to copy it: %w", p.Name, err).
			WithHint("suspend it first (mayfly suspend %s): then nobody waits; a pool that shares blocks copies it in milliseconds", p.Name)
	}
	return err
}

// lockPreview waits for whoever is at work on the preview.
func (s *Service) lockPreview(ctx context.Context, id string) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	unlock, err = s.Store.Lock(ctx, "preview:"+id)
	if err != nil && ctx.Err() != nil {
		return nil, mayfly.Errorf(mayfly.CodeConflict, "the preview is being worked on, and that takes its time: %w", err).WithHint("try again when it is ready")
	}
	return unlock, err
}

// goOn lets converge have what it was kept from: who asked for something while the lock was taken was sent away.
func (s *Service) goOn(ctx context.Context, id string) {
	p, err := s.Store.Preview(ctx, id)
	if err == nil && !p.Settled() {
		err = s.Recheck(ctx, id)
	}
	if err != nil {
		s.Logger.WarnContext(ctx, "cannot look at a preview again; the periodic reconcile does", "preview", id, "error", err)
	}
}

// hold stops the processes of the preview until resume is called: what is on disk is then what a crash of Postgres would leave, of one
// moment, which is what its recovery is made for. Nothing is held if nothing runs.
func (s *Service) hold(ctx context.Context, p *mayfly.Preview, took *time.Duration) (held context.Context, resume func(), err error) {
	instance, err := s.Engine.Inspect(ctx, p.Instance())
	if errors.Is(err, driver.ErrNotFound) || (err == nil && !instance.Running) {
		return ctx, func() {}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	pauser, ok := s.Engine.(driver.Pauser)
	if !ok {
		return nil, nil, mayfly.Errorf(mayfly.CodeConflict, "this engine cannot hold a running preview still").WithHint("suspend it first: mayfly suspend %s", p.Name)
	}
	s.checkpointBefore(ctx, p)
	began := time.Now()
	if err := pauser.Pause(ctx, p.Instance()); err != nil {
		// It may have been paused all the same, if only the answer was lost.
		return nil, nil, errors.Join(err, s.letGo(ctx, pauser, p))
	}
	s.Checkpoint("held")
	held, cancel := context.WithTimeout(ctx, holdLimit)
	return held, func() {
		cancel()
		if err := s.letGo(ctx, pauser, p); err != nil {
			s.Logger.ErrorContext(ctx, "a preview stays held; the periodic reconcile lets it go", "preview", p.Name, "error", err)
		}
		*took = time.Since(began)
	}, nil
}

func (s *Service) letGo(ctx context.Context, pauser driver.Pauser, p *mayfly.Preview) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdLimit)
	defer cancel()
	err := pauser.Unpause(ctx, p.Instance())
	if errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return err
}

// checkpointBefore has Postgres write what it has in memory, so that little is left to be recovered. Without it the copy is as good.
func (s *Service) checkpointBefore(ctx context.Context, p *mayfly.Preview) {
	ctx, cancel := context.WithTimeout(ctx, checkpointTimeout)
	defer cancel()
	conn, err := cluster.Connect(ctx, s.Engine, p.Instance(), p.Database)
	if err == nil {
		_, err = conn.Exec(ctx, "checkpoint")
		_ = conn.Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		s.Logger.DebugContext(ctx, "no checkpoint before a snapshot", "preview", p.Name, "error", err)
	}
}

// dropSnapshot removes a snapshot, first from what can be used. Removing one that is removed does nothing.
func (s *Service) dropSnapshot(ctx context.Context, n *mayfly.Snapshot) error {
	if err := s.Store.DeleteSnapshot(ctx, n); err != nil {
		return err
	}
	return s.Volumes.Delete(ctx, n.ID)
}

// DeleteSnapshot removes a snapshot. Previews that were made from it keep their data.
func (s *Service) DeleteSnapshot(ctx context.Context, n *mayfly.Snapshot) error {
	if err := s.dropSnapshot(context.WithoutCancel(ctx), n); err != nil {
		return err
	}
	s.Logger.InfoContext(ctx, "snapshot removed", "snapshot", n.ID, "project", n.Project, "name", n.Name)
	return nil
}

// Restore brings a preview back to one of its snapshots, by id or name. What was written since is lost. The password stays.
func (s *Service) Restore(ctx context.Context, name, snapshot string, c ChangeOptions) (*mayfly.Preview, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	n, err := s.Store.SnapshotOf(ctx, p.ID, snapshot)
	if err != nil {
		return nil, err
	}
	return s.changeOnce(ctx, name, c, func(p *mayfly.Preview) error {
		if err := s.unprotected(p, "go back to a snapshot"); err != nil {
			return err
		}
		p.SnapshotID, p.TemplateID, p.TemplateVersion = n.ID, n.TemplateID, n.TemplateVersion
		p.Generation++
		p.WantSuspended = false
		return nil
	})
}

// originOf returns the snapshot that the preview's wanted generation is cloned from, nil if that is the template. CodeConflict if the
// snapshot is gone.
func (s *Service) originOf(ctx context.Context, p *mayfly.Preview) (*mayfly.Snapshot, error) {
	if p.SnapshotID == "" {
		return nil, nil //nolint:nilnil // it has none
	}
	n, err := s.Store.Snapshot(ctx, p.SnapshotID)
	if err != nil {
		return nil, err
	}
	if n.State != mayfly.SnapshotReady {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the snapshot that preview %s was made from is gone", p.Name).
			WithHint("reset it to a template: mayfly reset %s --template newest", p.Name)
	}
	return n, nil
}

// takeOver makes a clone of another preview's data this one's: nobody but its own owner can log in, whoever could before. Unqualified
// names would be looked up where the owner of the database says.
func takeOver(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview) error {
	if _, err := conn.Exec(ctx, "set search_path = pg_catalog"); err != nil {
		return fmt.Errorf("close the logins of preview %s: %w", p.Name, err)
	}
	rows, err := conn.Query(ctx, `select rolname from pg_catalog.pg_roles where rolcanlogin and rolname <> $1 and rolname <> $2`, cluster.AdminRole, p.Owner)
	if err != nil {
		return fmt.Errorf("list the logins of preview %s: %w", p.Name, err)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list the logins of preview %s: %w", p.Name, err)
	}
	for _, role := range roles {
		if _, err := conn.Exec(ctx, "alter role "+pgx.Identifier{role}.Sanitize()+" nologin password null"); err != nil {
			return fmt.Errorf("close the logins of preview %s: %w", p.Name, err)
		}
	}
	return nil
}

// removeSnapshotsOf removes what goes with a preview: its snapshots that are not kept, and the origin of a branch.
func (s *Service) removeSnapshotsOf(ctx context.Context, p *mayfly.Preview) error {
	all, err := s.Store.LiveSnapshots(ctx)
	if err != nil {
		return err
	}
	for _, n := range all {
		own := n.PreviewID == p.ID && !n.Keep && !n.Branch
		if !own || n.State != mayfly.SnapshotReady {
			continue
		}
		if err := s.dropSnapshot(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// dropOrigin removes the origin of a branch that is gone, if no branch of it needs it.
func (s *Service) dropOrigin(ctx context.Context, p *mayfly.Preview) error {
	if p.SnapshotID == "" {
		return nil
	}
	n, err := s.Store.Snapshot(ctx, p.SnapshotID)
	if err != nil || !n.Branch || n.State != mayfly.SnapshotReady {
		return err
	}
	used, err := s.Store.SnapshotInUse(ctx, n.ID)
	if err != nil || used {
		return err
	}
	return s.dropSnapshot(ctx, n)
}

// sweepSnapshots removes snapshots that nobody finished, the origins of branches that no preview needs any more, those whose preview
// is gone or whose time is up, and volumes that no snapshot owns.
func (s *Service) sweepSnapshots(ctx context.Context, volumes []driver.Volume, live map[string]bool) error {
	all, err := s.Store.LiveSnapshots(ctx) // after the volumes: one that is made in between has its row now
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, n := range all {
		known[n.ID] = true
		if err := s.sweepSnapshot(ctx, n, live); err != nil {
			return err
		}
	}
	for _, volume := range volumes {
		if volume.ID[0] != 'n' || len(volume.ID) != len(mayfly.NewID("n")) || known[volume.ID] {
			continue
		}
		s.Logger.WarnContext(ctx, "removing a volume that no snapshot owns", "volume", volume.ID)
		if err := s.Volumes.Delete(ctx, volume.ID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) sweepSnapshot(ctx context.Context, n *mayfly.Snapshot, live map[string]bool) error {
	expired := n.Keep && n.ExpiresAt != nil && n.ExpiresAt.Before(s.Clock())
	orphan := !n.Keep && !n.Branch && !live[n.PreviewID]
	if orphan { // a preview that was made since the list was read has its row
		of, err := s.Store.Preview(ctx, n.PreviewID)
		if err != nil {
			return err
		}
		orphan = of.State == mayfly.PreviewDeleted
	}
	if n.State == mayfly.SnapshotReady && !n.Branch && !expired && !orphan {
		return nil
	}
	unlock, ok, err := s.Store.TryLock(ctx, snapshotLock(n.ID))
	if err != nil || !ok { // somebody is making it, or what it is made for
		return err
	}
	defer unlock()
	if n.Branch {
		used, err := s.Store.SnapshotInUse(ctx, n.ID)
		if err != nil || used {
			return err
		}
	}
	if !n.Branch && !expired && !orphan { // it was being made when it was listed
		now, err := s.Store.Snapshot(ctx, n.ID)
		if err != nil || now.State != mayfly.SnapshotMaking {
			return err
		}
	}
	s.Logger.InfoContext(ctx, "removing a snapshot", "snapshot", n.ID, "name", n.Name, "branch", n.Branch, "expired", expired)
	return s.dropSnapshot(ctx, n)
}
