package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

const previewColumns = `id, name, project, kind, repository_id, number, repository, head_sha, base_ref, base_sha, title,
	coalesce(template_id, ''), coalesce((select version from template where template.id = template_id), 0), generation, want_suspended, want_deleted, expires_at, state, observed_generation, observed_sha, observed_base_ref, observed_base_sha,
	failure, database, owner, password_sealed, labels, created_by, created_at, ready_at, last_used_at, deleted_at,
	head_ref, fork, draft, pr_labels, author, schema_only, keep, closed_at,
	created_token, reserved_memory, reserved_disk, queued_at, queued_why,
	revision, protected_until, protected_by, protected_reason, size_class, coalesce(snapshot_id, ''), coalesce(parent_id, ''),
	coalesce((select parent.name from preview parent where parent.id = preview.parent_id and parent.state <> 'deleted'), ''),
	password_version, observed_password`

func scanPreview(row pgx.Row) (*mayfly.Preview, error) {
	var p mayfly.Preview
	var repositoryID *int64
	var number *int
	var repository, headSHA, baseRef, baseSHA, title *string
	var pr mayfly.PullRequest
	err := row.Scan(&p.ID, &p.Name, &p.Project, &p.Kind, &repositoryID, &number, &repository, &headSHA, &baseRef, &baseSHA, &title,
		&p.TemplateID, &p.TemplateVersion, &p.Generation, &p.WantSuspended, &p.WantDeleted, &p.ExpiresAt, &p.State, &p.ObservedGeneration, &p.ObservedSHA, &p.ObservedBaseRef, &p.ObservedBaseSHA,
		&p.Failure, &p.Database, &p.Owner, &p.PasswordSealed, &p.Labels, &p.CreatedBy, &p.CreatedAt, &p.ReadyAt, &p.LastUsedAt, &p.DeletedAt,
		&pr.HeadRef, &pr.Fork, &pr.Draft, &pr.Labels, &pr.Author, &p.SchemaOnly, &p.Keep, &p.ClosedAt,
		&p.CreatedToken, &p.ReservedMemory, &p.ReservedDisk, &p.QueuedAt, &p.QueuedWhy,
		&p.Revision, &p.ProtectedUntil, &p.ProtectedBy, &p.ProtectedReason, &p.SizeClass, &p.SnapshotID, &p.ParentID, &p.ParentName,
		&p.PasswordVersion, &p.ObservedPassword)
	if err != nil {
		return nil, err
	}
	if repositoryID != nil && number != nil {
		pr.RepositoryID, pr.Number, pr.Repository, pr.HeadSHA = *repositoryID, *number, deref(repository), deref(headSHA)
		pr.BaseRef, pr.BaseSHA, pr.Title = deref(baseRef), deref(baseSHA), deref(title)
		p.PR = &pr
	}
	return &p, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// CreatePreview stores a new preview and the job that makes it. CodeConflict if a live one has the name or the pull
// request. If there is no room for it, which holds also for concurrent calls, it is stored as queued or refused with
// CodeQuotaExceeded (or limits.Full), as limits.Queue says.
func (s *Store) CreatePreview(ctx context.Context, p *mayfly.Preview, limits Limits) error {
	return s.CreatePreviewOnce(ctx, nil, p, limits)
}

// CreatePreviewOnce is CreatePreview for a request that may be made again: if it was made before, nothing is stored and the error is
// a *DoneError. once may be nil.
func (s *Store) CreatePreviewOnce(ctx context.Context, once *Once, p *mayfly.Preview, limits Limits) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := once.claim(ctx, tx, p.ID); err != nil {
			return err
		}
		if p.CreatedToken == "" {
			p.CreatedToken = mayfly.ActorOf(ctx).TokenID
		}
		why, err := s.room(ctx, tx, p, limits)
		if err != nil {
			return err
		}
		if p.State, p.QueuedWhy = mayfly.PreviewPending, ""; why != nil {
			if !limits.Queue {
				return why
			}
			if err := mayWait(ctx, tx, p, why); err != nil {
				return err
			}
			p.State, p.QueuedWhy = mayfly.PreviewQueued, why.Error()
		}
		pr := p.PR
		if pr == nil {
			pr = &mayfly.PullRequest{}
		}
		err = tx.QueryRow(ctx, `
			insert into preview (id, name, project, kind, repository_id, number, repository, head_sha, base_ref, base_sha, title,
				template_id, generation, want_suspended, want_deleted, expires_at, password_sealed, labels, created_by, database, owner,
				head_ref, fork, draft, pr_labels, author, schema_only, keep,
				state, queued_at, queued_why, created_token, reserved_memory, reserved_disk, size_class, snapshot_id, parent_id)
			values ($1, $2, $3, $4, nullif($5::bigint, 0), nullif($6::int, 0), $7, $8, $9, $10, $11,
				nullif($12, ''), $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28,
				$29, case when $29 = 'queued' then now() end, $30, $31, $32, $33, $34, nullif($35, ''), nullif($36, ''))
			returning state, created_at, revision`,
			p.ID, p.Name, p.Project, p.Kind, pr.RepositoryID, pr.Number, pr.Repository, pr.HeadSHA, pr.BaseRef, pr.BaseSHA, pr.Title,
			p.TemplateID, p.Generation, p.WantSuspended, p.WantDeleted, p.ExpiresAt, p.PasswordSealed, labelsOf(p), p.CreatedBy, p.Database, p.Owner,
			pr.HeadRef, pr.Fork, pr.Draft, textsOf(pr.Labels), pr.Author, p.SchemaOnly, p.Keep,
			string(p.State), p.QueuedWhy, p.CreatedToken, p.ReservedMemory, p.ReservedDisk, p.SizeClass, p.SnapshotID, p.ParentID).
			Scan(&p.State, &p.CreatedAt, &p.Revision)
		if isCode(err, "23505") {
			return mayfly.Errorf(mayfly.CodeConflict, "a preview named %s already exists", p.Name).
				WithHint("choose another name, or remove it first: mayfly rm %s", p.Name)
		}
		if err != nil {
			return err
		}
		if err := s.auditPreview(ctx, tx, p, "preview.create", createdDetail(p)); err != nil {
			return err
		}
		if p.State != mayfly.PreviewQueued {
			return s.jobs.Converge(ctx, tx, p.ID)
		}
		if p.Kind == mayfly.KindPullRequest {
			return s.jobs.Publish(ctx, tx, p.ID, false) // that it waits
		}
		return nil
	})
	if err != nil {
		return failed(err, "create preview %s", p.Name)
	}
	return nil
}

