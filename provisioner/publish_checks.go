package provisioner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// checkNames are the checks by their names in the state database, in the order in which they are told.
func checkNames() []string { return []string{"database", "migrations"} }

// checkName is a check's name on the forge.
func checkName(name string, data forge.CheckData) string {
	if name == "migrations" {
		return forge.CheckName(forge.CheckMigrations, data.Project, data.Named)
	}
	return forge.CheckName(forge.CheckDatabase, data.Project, data.Named)
}

// publishChecks tells the checks on a commit, and ends those on commits that are no longer the head. The caller holds the publishing lock.
func (s *Service) publishChecks(ctx context.Context, key store.PullRequestKey, sha string, data forge.CheckData) error {
	told, err := s.Store.ToldChecks(ctx, key, sha)
	if err != nil {
		return err
	}
	if data.State == forge.StateDeleted {
		err := s.endChecks(ctx, key, told, data, func(store.ToldCheck) (forge.Check, bool) { return forge.RemovedCheck(""), true })
		return errors.Join(err, s.tellRemoved(ctx, key, sha, told, data))
	}
	database, migrated := forge.Checks(data)
	for i, check := range []forge.Check{database, migrated} {
		if err := s.tellCheck(ctx, key, sha, told, checkNames()[i], check); err != nil {
			return err
		}
	}
	known, err := s.Store.KnownPullRequest(ctx, key)
	if err != nil {
		return err
	}
	head := or(known.HeadSHA, sha)
	return s.endChecks(ctx, key, told, data, func(c store.ToldCheck) (forge.Check, bool) {
		return forge.SupersededCheck("", head), c.SHA != head && c.SHA != sha
	})
}

// tellRemoved tells the checks of a preview that somebody removed before anything was told on its commit: the pull request is open, so that
// they may be required, and nothing else will be told there.
func (s *Service) tellRemoved(ctx context.Context, key store.PullRequestKey, sha string, told []store.ToldCheck, data forge.CheckData) error {
	known, err := s.Store.KnownPullRequest(ctx, key)
	if err != nil || known.DismissedSHA != sha {
		return err
	}
	for _, name := range checkNames() {
		if slices.ContainsFunc(told, func(t store.ToldCheck) bool { return t.SHA == sha && t.Name == name }) {
			continue
		}
		check := forge.RemovedCheck(checkName(name, data))
		check.ExternalID = forge.ExternalID(key.Project, key.Number)
		if err := s.tellCheck(ctx, key, sha, told, name, check); err != nil {
			return err
		}
	}
	return nil
}

// tellCheck tells one check unless it says so already.
func (s *Service) tellCheck(ctx context.Context, key store.PullRequestKey, sha string, told []store.ToldCheck, name string, check forge.Check) error {
	now := store.ToldCheck{SHA: sha, Name: name, Hash: checkHash(check)}
	known := int64(0)
	for _, t := range told {
		if t.SHA != sha || t.Name != name {
			continue
		}
		if t.Hash == now.Hash {
			return nil
		}
		if !t.Concluded {
			known = t.RunID
		}
	}
	if known == 0 && !check.State.Concluded() {
		// Its answer may get lost: whoever ends the checks of this commit is to know that there may be one.
		if err := s.Store.SetToldCheck(ctx, key, store.ToldCheck{SHA: sha, Name: name}); err != nil {
			return err
		}
	}
	var err error
	now.RunID, err = s.Forge.SetCheck(ctx, key.RepositoryID, sha, known, check)
	if err != nil && mayfly.ErrorCode(err) != mayfly.CodeHeadGone { // a commit that is gone needs none
		return fmt.Errorf("tell check %q of pull request %d: %w", check.Name, key.Number, err)
	}
	now.Concluded = check.State.Concluded() || err != nil
	return s.Store.SetToldCheck(ctx, key, now)
}

// checkHash is of what makes a difference to people: that a step was taken meanwhile is no news.
func checkHash(c forge.Check) string {
	parts := []string{c.Name, string(c.State), c.Title, c.DetailsURL}
	for _, a := range c.Annotations {
		parts = append(parts, fmt.Sprintf("%s:%d:%s:%s", a.Path, a.Line, a.Level, a.Text))
	}
	return hashOf(parts...)
}

// endChecks ends the checks that have not ended, if why says so.
func (s *Service) endChecks(ctx context.Context, key store.PullRequestKey, told []store.ToldCheck, data forge.CheckData, why func(store.ToldCheck) (forge.Check, bool)) error {
	for _, t := range told {
		check, end := why(t)
		if t.Concluded || !end {
			continue
		}
		check.Name, check.ExternalID = checkName(t.Name, data), forge.ExternalID(key.Project, key.Number)
		id, err := s.Forge.SetCheck(ctx, key.RepositoryID, t.SHA, t.RunID, check)
		if err != nil && mayfly.ErrorCode(err) != mayfly.CodeHeadGone {
			return fmt.Errorf("end check %q of pull request %d: %w", check.Name, key.Number, err)
		}
		t.RunID, t.Hash, t.Concluded = id, checkHash(check), true
		if err := s.Store.SetToldCheck(ctx, key, t); err != nil {
			return err
		}
	}
	return nil
}

// annotationsOf are the remarks on the migrations' files. What only says where a failure is has its place too.
func annotationsOf(report *migrations.Report, p *mayfly.Preview) []forge.Annotation {
	if report == nil {
		return nil
	}
	var out []forge.Annotation
	for _, a := range report.Annotations {
		out = append(out, forge.Annotation{Path: a.File, Line: a.Line, End: a.EndLine, Level: annotationLevel(a.Level), Title: a.Code, Text: a.Message})
	}
	f := report.Failure
	if f == nil || f.File == "" || p.State != mayfly.PreviewFailed {
		return out
	}
	at := forge.Annotation{Path: f.File, Line: f.Line, Level: forge.AnnotationFailure, Title: strings.TrimSpace("failed " + f.SQLState), Text: f.Message}
	for _, extra := range []string{f.Detail, f.Hint} {
		if extra != "" {
			at.Text += "\n" + extra
		}
	}
	for i := range out {
		if out[i].Level == forge.AnnotationFailure && out[i].Path == at.Path && out[i].Line == at.Line && out[i].Text == f.Message {
			out[i] = at
			return out
		}
	}
	return append([]forge.Annotation{at}, out...)
}

func annotationLevel(severity lint.Severity) forge.AnnotationLevel {
	switch severity {
	case lint.Error:
		return forge.AnnotationFailure
	case lint.Warning:
		return forge.AnnotationWarning
	case lint.Info:
	}
	return forge.AnnotationNotice
}
