package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// TemplateMigrations is what is known of the migrations that a template came with.
type TemplateMigrations struct {
	// SHA is the head of the default branch when the template became ready.
	SHA        string
	RecordedAt time.Time
	// Settings, State and Files are JSON of the caller's; nil until the template was read. State is what the tracking
	// table said, read with Settings, and Files are those of SHA that it lists.
	Settings, State, Files json.RawMessage
}

// RecordTemplateCommit stores the commit of a template, once: a later call changes nothing.
func (s *Store) RecordTemplateCommit(ctx context.Context, templateID, sha string) error {
	_, err := s.pool.Exec(ctx, `insert into template_migrations (template_id, sha) values ($1, $2) on conflict do nothing`, templateID, sha)
	if err != nil {
		return failed(err, "record the commit of template %s", templateID)
	}
	return nil
}

// RecordTemplateState stores what the tracking table of a template says, which is the same for all of its previews as long as the
// settings are.
func (s *Store) RecordTemplateState(ctx context.Context, templateID string, settings, state, files json.RawMessage) error {
	_, err := s.pool.Exec(ctx, `update template_migrations set settings = $2, state = $3, files = $4 where template_id = $1`,
		templateID, nullJSON(settings), nullJSON(state), nullJSON(files))
	if err != nil {
		return failed(err, "record the migrations of template %s", templateID)
	}
	return nil
}

// TemplateMigrations returns what was recorded of a template, nil if nothing was.
func (s *Store) TemplateMigrations(ctx context.Context, templateID string) (*TemplateMigrations, error) {
	var m TemplateMigrations
	var settings, state, files []byte
	err := s.pool.QueryRow(ctx, `select sha, recorded_at, settings, state, files from template_migrations where template_id = $1`, templateID).
		Scan(&m.SHA, &m.RecordedAt, &settings, &state, &files)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(err, "read the migrations of template %s", templateID)
	}
	m.Settings, m.State, m.Files = settings, state, files
	return &m, nil
}

// UnrecordedTemplates returns the newest ready template of each project, if it has no commit on record.
func (s *Store) UnrecordedTemplates(ctx context.Context) ([]*mayfly.Template, error) {
	rows, err := s.pool.Query(ctx, `
		select `+templateColumns+` from template t
		where state = 'ready' and not exists (select from template_migrations m where m.template_id = t.id)
			and version = (select max(version) from template n where n.project = t.project and n.state = 'ready')`)
	if err != nil {
		return nil, failed(err, "look for templates without a commit")
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Template, error) { return scanTemplate(row) })
	if err != nil {
		return nil, failed(err, "look for templates without a commit")
	}
	return found, nil
}

// SetOnTop stores which versions a preview has, or is to get, on top of its template.
func (s *Store) SetOnTop(ctx context.Context, id string, versions []string) error {
	_, err := s.pool.Exec(ctx, `update preview set on_top = to_jsonb($2::text[]) where id = $1`, id, versions)
	if err != nil {
		return failed(err, "record the migrations of preview %s", id)
	}
	return nil
}

// OnTop returns what SetOnTop stored last.
func (s *Store) OnTop(ctx context.Context, id string) ([]string, error) {
	var versions []string
	err := s.pool.QueryRow(ctx, `select array(select jsonb_array_elements_text(coalesce(on_top, '[]'))) from preview where id = $1`, id).Scan(&versions)
	if err != nil {
		return nil, failed(err, "read the migrations of preview %s", id)
	}
	return versions, nil
}

// SetReport stores a report again: that of a run whose figures stay and about which there is more to say now.
func (s *Store) SetReport(ctx context.Context, id string, report json.RawMessage) error {
	_, err := s.pool.Exec(ctx, `update preview set report = $2::jsonb - 'others' where id = $1`, id, nullJSON(report))
	if err != nil {
		return failed(err, "store the migration report of preview %s", id)
	}
	return nil
}

