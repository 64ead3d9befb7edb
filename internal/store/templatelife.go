package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// PromoteTemplate stores a finished build: everything that UpdateTemplate stores, and, in the same transaction, retires the ready
// templates of its project beyond the newest keep. From the moment that this commits new previews are clones of t.
// CodeCancelled if somebody cancelled the build meanwhile, and nothing is changed.
func (s *Store) PromoteTemplate(ctx context.Context, t *mayfly.Template, keep int) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update template set state = $2, image = $3, major = $4, size_bytes = $5, row_count = $6, report = $7, failure = null, ready_at = $8,
				attestation = $9, progress = null
			where id = $1 and state = 'building' and cancelled is null`,
			t.ID, mayfly.TemplateReady, t.Image, t.Major, t.SizeBytes, t.RowCount, nullJSON(t.Report), t.ReadyAt, t.Attestation)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return mayfly.Errorf(mayfly.CodeCancelled, "the build of template %s was cancelled when it was about to be promoted", t.ID)
		}
		_, err = tx.Exec(ctx, `
			update template set state = 'retired'
			where id in (select id from template where project = $1 and state = 'ready' order by version desc offset $2)`,
			t.Project, max(keep, 1))
		if err != nil {
			return err
		}
		return s.auditTemplate(ctx, tx, t, "template.promote", nil)
	})
	if err != nil {
		return failed(err, "promote template %s", t.ID)
	}
	return nil
}

// CancelTemplate marks a build as one that shall stop; the process that builds reads the mark. The first mark stays.
// CodeNotFound if there is no such template, CodeConflict if it is not being built.
func (s *Store) CancelTemplate(ctx context.Context, id string, mark mayfly.Mark) (*mayfly.Template, error) {
	var t *mayfly.Template
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		var err error
		t, err = scanTemplate(tx.QueryRow(ctx, `
			update template set cancelled = coalesce(cancelled, $2) where id = $1 and state = 'building' returning `+templateColumns, id, mark))
		if err != nil {
			return err
		}
		return s.auditTemplate(ctx, tx, t, "template.cancel", map[string]any{"reason": mark.Reason})
	})
	if err == nil {
		return t, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return nil, failed(err, "cancel the build of template %s", id)
	}
	if t, err = s.Template(ctx, id); err != nil {
		return nil, err
	}
	return nil, mayfly.Errorf(mayfly.CodeConflict, "template %s is not being built: it is %s", id, t.State).
		WithHint("remove a finished one that nothing uses with: mayfly template rm %s", id)
}

// RollBackTemplates makes the template of that version the one that new previews of the project use, and returns it first and then
// those newer ones that it takes out of use; version 0 is the newest one before the current. Those are retired and marked;
// previews that use them keep them. In one transaction, so that there is a current template at every moment.
// CodeNoTemplate if the project has no ready template, CodeConflict if there is none to go back to.
func (s *Store) RollBackTemplates(ctx context.Context, project string, version int, mark mayfly.Mark) ([]*mayfly.Template, error) {
	var changed []*mayfly.Template
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		all, err := lockTemplates(ctx, tx, project)
		if err != nil {
			return err
		}
		target, err := rollbackTarget(all, project, version)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `update template set state = 'ready', rolled_back = null where id = $1`, target.ID); err != nil {
			return err
		}
		target.State, target.RolledBack = mayfly.TemplateReady, nil
		changed = append(changed, target)
		for _, t := range all {
			if t.Version <= target.Version || t.State != mayfly.TemplateReady {
				continue
			}
			if _, err := tx.Exec(ctx, `update template set state = 'retired', rolled_back = $2 where id = $1`, t.ID, mark); err != nil {
				return err
			}
			t.State, t.RolledBack = mayfly.TemplateRetired, &mark
			changed = append(changed, t)
		}
		return s.auditTemplate(ctx, tx, target, "template.rollback", map[string]any{"reason": mark.Reason, "retired": len(changed) - 1})
	})
	if err != nil {
		return nil, failed(err, "roll back the templates of project %s", project)
	}
	return changed, nil
}

// lockTemplates returns a project's templates that have a volume, newest first, and keeps others from changing them.
func lockTemplates(ctx context.Context, tx pgx.Tx, project string) ([]*mayfly.Template, error) {
	rows, err := tx.Query(ctx, `
		select `+templateColumns+` from template where project = $1 and state in ('ready', 'retired') order by version desc for update`, project)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Template, error) { return scanTemplate(row) })
}

// rollbackTarget picks the template to go back to; all are those that have a volume, newest first.
func rollbackTarget(all []*mayfly.Template, project string, version int) (*mayfly.Template, error) {
	var current *mayfly.Template
	for _, t := range all {
		if t.State == mayfly.TemplateReady {
			current = t
			break
		}
	}
	if current == nil {
		return nil, mayfly.Errorf(mayfly.CodeNoTemplate, "project %s has no template in use", project).
			WithHint("build one: mayfly template build --project %s --wait", project)
	}
	if version == current.Version {
		return nil, mayfly.Errorf(mayfly.CodeConflict, "v%d is the template that new previews of %s use already", version, project)
	}
	for _, t := range all {
		// By default not one that was taken out of use before: it was bad then.
		if t.Version == version || version == 0 && t.Version < current.Version && t.RolledBack == nil {
			return t, nil
		}
	}
	if version != 0 {
		return nil, mayfly.Errorf(mayfly.CodeConflict, "there is no finished template v%d of project %s to go back to", version, project).
			WithHint("mayfly template ls --project %s shows which there are: ready and retired ones", project)
	}
	return nil, mayfly.Errorf(mayfly.CodeConflict, "project %s has no template before v%d any more", project, current.Version).
		WithHint("set keep_templates to 2 or more, so that there is one to go back to; or build a new one: mayfly template build --project %s", project)
}

// DeleteTemplate records that a template is deleted, if it is in one of the states and no live preview uses it; its volume may be
// removed then. It tells whether it did. A preview that is being given the template at the same moment wins or takes another.
func (s *Store) DeleteTemplate(ctx context.Context, id string, from ...mayfly.TemplateState) (bool, error) {
	done := false
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		// The foreign key of a preview takes a lock that this one waits for, and the other way round.
		if _, err := tx.Exec(ctx, `select from template where id = $1 for update`, id); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			update template set state = 'deleted'
			where id = $1 and state = any($2) and not exists (select from preview where template_id = $1 and state <> 'deleted')`, id, from)
		done = err == nil && tag.RowsAffected() == 1
		if err != nil || !done {
			return err
		}
		return s.auditDeletedTemplate(ctx, tx, id)
	})
	if err != nil {
		return false, failed(err, "delete template %s", id)
	}
	return done, nil
}