func labelsOf(p *mayfly.Preview) map[string]string {
	if p.Labels == nil {
		return map[string]string{}
	}
	return p.Labels
}

func textsOf(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

// Preview returns a preview by id, deleted or not. CodeNotFound if there is none.
func (s *Store) Preview(ctx context.Context, id string) (*mayfly.Preview, error) {
	return s.onePreview(ctx, id, `where id = $1`, id)
}

// PreviewByName returns the live preview of that name. CodeNotFound if there is none.
func (s *Store) PreviewByName(ctx context.Context, name string) (*mayfly.Preview, error) {
	return s.onePreview(ctx, name, `where name = $1 and state <> 'deleted'`, name)
}

// PreviewByPullRequest returns the live preview of a pull request in a project. CodeNotFound if there is none.
func (s *Store) PreviewByPullRequest(ctx context.Context, project string, repositoryID int64, number int) (*mayfly.Preview, error) {
	return s.onePreview(ctx, mayfly.PullRequestName(project, number),
		`where project = $1 and repository_id = $2 and number = $3 and state <> 'deleted'`, project, repositoryID, number)
}

// PullRequestExpired reports whether the last preview that a pull request had for this head commit was removed because its
// time was up, rather than because the pull request was closed.
func (s *Store) PullRequestExpired(ctx context.Context, project string, repositoryID int64, number int, sha string) (bool, error) {
	var expired bool
	err := s.pool.QueryRow(ctx, `
		select coalesce((
			select state = 'deleted' and head_sha = $4 and coalesce(expires_at <= deleted_at, false) from preview
			where project = $1 and repository_id = $2 and number = $3 order by created_at desc, id limit 1), false)`,
		project, repositoryID, number, sha).Scan(&expired)
	if err != nil {
		return false, failed(err, "look for an expired preview of %s", mayfly.PullRequestName(project, number))
	}
	return expired, nil
}

func (s *Store) onePreview(ctx context.Context, what, where string, args ...any) (*mayfly.Preview, error) {
	p, err := scanPreview(s.pool.QueryRow(ctx, `select `+previewColumns+` from preview `+where, args...))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, notFoundPreview(what)
	}
	if err != nil {
		return nil, failed(err, "read preview %s", what)
	}
	return p, nil
}