// Publish asks for the forge to be told about a preview.
func (s *Store) Publish(ctx context.Context, id string) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error { return s.jobs.Publish(ctx, tx, id, true) })
	if err != nil {
		return failed(err, "ask for preview %s to be published", id)
	}
	return nil
}

// SetRehearsalDue stores whether the rollback of what a preview has is still to be tried.
func (s *Store) SetRehearsalDue(ctx context.Context, id string, due bool) error {
	_, err := s.pool.Exec(ctx, `update preview set rehearsal_due = $2 where id = $1 and rehearsal_due <> $2`, id, due)
	if err != nil {
		return failed(err, "record the rehearsal of preview %s", id)
	}
	return nil
}

// RehearsalDue reports what SetRehearsalDue stored last.
func (s *Store) RehearsalDue(ctx context.Context, id string) (bool, error) {
	var due bool
	if err := s.pool.QueryRow(ctx, `select rehearsal_due from preview where id = $1`, id).Scan(&due); err != nil {
		return false, failed(err, "look for the rehearsal of preview %s", id)
	}
	return due, nil
}

// RehearsalsDue returns the ready previews whose rehearsal is due: one that was broken off.
func (s *Store) RehearsalsDue(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, `select id from preview where rehearsal_due and state = 'ready' and not want_deleted order by id`)
	if err != nil {
		return nil, failed(err, "look for rehearsals")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, failed(err, "look for rehearsals")
	}
	return ids, nil
}

// Touched is what the pull request of a live preview adds and works on.
type Touched struct {
	PreviewID, Preview, Title string
	Number                    int
	// Touched is JSON of the caller's; nil if it is not known.
	Touched json.RawMessage
}

// Touched returns what SetTouched stored last of a preview.
func (s *Store) Touched(ctx context.Context, id string) (json.RawMessage, error) {
	var raw []byte
	if err := s.pool.QueryRow(ctx, `select touched from preview where id = $1`, id).Scan(&raw); err != nil {
		return nil, failed(err, "read what preview %s touches", id)
	}
	return raw, nil
}

// SetTouched stores what the pull request of a preview adds and works on, and computes anew what that means for each live
// pull request of the project and its repository: others is called with all of them and returns, by preview, the JSON that
// Migrated puts into reports as "others" (nothing for no entry). Those to which it is news are published.
func (s *Store) SetTouched(
	ctx context.Context, p *mayfly.Preview, touched json.RawMessage, others func([]Touched) (map[string]json.RawMessage, error),
) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		// Whoever comes second sees what the first stored.
		lock := "touched:" + p.Project
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, lock); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `update preview set touched = $2 where id = $1`, p.ID, nullJSON(touched)); err != nil {
			return err
		}
		all, err := allTouched(ctx, tx, p)
		if err != nil {
			return err
		}
		now, err := others(all)
		if err != nil {
			return err
		}
		for _, t := range all {
			tag, err := tx.Exec(ctx, `update preview set others = $2::jsonb where id = $1 and others is distinct from $2::jsonb`, t.PreviewID, nullJSON(now[t.PreviewID]))
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 || t.PreviewID == p.ID {
				continue
			}
			if err := s.jobs.Publish(ctx, tx, t.PreviewID, true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failed(err, "compare preview %s with other pull requests", p.Name)
	}
	return nil
}

func allTouched(ctx context.Context, tx pgx.Tx, p *mayfly.Preview) ([]Touched, error) {
	rows, err := tx.Query(ctx, `
		select id, name, coalesce(title, ''), number, touched from preview
		where project = $1 and repository_id = $2 and not want_deleted and state not in ('deleting', 'deleted') order by number`,
		p.Project, p.PR.RepositoryID)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Touched, error) {
		var t Touched
		var raw []byte
		err := row.Scan(&t.PreviewID, &t.Preview, &t.Title, &t.Number, &raw)
		t.Touched = raw
		return t, err
	})
}
