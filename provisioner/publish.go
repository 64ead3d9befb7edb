package provisioner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/migrations"
)

// shownSteps is how many entries of a timeline a comment shows: the last ones.
const shownSteps = 12

// Publish tells the forge what there is to know about a pull request's preview now: the commit status and the one sticky
// comment. Nothing is sent that was sent before. It is safe to call at any time for any preview.
func (s *Service) Publish(ctx context.Context, previewID string) error {
	if s.Forge == nil {
		return nil
	}
	first, err := s.Store.Preview(ctx, previewID)
	if err != nil || first.PR == nil {
		return err
	}
	// One writer at a time: two could both find no comment, and make two.
	unlock, err := s.Store.Lock(ctx, fmt.Sprintf("publish:%s:%d:%d", first.Project, first.PR.RepositoryID, first.PR.Number))
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.Store.Preview(ctx, previewID)
	if err != nil {
		return err
	}
	if newer, err := s.supersededBy(ctx, p); err != nil || newer {
		return err
	}
	report, err := s.report(ctx, p)
	if err != nil {
		return err
	}
	if p.State != mayfly.PreviewDeleting && p.State != mayfly.PreviewDeleted {
		if err := s.publishStatus(ctx, p, report); err != nil {
			return err
		}
	}
	return s.publishComment(ctx, p, report)
}

// supersededBy reports whether a deleted preview has a live successor for the same pull request, which then has the word.
func (s *Service) supersededBy(ctx context.Context, p *mayfly.Preview) (bool, error) {
	if p.State != mayfly.PreviewDeleted {
		return false, nil
	}
	_, err := s.Store.PreviewByPullRequest(ctx, p.Project, p.PR.RepositoryID, p.PR.Number)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

func (s *Service) report(ctx context.Context, p *mayfly.Preview) (*migrations.Report, error) {
	_, raw, err := s.Store.Migrated(ctx, p.ID)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	var report migrations.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil, fmt.Errorf("read the migration report of preview %s: %w", p.Name, err)
	}
	return &report, nil
}

func (s *Service) publishStatus(ctx context.Context, p *mayfly.Preview, report *migrations.Report) error {
	data := forge.StatusData{State: stateToTell(p), Preview: p.Name, Failure: p.Failure, TargetURL: s.pageURL(p)}
	if report != nil {
		data.Applied = len(report.Applied)
	}
	status := forge.StatusFor(data)
	if waiting := waitingFor(p); waiting != "" {
		status.Description = waiting
	}
	return s.setStatus(ctx, p.Project, p.PR.RepositoryID, p.PR.Number, p.PR.HeadSHA, status)
}

// waitingFor says what a preview that is being made waits for ("" if nothing): a passing failure, such as a full pool.
func waitingFor(p *mayfly.Preview) string {
	if p.Failure == nil || p.State == mayfly.PreviewFailed || p.Connectable() {
		return ""
	}
	return "Waiting: " + p.Failure.Message
}

// stateToTell is the preview's state, except that one that sleeps is told as ready: it wakes on connect.
func stateToTell(p *mayfly.Preview) forge.State {
	if p.State == mayfly.PreviewSuspended {
		return forge.StateReady
	}
	return forge.StateOf(p.State)
}

func (s *Service) pageURL(p *mayfly.Preview) string {
	if s.ExternalURL == "" {
		return ""
	}
	return s.ExternalURL + "/api/v1/previews/" + p.Name
}

// setStatus sets a commit status unless the commit has it already. A commit that is gone needs none.
func (s *Service) setStatus(ctx context.Context, project string, repositoryID int64, number int, sha string, status forge.Status) error {
	record, err := s.Store.PullRequestRecord(ctx, project, repositoryID, number)
	if err != nil {
		return err
	}
	hash := hashOf(string(status.State), status.Description, status.TargetURL)
	if record.StatusSHA == sha && record.StatusHash == hash {
		return nil
	}
	err = s.Forge.SetStatus(ctx, repositoryID, sha, status)
	if err != nil && mayfly.ErrorCode(err) != mayfly.CodeHeadGone {
		return fmt.Errorf("set the status of pull request %d: %w", number, err)
	}
	record.StatusSHA, record.StatusHash = sha, hash
	return s.Store.SetPullRequestRecord(ctx, record)
}