func notFoundPreview(what string) error {
	return mayfly.Errorf(mayfly.CodeNotFound, "there is no preview %s", what).WithHint("mayfly ls shows all previews")
}

// ChangePreview changes what should be: change is called with the current row locked and may set Generation,
// WantSuspended, WantDeleted, ExpiresAt, Keep, SchemaOnly, ClosedAt, TemplateID, PasswordSealed, PasswordVersion, SnapshotID, Protected*,
// SizeClass, Labels and the fields of PR except its identity;
// everything else is ignored. The change and the job that converges are stored together. It returns the new row.
// An error of change is returned as it is and nothing is stored.
func (s *Store) ChangePreview(ctx context.Context, id string, change func(*mayfly.Preview) error) (*mayfly.Preview, error) {
	return s.ChangePreviewOnce(ctx, nil, id, change)
}

// ChangePreviewOnce is ChangePreview for a request that may be made again: if it was made before, nothing is stored and the error is
// a *DoneError. once may be nil.
func (s *Store) ChangePreviewOnce(ctx context.Context, once *Once, id string, change func(*mayfly.Preview) error) (*mayfly.Preview, error) {
	var changed *mayfly.Preview
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if err := once.claim(ctx, tx, id); err != nil {
			return err
		}
		p, err := scanPreview(tx.QueryRow(ctx, `select `+previewColumns+` from preview where id = $1 for update`, id))
		if errors.Is(err, pgx.ErrNoRows) {
			return notFoundPreview(id)
		}
		if err != nil {
			return err
		}
		before := p.Clone()
		if err := change(p); err != nil {
			return err
		}
		if err := s.checkChange(ctx, tx, before, p); err != nil {
			return err
		}
		pr := p.PR
		if pr == nil {
			pr = &mayfly.PullRequest{}
		}
		err = tx.QueryRow(ctx, `
			update preview set generation = $2, want_suspended = $3, want_deleted = $4, expires_at = $5, template_id = nullif($6, ''),
				password_sealed = $7, labels = $8, repository = $9, head_sha = $10, base_ref = $11, base_sha = $12, title = $13,
				head_ref = $14, fork = $15, draft = $16, pr_labels = $17, author = $18, schema_only = $19, keep = $20, closed_at = $21,
				protected_until = $22, protected_by = $23, protected_reason = $24, size_class = $25, snapshot_id = nullif($26, ''), password_version = $27
			where id = $1
			returning revision`,
			id, p.Generation, p.WantSuspended, p.WantDeleted, p.ExpiresAt, p.TemplateID, p.PasswordSealed, labelsOf(p),
			pr.Repository, pr.HeadSHA, pr.BaseRef, pr.BaseSHA, pr.Title,
			pr.HeadRef, pr.Fork, pr.Draft, textsOf(pr.Labels), pr.Author, p.SchemaOnly, p.Keep, p.ClosedAt,
			p.ProtectedUntil, p.ProtectedBy, p.ProtectedReason, p.SizeClass, p.SnapshotID, p.PasswordVersion).
			Scan(&p.Revision)
		if err != nil {
			return err
		}
		changed = p
		if err := s.auditChange(ctx, tx, before, p); err != nil {
			return err
		}
		return s.jobs.Converge(ctx, tx, id)
	})
	if err != nil {
		return nil, failed(err, "change preview %s", id)
	}
	return changed, nil
}

