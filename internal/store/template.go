package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

const templateColumns = `id, project, version, state, image, major, database, owner, source, size_bytes, row_count, report, failure,
	created_at, ready_at, attestation, cause, requested_by, cancelled, rolled_back`

func scanTemplate(row pgx.Row) (*mayfly.Template, error) {
	var t mayfly.Template
	err := row.Scan(&t.ID, &t.Project, &t.Version, &t.State, &t.Image, &t.Major, &t.Database, &t.Owner, &t.Source, &t.SizeBytes, &t.RowCount,
		&t.Report, &t.Failure, &t.CreatedAt, &t.ReadyAt, &t.Attestation, &t.Cause, &t.RequestedBy, &t.Cancelled, &t.RolledBack)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// CreateTemplate stores a new template in state building, with the next version of its project, and the job that
// builds it. CodeConflict if one of that project is being built.
func (s *Store) CreateTemplate(ctx context.Context, t *mayfly.Template) error {
	if err := s.inTx(ctx, func(tx pgx.Tx) error { return s.createTemplate(ctx, tx, t) }); err != nil {
		return failed(err, "create a template of project %s", t.Project)
	}
	return nil
}

// createTemplate is CreateTemplate as part of a transaction, which stays usable after CodeConflict.
func (s *Store) createTemplate(ctx context.Context, tx pgx.Tx, t *mayfly.Template) error {
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('create template ' || $1, 0))`, t.Project); err != nil {
		return err
	}
	err := tx.QueryRow(ctx, `
		insert into template (id, project, version, state, image, major, database, owner, source, cause, requested_by)
		select $1, $2::text, coalesce(max(version), 0) + 1, 'building', $3, $4, $5, $6, $7, coalesce(nullif($8, ''), 'request'), $9
		from template where project = $2
		on conflict (project) where state = 'building' do nothing
		returning version, state, created_at, cause`,
		t.ID, t.Project, t.Image, t.Major, t.Database, t.Owner, t.Source, t.Cause, t.RequestedBy).
		Scan(&t.Version, &t.State, &t.CreatedAt, &t.Cause)
	if errors.Is(err, pgx.ErrNoRows) {
		return mayfly.Errorf(mayfly.CodeConflict, "a template of project %s is already being built", t.Project).
			WithHint("wait for it, or stop it: mayfly template ls --project %s", t.Project)
	}
	if err != nil {
		return err
	}
	if err := s.auditTemplate(ctx, tx, t, "template.build", map[string]any{"cause": t.Cause}); err != nil {
		return err
	}
	return s.jobs.BuildTemplate(ctx, tx, t.ID)
}

// UpdateTemplate stores everything of t that can change: State, Image, Major, SizeBytes, RowCount, Report, Failure, ReadyAt,
// Attestation.
func (s *Store) UpdateTemplate(ctx context.Context, t *mayfly.Template) error {
	_, err := s.pool.Exec(ctx, `
		update template set state = $2, image = $3, major = $4, size_bytes = $5, row_count = $6, report = $7, failure = $8, ready_at = $9,
			attestation = $10
		where id = $1`,
		t.ID, t.State, t.Image, t.Major, t.SizeBytes, t.RowCount, nullJSON(t.Report), t.Failure, t.ReadyAt, t.Attestation)
	if err != nil {
		return failed(err, "record template %s as %s", t.ID, t.State)
	}
	return nil
}

// Template returns a template by id. CodeNotFound if there is none.
func (s *Store) Template(ctx context.Context, id string) (*mayfly.Template, error) {
	t, err := scanTemplate(s.pool.QueryRow(ctx, `select `+templateColumns+` from template where id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no template %s", id).WithHint("mayfly template ls shows all templates")
	}
	if err != nil {
		return nil, failed(err, "read template %s", id)
	}
	return t, nil
}

