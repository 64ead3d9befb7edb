package provisioner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/migrations"
)

// publishComment brings the comment up to date, or says after how long it may be edited again. A preview that was gone before there was a
// comment needs none.
func (s *Service) publishComment(ctx context.Context, record *store.PullRequestRecord, data forge.CommentData) (later time.Duration, err error) {
	if data.State == forge.StateDeleted && record.CommentID == 0 {
		return 0, nil
	}
	body := forge.RenderComment(data)
	hash := hashOf(body)
	if record.CommentHash == hash {
		return 0, nil
	}
	now := s.Clock()
	if record.CommentAt != nil {
		if wait := record.CommentAt.Add(s.CommentEvery).Sub(now); wait > 0 && wait <= s.CommentEvery {
			return wait, nil
		}
	}
	marker := forge.Marker(record.RepositoryID, record.Number, record.Project)
	known := record.CommentID
	if known == 0 { // the answer may get lost, and another process may go on
		record.CommentID = forge.UnknownComment
		if err := s.Store.SetPullRequestRecord(ctx, *record); err != nil {
			return 0, err
		}
	}
	id, err := s.Forge.UpsertComment(ctx, record.RepositoryID, record.Number, known, marker, body)
	if err != nil { // the record keeps the id that it has: it is stored for other reasons too
		return 0, fmt.Errorf("write the comment of pull request %d: %w", record.Number, err)
	}
	record.CommentID, record.CommentHash, record.CommentAt = id, hash, &now
	return 0, s.Store.SetPullRequestRecord(ctx, *record)
}

// pageURL is the preview's page, which is the same for every name to those who may not see the preview.
func (s *Service) pageURL(name string) string {
	if s.ExternalURL == "" || name == "" {
		return ""
	}
	return s.ExternalURL + "/previews/" + name
}

// checkData is all that is told about a preview.
func (s *Service) checkData(ctx context.Context, p *mayfly.Preview, record *store.PullRequestRecord) (forge.CheckData, error) {
	report, err := s.report(ctx, p)
	if err != nil {
		return forge.CheckData{}, err
	}
	comment, err := s.commentData(ctx, p, report)
	if err != nil {
		return forge.CheckData{}, err
	}
	project, _ := s.Projects.Project(p.Project)
	data := forge.CheckData{
		CommentData: comment, Named: s.namesChecks(project), Migrates: project.Migrations.Tool != "", Annotations: annotationsOf(report, p),
	}
	if p.State == mayfly.PreviewFailed && p.Failure != nil {
		data.FailureCode = p.Failure.Code
	}
	if data.Waiting, data.WaitingLong, err = s.waiting(ctx, p, record); err != nil {
		return data, err
	}
	switch {
	case p.State == mayfly.PreviewQueued:
		data.Note = "It is " + s.queuedText(ctx, p) + "."
	case data.Waiting != "":
		data.Note = "Waiting: " + data.Waiting
	}
	if p.PR.Fork {
		data = data.ForStrangers()
	}
	return data, nil
}

// namesChecks reports whether the checks of a project have its name in theirs. The first project of a repository has the plain names: a
// branch rule that requires them goes on being fulfilled when another project is added.
func (s *Service) namesChecks(project mayfly.Project) bool {
	for _, other := range s.Projects.Projects() {
		if other.Repository != "" && strings.EqualFold(other.Repository, project.Repository) {
			return other.Name != project.Name
		}
	}
	return false
}

// patience is for how long a preview that waits for something is told as under way. Then its checks conclude, and are set right when
// what it waits for has come: nobody is to look at a check that never ends.
const patience = 5 * time.Minute

// waiting says what a preview waits for, and whether that takes too long. What somebody has to provide first is not waited for.
func (s *Service) waiting(ctx context.Context, p *mayfly.Preview, record *store.PullRequestRecord) (what string, long bool, err error) {
	what = waitingFor(p)
	switch {
	case what == "" && record.WaitingSince == nil:
		return "", false, nil
	case what == "":
		record.WaitingSHA, record.WaitingSince = "", nil
		return "", false, s.Store.SetPullRequestRecord(ctx, *record)
	case record.WaitingSince == nil || record.WaitingSHA != p.PR.HeadSHA:
		now := s.Clock()
		record.WaitingSHA, record.WaitingSince = p.PR.HeadSHA, &now
		if err := s.Store.SetPullRequestRecord(ctx, *record); err != nil {
			return "", false, err
		}
	}
	noTemplate := p.Failure != nil && p.Failure.Code == mayfly.CodeNoTemplate
	return what, noTemplate || s.Clock().Sub(*record.WaitingSince) >= patience, nil
}

// lookAgain says after how long the checks of a preview that waits are to be looked at again; 0 for never.
func (s *Service) lookAgain(record *store.PullRequestRecord, data forge.CheckData) time.Duration {
	if data.Waiting == "" || data.WaitingLong || record.WaitingSince == nil {
		return 0
	}
	return max(record.WaitingSince.Add(patience).Sub(s.Clock()), time.Second)
}

func (s *Service) commentData(ctx context.Context, p *mayfly.Preview, report *migrations.Report) (forge.CommentData, error) {
	data := forge.CommentData{
		RepositoryID: p.PR.RepositoryID, Number: p.PR.Number, Project: p.Project, State: stateToTell(p), Preview: p.Name,
		HeadSHA: p.PR.HeadSHA, BaseSHA: p.PR.BaseSHA, ExpiresAt: p.ExpiresAt, PageURL: s.pageURL(p.Name),
	}
	if p.TemplateID != "" {
		template, err := s.Store.Template(ctx, p.TemplateID)
		if err != nil {
			return data, err
		}
		data.TemplateVersion, data.Attestation = template.Version, attestationID(template)
		if template.ReadyAt != nil {
			data.TemplateReadyAt = *template.ReadyAt
		}
	}
	known, err := s.Store.KnownPullRequest(ctx, store.PullRequestKey{Project: p.Project, RepositoryID: p.PR.RepositoryID, Number: p.PR.Number})
	if err != nil {
		return data, err
	}
	data.LastCommand = lastCommand(known)
	if err := s.addTimeline(ctx, &data, p); err != nil {
		return data, err
	}
	if p.ClosedAt != nil && p.State != mayfly.PreviewDeleted {
		data.Note = "The database sleeps and is kept until " + p.ClosedAt.Add(s.grace(p)).UTC().Format("2006-01-02 15:04 UTC") +
			". Opening the pull request again brings it back with its data."
	}
	data.Migrations = commentMigrations(report)
	data.Warnings = commentWarnings(report)
	observed(&data, report)
	data.Failure = commentFailure(p, report)
	return data, nil
}

func (s *Service) addTimeline(ctx context.Context, data *forge.CommentData, p *mayfly.Preview) error {
	steps, err := s.Store.Steps(ctx, p.ID)
	if err != nil {
		return err
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
			data.Note = forge.RebuiltNote(step.Detail)
		}
	}
	return nil
}

// lastCommand is what somebody asked for in a comment.
func lastCommand(known *store.KnownPullRequest) *forge.CommentCommand {
	if c := known.LastCommand; c != nil {
		return &forge.CommentCommand{Text: c.Text, By: c.By, Answer: c.Answer, Failed: c.Failed}
	}
	return nil
}

// attestationID names a template's attestation by what is signed: `mayfly template attestation` prints it.
func attestationID(t *mayfly.Template) string {
	if len(t.Attestation) == 0 {
		return ""
	}
	const digits = 16
	sum := sha256.Sum256(t.Attestation)
	return "sha256:" + hex.EncodeToString(sum[:])[:digits]
}