// CurrentTemplates returns, for each project, when the build of the template that new previews use was begun. It needs no Store: the
// connection is to a state database whose schema is DefaultSchema, and nothing is changed.
func CurrentTemplates(ctx context.Context, conn *pgx.Conn) (map[string]time.Time, error) {
	rows, err := conn.Query(ctx, `
		select distinct on (project) project, created_at from `+pgx.Identifier{DefaultSchema, "template"}.Sanitize()+`
		where state = 'ready' order by project, version desc`)
	if err != nil {
		return nil, failed(err, "read the current templates")
	}
	current := map[string]time.Time{}
	var project string
	var created time.Time
	_, err = pgx.ForEachRow(rows, []any{&project, &created}, func() error {
		current[project] = created
		return nil
	})
	if isCode(err, "42P01") || isCode(err, "3F000") { // the service was never started on it
		return current, nil
	}
	if err != nil {
		return nil, failed(err, "read the current templates")
	}
	return current, nil
}

// ScheduledTemplate is a slot of a project's schedule.
type ScheduledTemplate struct {
	Project string
	// Spec is the schedule and its time zone as text: one that changed starts anew.
	Spec string
	// SlotAt is the moment that the schedule names next, DueAt is that with its jitter.
	SlotAt, DueAt time.Time
	// LastSlotAt and LastRunAt are when the last build should have been and was asked for, LastTemplateID what came of it, and
	// LastOutcome says it in words.
	LastSlotAt, LastRunAt *time.Time
	LastTemplateID        string
	LastOutcome           string
}

const scheduleColumns = `project, spec, slot_at, due_at, last_slot_at, last_run_at, coalesce(last_template_id, ''), last_outcome`

func scanSchedule(row pgx.Row) (*ScheduledTemplate, error) {
	var s ScheduledTemplate
	err := row.Scan(&s.Project, &s.Spec, &s.SlotAt, &s.DueAt, &s.LastSlotAt, &s.LastRunAt, &s.LastTemplateID, &s.LastOutcome)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// TemplateSchedule returns the slot of a project, nil if it has none.
func (s *Store) TemplateSchedule(ctx context.Context, project string) (*ScheduledTemplate, error) {
	slot, err := scanSchedule(s.pool.QueryRow(ctx, `select `+scheduleColumns+` from template_schedule where project = $1`, project))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, failed(err, "read the schedule of project %s", project)
	}
	return slot, nil
}

// AdvanceSchedule calls decide with the slot of a project, nil if there is none, and stores the slot that it returns, in one
// transaction that no other process has at the same time for that project. decide may return a template, which then is
// created with the job that builds it; it returns no slot if nothing is to change. If a template of the project is being built already the
// slot is stored with that outcome. It returns the template that was created.
func (s *Store) AdvanceSchedule(
	ctx context.Context, project string, decide func(now *ScheduledTemplate) (next *ScheduledTemplate, build *mayfly.Template, err error),
) (*mayfly.Template, error) {
	var created *mayfly.Template
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('template schedule ' || $1, 0))`, project); err != nil {
			return err
		}
		now, err := scanSchedule(tx.QueryRow(ctx, `select `+scheduleColumns+` from template_schedule where project = $1`, project))
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		next, build, err := decide(now)
		if err != nil || next == nil {
			return err
		}
		if build != nil {
			err := s.createTemplate(ctx, tx, build)
			switch {
			case err == nil:
				created = build
				next.LastTemplateID = build.ID
			case mayfly.ErrorCode(err) == mayfly.CodeConflict:
				next.LastOutcome = "left out: " + err.Error()
			default:
				return err
			}
		}
		_, err = tx.Exec(ctx, `
			insert into template_schedule (project, spec, slot_at, due_at, last_slot_at, last_run_at, last_template_id, last_outcome)
			values ($1, $2, $3, $4, $5, $6, nullif($7, ''), $8)
			on conflict (project) do update set (spec, slot_at, due_at, last_slot_at, last_run_at, last_template_id, last_outcome, updated_at) =
				row(excluded.spec, excluded.slot_at, excluded.due_at, excluded.last_slot_at, excluded.last_run_at, excluded.last_template_id,
					excluded.last_outcome, now())`,
			project, next.Spec, next.SlotAt, next.DueAt, next.LastSlotAt, next.LastRunAt, next.LastTemplateID, next.LastOutcome)
		return err
	})
	if err != nil {
		return nil, failed(err, "advance the schedule of project %s", project)
	}
	return created, nil
}

// DropSchedule forgets the slot of a project that is not built by schedule any more.
func (s *Store) DropSchedule(ctx context.Context, project string) error {
	if _, err := s.pool.Exec(ctx, `delete from template_schedule where project = $1`, project); err != nil {
		return failed(err, "forget the schedule of project %s", project)
	}
	return nil
}