// Observe stores what is: State, ObservedGeneration, ObservedSHA, ObservedBaseRef, ObservedBaseSHA, Failure, TemplateID, Database, Owner, ReadyAt and DeletedAt of
// p. Only the holder of the preview's lock calls it. A pull request's preview whose state changed gets a job that
// tells the forge.
func (s *Store) Observe(ctx context.Context, p *mayfly.Preview) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update preview set state = $2, observed_generation = $3, observed_sha = $4, failure = $5, template_id = nullif($6, ''),
				database = $7, owner = $8, ready_at = $9, deleted_at = $10, observed_base_ref = $11, observed_base_sha = $12,
				observed_password = $13
			where id = $1 and state <> 'deleted'`, // whoever lost the lock with its connection must not bring it back
			p.ID, p.State, p.ObservedGeneration, p.ObservedSHA, p.Failure, p.TemplateID, p.Database, p.Owner, p.ReadyAt, p.DeletedAt,
			p.ObservedBaseRef, p.ObservedBaseSHA, p.ObservedPassword)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			if err := s.recordOutgoing(ctx, tx, p); err != nil {
				return err
			}
		}
		if p.Kind != mayfly.KindPullRequest {
			return nil
		}
		if p.PR != nil {
			if err := wantPublished(ctx, tx, publishKey(p), p.ID); err != nil {
				return err
			}
		}
		settled := p.State == mayfly.PreviewReady || p.State == mayfly.PreviewFailed || p.State == mayfly.PreviewDeleted
		return s.jobs.Publish(ctx, tx, p.ID, settled)
	})
	if err != nil {
		return failed(err, "record preview %s as %s", p.Name, p.State)
	}
	return nil
}

// Touch records that the preview was used at that time, if that is later than what is known.
func (s *Store) Touch(ctx context.Context, id string, at time.Time) error {
	_, err := s.pool.Exec(ctx, lazily+`
		update preview set last_used_at = greatest(last_used_at, $2) from lazily where id = $1 and state <> 'deleted'`, id, at)
	if err != nil {
		return failed(err, "record use of preview %s", id)
	}
	return nil
}

// SetMigrated stores which migrations a preview has (applied, opaque JSON of the caller) and the report of the last run.
func (s *Store) SetMigrated(ctx context.Context, id string, applied, report json.RawMessage) error {
	_, err := s.pool.Exec(ctx, `update preview set applied = $2, report = $3 where id = $1`, id, nullJSON(applied), nullJSON(report))
	if err != nil {
		return failed(err, "store the migration report of preview %s", id)
	}
	return nil
}

// Migrated returns what SetMigrated stored, with what is known now of other pull requests in the report (SetOthers); nil for what
// was never stored.
func (s *Store) Migrated(ctx context.Context, id string) (applied, report json.RawMessage, err error) {
	var a, r []byte
	err = s.pool.QueryRow(ctx, `select applied, case when others is null then report else report || jsonb_build_object('others', others) end from preview where id = $1`, id).Scan(&a, &r)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, notFoundPreview(id)
	}
	if err != nil {
		return nil, nil, failed(err, "read the migration report of preview %s", id)
	}
	return a, r, nil
}

func nullJSON(j json.RawMessage) any {
	if len(j) == 0 {
		return nil
	}
	return string(j)
}
