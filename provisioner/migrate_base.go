package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
)

// reading is how a template's tracking table was read. Whoever reads it in another way needs it read again.
type reading struct {
	Tool     string   `json:"tool"`
	Path     string   `json:"path"`
	Table    string   `json:"table,omitempty"`
	Contexts []string `json:"contexts,omitempty"`
	Labels   string   `json:"labels,omitempty"`
}

func readingOf(settings mayfly.MigrationSettings) reading {
	return reading{Tool: settings.Tool, Path: settings.Path, Table: settings.Table, Contexts: settings.Contexts, Labels: settings.Labels}
}

// fits reports whether it was read as the settings say; a tool that is to be found out was found out then.
func (r reading) fits(settings mayfly.MigrationSettings) bool {
	if settings.Tool == migrations.Auto {
		settings.Tool = r.Tool
	}
	return reflect.DeepEqual(r, readingOf(settings))
}

// recorded is what is known of a template's migrations.
type recorded struct {
	sha     string
	reading reading
	files   []migrations.AppliedFile
	state   migrations.State
}

// recordCommits notes for new templates which commit of the default branch there was when they became ready: as near as one can
// come to what production had.
func (s *Service) recordCommits(ctx context.Context) error {
	if s.Forge == nil {
		return nil
	}
	unrecorded, err := s.Store.UnrecordedTemplates(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, t := range unrecorded {
		project, ok := s.Projects.Project(t.Project)
		if !ok || project.Repository == "" || project.Migrations.Tool == "" {
			continue
		}
		if err := s.recordCommit(ctx, project, t.ID); err != nil {
			failures = append(failures, fmt.Errorf("record the commit of template %s: %w", t.ID, err))
			continue
		}
		if err := s.readTemplate(ctx, project, t.ID); err != nil { // the first preview of it does
			s.Logger.WarnContext(ctx, "cannot compare a new template with the default branch yet", "project", t.Project, "template", t.ID, "error", err)
		}
	}
	return errors.Join(failures...)
}

func (s *Service) recordCommit(ctx context.Context, project mayfly.Project, templateID string) error {
	id, err := s.repositoryID(ctx, project.Repository)
	if err != nil {
		return err
	}
	s.mu.Lock()
	branch := s.repositories[strings.ToLower(project.Repository)].branch
	s.mu.Unlock()
	sha, err := s.Forge.BranchHead(ctx, id, branch)
	if err != nil {
		return err
	}
	return s.Store.RecordTemplateCommit(ctx, templateID, sha)
}

// recorded returns what is known of the migrations that the preview's template came with, nil if nothing is: it makes plainer what was
// edited, and without it everything works as well. fresh is the state of a preview that has nothing on top of its template, or nil:
// then what it says is recorded, if it has not been.
func (s *Service) recorded(ctx context.Context, p *mayfly.Preview, project mayfly.Project, fresh *migrations.State) *recorded {
	r, err := s.readRecorded(ctx, p, project, fresh)
	if err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "cannot tell which files the template's migrations came from", "preview", p.Name, "error", err)
	}
	return r
}

func (s *Service) readRecorded(ctx context.Context, p *mayfly.Preview, project mayfly.Project, fresh *migrations.State) (*recorded, error) {
	known, err := s.Store.TemplateMigrations(ctx, p.TemplateID)
	if err != nil {
		return nil, err
	}
	if known == nil {
		if fresh == nil {
			return nil, nil
		}
		if err := s.recordCommit(ctx, project, p.TemplateID); err != nil {
			return nil, err
		}
		if known, err = s.Store.TemplateMigrations(ctx, p.TemplateID); err != nil {
			return nil, err
		}
	}
	if len(known.State) > 0 {
		r := recorded{sha: known.SHA}
		err := errors.Join(json.Unmarshal(known.Settings, &r.reading), json.Unmarshal(known.Files, &r.files), json.Unmarshal(known.State, &r.state))
		if err != nil {
			return nil, fmt.Errorf("read what was recorded of template %s: %w", p.TemplateID, err)
		}
		if r.reading.fits(project.Migrations) {
			return &r, nil
		}
	}
	if fresh == nil {
		return nil, nil
	}
	return s.recordState(ctx, p, project, known.SHA, *fresh)
}

// recordState notes which files of the commit the template's tracking table lists.
func (s *Service) recordState(ctx context.Context, p *mayfly.Preview, project mayfly.Project, sha string, state migrations.State) (*recorded, error) {
	files, err := s.filesOf(ctx, p, sha, project.Migrations)
	if err != nil {
		return nil, err
	}
	history, err := migrations.Parse(project.Migrations, files)
	if err != nil {
		return nil, err
	}
	s.findDrift(ctx, p, sha, history, state)
	r := &recorded{sha: sha, reading: readingOf(project.Migrations), files: history.WithState(state), state: state}
	if r.files == nil {
		r.files = []migrations.AppliedFile{}
	}
	var raw [3]json.RawMessage
	for i, v := range []any{r.reading, r.state, r.files} {
		if raw[i], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("encode what template %s has: %w", p.TemplateID, err)
		}
	}
	return r, s.Store.RecordTemplateState(ctx, p.TemplateID, raw[0], raw[1], raw[2])
}

// comparison is what a head's history is compared with.
func (r *recorded) comparison(state migrations.State, base *migrations.History) migrations.Comparison {
	c := migrations.Comparison{State: state, Base: base}
	if r != nil {
		c.Recorded = r.files
	}
	return c
}

// report is what the report says of it.
func (r *recorded) report() *migrations.Recorded {
	if r == nil {
		return nil
	}
	return &migrations.Recorded{SHA: r.sha, Files: r.files}
}