func (s *Service) publishComment(ctx context.Context, p *mayfly.Preview, report *migrations.Report) error {
	data, err := s.commentData(ctx, p, report)
	if err != nil {
		return err
	}
	body := forge.RenderComment(data)
	record, err := s.Store.PullRequestRecord(ctx, p.Project, p.PR.RepositoryID, p.PR.Number)
	if err != nil {
		return err
	}
	hash := hashOf(body)
	if record.CommentHash == hash {
		return nil
	}
	marker := forge.Marker(p.PR.RepositoryID, p.PR.Number, p.Project)
	record.CommentID, err = s.Forge.UpsertComment(ctx, p.PR.RepositoryID, p.PR.Number, record.CommentID, marker, body)
	if err != nil {
		return fmt.Errorf("write the comment of pull request %d: %w", p.PR.Number, err)
	}
	record.CommentHash = hash
	return s.Store.SetPullRequestRecord(ctx, record)
}

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (s *Service) commentData(ctx context.Context, p *mayfly.Preview, report *migrations.Report) (forge.CommentData, error) {
	data := forge.CommentData{
		RepositoryID: p.PR.RepositoryID, Number: p.PR.Number, Project: p.Project, State: stateToTell(p), Preview: p.Name,
		HeadSHA: p.PR.HeadSHA, ExpiresAt: p.ExpiresAt, DashboardURL: s.pageURL(p),
	}
	if p.TemplateID != "" {
		template, err := s.Store.Template(ctx, p.TemplateID)
		if err != nil {
			return data, err
		}
		data.TemplateVersion = template.Version
		if template.ReadyAt != nil {
			data.TemplateReadyAt = *template.ReadyAt
		}
	}
	steps, err := s.Store.Steps(ctx, p.ID)
	if err != nil {
		return data, err
	}
	// A preview falls asleep and wakes up many times: that is no news. Migrations that ran are part of the step "migrate" and
	// have a table of their own.
	steps = slices.DeleteFunc(steps, func(step mayfly.Step) bool {
		return step.Name == "wake" || step.Name == "suspend" || step.Name == "migration" && step.FinishedAt != nil
	})
	for _, step := range steps[max(0, len(steps)-shownSteps):] {
		data.Steps = append(data.Steps, commentStep(step))
		if step.Name == "clone" {
			data.ClonedAt = step.StartedAt
		}
		if step.Name == "rebuild" {
			data.Note = "Rebuilt from the template: " + step.Detail
		}
	}
	if waiting := waitingFor(p); waiting != "" {
		data.Note = waiting
	}
	data.Migrations = commentMigrations(report)
	data.Warnings = commentWarnings(report)
	observed(&data, report)
	data.Failure = commentFailure(p, report)
	return data, nil
}

func commentStep(step mayfly.Step) forge.CommentStep {
	out := forge.CommentStep{Name: step.Name, Detail: step.Detail, Running: step.FinishedAt == nil, Failed: step.Error != ""}
	if step.FinishedAt != nil {
		out.Took = step.FinishedAt.Sub(step.StartedAt)
	}
	return out
}

func commentMigrations(report *migrations.Report) []forge.CommentMigration {
	if report == nil {
		return nil
	}
	var out []forge.CommentMigration
	for _, m := range report.Applied {
		state := "applied"
		if m.Error != "" {
			state = "failed"
		}
		out = append(out, forge.CommentMigration{Name: path.Base(m.File), State: state, Took: milliseconds(m.DurationMS).Round(time.Millisecond)})
	}
	for _, m := range report.Skipped {
		out = append(out, forge.CommentMigration{Name: path.Base(m.File), State: "skipped"})
	}
	for _, m := range report.Pending {
		out = append(out, forge.CommentMigration{Name: path.Base(m.File), State: "pending"})
	}
	return out
}

func commentFailure(p *mayfly.Preview, report *migrations.Report) *forge.CommentFailure {
	if p.Failure == nil || p.State != mayfly.PreviewFailed {
		return nil
	}
	out := &forge.CommentFailure{Code: p.Failure.Code, Message: p.Failure.Message, Hint: p.Failure.Hint}
	if report != nil && report.Failure != nil && p.Failure.Code == mayfly.CodeMigrationFailed {
		f := report.Failure
		out.File, out.Line, out.SQLSTATE, out.Statement = f.File, f.Line, f.SQLState, f.Statement
		if f.Hint != "" {
			out.Hint = f.Hint
		}
	}
	return out
}

// RecordedReport returns the migration report of a preview as JSON. CodeNotFound if no migrations were run on it.
func (s *Service) RecordedReport(ctx context.Context, name string) (json.RawMessage, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	_, report, err := s.Store.Migrated(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	if len(report) == 0 {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "no migrations were run on preview %s", name).
			WithHint("only previews of pull requests in projects with migrations have a report")
	}
	return report, nil
}
