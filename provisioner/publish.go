package provisioner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/migrations"
)

// shownSteps is how many entries of a timeline a comment shows: the last ones.
const shownSteps = 12

// Publish tells the forge what there is to know about a pull request's preview now: the checks, the deployment and the one sticky
// comment. Nothing is sent that was sent before. It is safe to call at any time for any preview. While GitHub does not answer, its error
// says when to try again; nothing else waits for it.
func (s *Service) Publish(ctx context.Context, previewID string) error {
	if s.Forge == nil {
		return nil
	}
	first, err := s.Store.Preview(ctx, previewID)
	if err != nil || first.PR == nil {
		return err
	}
	return patiently(s.publish(ctx, first))
}

// forgeAwayError is an error of a GitHub that does not answer: tried again for as long as it takes, without counting attempts.
type forgeAwayError struct{ error }

func (e forgeAwayError) Unwrap() error { return e.error }

// RetryAfter spreads the attempts of many jobs.
func (e forgeAwayError) RetryAfter() time.Duration {
	const least, spread = 5 * time.Second, 10 * time.Second
	return least + rand.N(spread) //nolint:gosec // jitter, not a secret
}

func patiently(err error) error {
	var says interface{ RetryAfter() time.Duration }
	if mayfly.ErrorCode(err) != mayfly.CodeForgeUnavailable || errors.As(err, &says) {
		return err
	}
	return forgeAwayError{err}
}

// lockPublishing lets one writer at a time tell about a pull request: two could both find no comment, and make two.
func (s *Service) lockPublishing(ctx context.Context, key store.PullRequestKey) (unlock func(), err error) {
	return s.Store.Lock(ctx, fmt.Sprintf("publish:%s:%d:%d", key.Project, key.RepositoryID, key.Number))
}

func (s *Service) publish(ctx context.Context, first *mayfly.Preview) error {
	key := store.PullRequestKey{Project: first.Project, RepositoryID: first.PR.RepositoryID, Number: first.PR.Number}
	unlock, err := s.lockPublishing(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	wanted, err := s.Store.PublishWanted(ctx, key)
	if err != nil {
		return err
	}
	p, err := s.Store.Preview(ctx, first.ID)
	if err != nil {
		return err
	}
	if newer, err := s.supersededBy(ctx, p); err != nil || newer {
		return err
	}
	record, err := s.Store.PullRequestRecord(ctx, key.Project, key.RepositoryID, key.Number)
	if err != nil {
		return err
	}
	data, err := s.checkData(ctx, p, &record)
	if err != nil {
		return err
	}
	// The checks come first: people and machines wait for them. What cannot be told in one way is told in the others.
	err = s.publishChecks(ctx, key, p.PR.HeadSHA, data)
	if mayfly.ErrorCode(err) == mayfly.CodeForgeUnavailable {
		return err
	}
	later, commentErr := s.publishComment(ctx, &record, data.CommentData)
	if err := errors.Join(err, commentErr, s.publishDeployment(ctx, &record, p, data)); err != nil {
		return err
	}
	if again := s.lookAgain(&record, data); later == 0 || again > 0 && again < later {
		later = again
	}
	if later > 0 {
		return &LaterError{After: later, Reason: "the rest is told a little later"}
	}
	return s.Store.Published(ctx, key, wanted)
}

// RetryPublishing asks again for what was to be told and was not.
func (s *Service) RetryPublishing(ctx context.Context) error { return s.Store.RequeuePublishing(ctx) }

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

// waitingFor says what a preview that is being made waits for ("" if nothing): its turn, or the end of a passing failure.
func waitingFor(p *mayfly.Preview) string {
	if p.State == mayfly.PreviewQueued {
		return "room for another preview"
	}
	if p.Failure == nil || p.State == mayfly.PreviewFailed || p.Connectable() {
		return ""
	}
	return p.Failure.Message
}

// stateToTell is the preview's state, except that one that sleeps is told as ready: it wakes on connect.
func stateToTell(p *mayfly.Preview) forge.State {
	if p.ClosedAt != nil { // kept for the case that the pull request is opened again, and of no use until then
		return forge.StateDeleted
	}
	if p.State == mayfly.PreviewSuspended {
		return forge.StateReady
	}
	return forge.StateOf(p.State)
}

func hashOf(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))
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