// ordered are the versions of migrations that have a place in the order.
func ordered(pending []migrations.Migration) []string {
	versions := []string{}
	for _, m := range pending {
		if !m.Repeatable {
			versions = append(versions, m.Version)
		}
	}
	return versions
}

// planOnTop stores what the preview is to have on top of its template once the plan ran.
func (s *Service) planOnTop(ctx context.Context, p *mayfly.Preview, plan migrations.Plan) error {
	var onTop []string
	if p.ObservedSHA != "" {
		var err error
		if onTop, err = s.Store.OnTop(ctx, p.ID); err != nil {
			return err
		}
	}
	return s.Store.SetOnTop(ctx, p.ID, append(onTop, ordered(plan.Pending)...))
}

// rebased says why a preview cannot stay as it is now that its base is another one; "" if it can. plan is what a new preview would
// get; exact asks whether the preview has all of that, and not only a part of it from which one can go on.
func (s *Service) rebased(ctx context.Context, p *mayfly.Preview, plan migrations.Plan, exact bool) (string, error) {
	onTop, err := s.Store.OnTop(ctx, p.ID)
	if err != nil {
		return "", err
	}
	wanted := ordered(plan.Pending)
	if len(wanted) >= len(onTop) && slices.Equal(wanted[:len(onTop)], onTop) && (!exact || len(wanted) == len(onTop)) {
		return "", nil
	}
	return fmt.Sprintf("%s: %d migrations are to be applied on top of the template, and the preview has %d others", baseNow(p), len(wanted), len(onTop)), nil
}

// baseNow says which base there is now.
func baseNow(p *mayfly.Preview) string {
	if p.ObservedBaseRef != "" && p.ObservedBaseRef != p.PR.BaseRef {
		return fmt.Sprintf("the base branch is now %s, not %s", p.PR.BaseRef, p.ObservedBaseRef)
	}
	return fmt.Sprintf("%s moved to %.7s", or(p.PR.BaseRef, "the base branch"), p.PR.BaseSHA)
}

// followBase computes anew what depends on the base of the pull request: what of the migrations is the pull request's, what is
// pending, edited or missing. It needs neither the preview's Postgres nor a migration to run, unless what is to be applied changed:
// then the preview is rebuilt.
func (s *Service) followBase(ctx context.Context, p *mayfly.Preview) error {
	project, err := s.projectFor(ctx, p)
	if err != nil {
		return err
	}
	known := s.recorded(ctx, p, project, nil)
	if known == nil || !slices.Contains(migrations.Tools(), known.reading.Tool) { // nothing of it depends on the base
		return s.observeBase(ctx, p)
	}
	project.Migrations.Tool = known.reading.Tool
	why := ""
	err = s.step(ctx, p, "follow base", baseNow(p), func(ctx context.Context) (string, error) {
		var done string
		var err error
		why, done, err = s.recompute(ctx, p, project, known)
		return done, err
	})
	if err != nil {
		return err
	}
	if why != "" {
		return s.rebuild(ctx, p, why)
	}
	return s.observeBase(ctx, p)
}

func (s *Service) observeBase(ctx context.Context, p *mayfly.Preview) error {
	p.ObservedBaseRef, p.ObservedBaseSHA = p.PR.BaseRef, p.PR.BaseSHA
	return s.Store.Observe(ctx, p)
}

// recompute brings the report up to the base as it is now, or says why the preview has to be rebuilt.
func (s *Service) recompute(ctx context.Context, p *mayfly.Preview, project mayfly.Project, known *recorded) (rebuild, done string, err error) {
	head, err := s.historyAt(ctx, p, project, p.PR.HeadSHA)
	invalid := mayfly.ErrorCode(err) == mayfly.CodeMigrationInvalid
	if err != nil && !invalid {
		return "", "", err
	}
	if invalid { // that does not depend on the base
		return "", "the migrations at the head cannot be read", nil
	}
	base := s.baseHistory(ctx, p, project)
	plan, refused := head.Compare(known.comparison(known.state, base))
	if refused == nil {
		if p.Failure != nil && p.Failure.Code == mayfly.CodeMigrationInvalid {
			return baseNow(p) + ": what was refused before may be applied now", "", nil
		}
		if why, err := s.rebased(ctx, p, plan, true); err != nil || why != "" {
			return why, "", err
		}
	}
	report, err := s.storedReport(ctx, p)
	if err != nil || report == nil {
		return "", "nothing to tell", err
	}
	report.Rebase(plan, refused)
	report.Waive(head)
	if err := s.restoreReport(ctx, p, report); err != nil {
		return "", "", err
	}
	return "", "the same migrations are applied", s.touch(ctx, p, head, report, true)
}

func (s *Service) historyAt(ctx context.Context, p *mayfly.Preview, project mayfly.Project, sha string) (*migrations.History, error) {
	files, err := s.filesOf(ctx, p, sha, project.Migrations)
	if err != nil {
		return nil, err
	}
	return migrations.Parse(project.Migrations, files)
}

// storedReport is the report of the last run as it was stored: what is known of other pull requests is added when it is read.
func (s *Service) storedReport(ctx context.Context, p *mayfly.Preview) (*migrations.Report, error) {
	_, raw, err := s.Store.Migrated(ctx, p.ID)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	var report migrations.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil, fmt.Errorf("read the migration report of preview %s: %w", p.Name, err)
	}
	report.Others = nil
	return &report, nil
}

// restoreReport stores a report about which there is more to say.
func (s *Service) restoreReport(ctx context.Context, p *mayfly.Preview, report *migrations.Report) error {
	encoded, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encode the migration report of preview %s: %w", p.Name, err)
	}
	return s.Store.SetReport(ctx, p.ID, encoded)
}