// LatestTemplate returns the newest ready template of a project. CodeNoTemplate if there is none.
func (s *Store) LatestTemplate(ctx context.Context, project string) (*mayfly.Template, error) {
	t, err := scanTemplate(s.pool.QueryRow(ctx, `
		select `+templateColumns+` from template where project = $1 and state = 'ready' order by version desc limit 1`, project))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, mayfly.Errorf(mayfly.CodeNoTemplate, "project %s has no template yet", project).
			WithHint("build one: mayfly template build --project %s --wait", project)
	}
	if err != nil {
		return nil, failed(err, "read the newest template of project %s", project)
	}
	return t, nil
}

// TemplatePage returns a page of a project's templates by version, of those in that state if it is not "".
func (s *Store) TemplatePage(ctx context.Context, project string, state mayfly.TemplateState, page Page) ([]*mayfly.Template, error) {
	args := []any{project, string(state)}
	after, order := page.clause(SortKey{"version", "int"}, "id", "text", &args)
	rows, err := s.pool.Query(ctx, `
		select `+templateColumns+` from template where project = $1 and ($2 = '' or state = $2) and `+after+" "+order, args...)
	if err != nil {
		return nil, failed(err, "list templates")
	}
	templates, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Template, error) { return scanTemplate(row) })
	if err != nil {
		return nil, failed(err, "list templates")
	}
	return templates, nil
}

// TemplateVersion returns a project's template of that version. CodeNotFound if there is none.
func (s *Store) TemplateVersion(ctx context.Context, project string, version int) (*mayfly.Template, error) {
	t, err := scanTemplate(s.pool.QueryRow(ctx, `select `+templateColumns+` from template where project = $1 and version = $2`, project, version))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "project %s has no template v%d", project, version).
			WithHint("mayfly template ls --project %s shows all", project)
	}
	if err != nil {
		return nil, failed(err, "read template v%d of project %s", version, project)
	}
	return t, nil
}

// Templates returns the templates of a project ("" = all projects), oldest version first.
func (s *Store) Templates(ctx context.Context, project string) ([]*mayfly.Template, error) {
	rows, err := s.pool.Query(ctx, `
		select `+templateColumns+` from template where $1 = '' or project = $1 order by project, version`, project)
	if err != nil {
		return nil, failed(err, "list templates")
	}
	templates, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Template, error) { return scanTemplate(row) })
	if err != nil {
		return nil, failed(err, "list templates")
	}
	return templates, nil
}

// TemplateInUse reports whether a live preview is, or will be, a clone of the template.
func (s *Store) TemplateInUse(ctx context.Context, id string) (bool, error) {
	var used bool
	err := s.pool.QueryRow(ctx, `select exists (select from preview where template_id = $1 and state <> 'deleted')`, id).Scan(&used)
	if err != nil {
		return false, failed(err, "look for previews of template %s", id)
	}
	return used, nil
}

// SetTemplateProgress records how far a build is.
func (s *Store) SetTemplateProgress(ctx context.Context, id string, p mayfly.BuildProgress) error {
	_, err := s.pool.Exec(ctx, lazily+`update template set progress = $2 from lazily where id = $1`, id, p)
	if err != nil {
		return failed(err, "record the progress of template %s", id)
	}
	return nil
}

// TemplateProgress returns what SetTemplateProgress recorded last, nil if it recorded nothing.
func (s *Store) TemplateProgress(ctx context.Context, id string) (*mayfly.BuildProgress, error) {
	var p *mayfly.BuildProgress
	err := s.pool.QueryRow(ctx, `select progress from template where id = $1`, id).Scan(&p)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(err, "read the progress of template %s", id)
	}
	return p, nil
}

// RequestBuild asks for a template in state building to be built, again.
func (s *Store) RequestBuild(ctx context.Context, id string) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error { return s.jobs.BuildTemplate(ctx, tx, id) })
	if err != nil {
		return failed(err, "ask for template %s to be built", id)
	}
	return nil
}
