package provisioner

import (
	"context"
	"fmt"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/repoconfig"
)

// Finding is something wrong in a repository's own configuration, at a place in its file.
type Finding struct {
	File    string
	Line    int
	Message string
	Hint    string
}

// settingsFor returns the settings that hold for a pull request's preview: the server's for the project, narrowed by .mayfly.yml
// at the pull request's base. A file that cannot be used is an error with CodeInvalid, and the findings say what is wrong in it:
// nothing may be done by settings that somebody meant otherwise. Without a pull request it is the project as it is.
//
// A file at a commit never changes, so it is read from the forge once and kept in the state database.
func (s *Service) settingsFor(ctx context.Context, project mayfly.Project, pr *mayfly.PullRequest) (mayfly.Project, []Finding, error) {
	if pr == nil || pr.BaseSHA == "" || s.Forge == nil {
		return project, nil, nil
	}
	content, err := s.repositoryConfig(ctx, pr)
	if mayfly.ErrorCode(err) == mayfly.CodeTooLarge {
		return s.unusable(project, []repoconfig.Problem{{Line: 1, Message: fmt.Sprintf("the file has more than %d bytes", repoconfig.MaxBytes)}})
	}
	if err != nil || content == nil {
		return project, nil, err
	}
	file, problems := repoconfig.Parse(content)
	if len(problems) > 0 {
		return s.unusable(project, problems)
	}
	if problem := s.unknownSize(project, file); problem != nil {
		return s.unusable(project, []repoconfig.Problem{*problem})
	}
	if problems := file.Unknown(s.namesFor(project)); len(problems) > 0 {
		return s.unusable(project, problems)
	}
	narrowed, problems := file.Narrow(project)
	if len(problems) > 0 {
		return s.unusable(project, problems)
	}
	return narrowed, nil, nil
}

// projectFor returns the settings of a preview's project, as they hold for its pull request.
func (s *Service) projectFor(ctx context.Context, p *mayfly.Preview) (mayfly.Project, error) {
	project, err := s.project(p.Project)
	if err != nil {
		return project, err
	}
	settings, _, err := s.settingsFor(ctx, project, p.PR)
	return settings, err
}

// knownSettings is settingsFor without asking the forge, for what must work while that is down: what was never read, or cannot be used,
// narrows nothing.
func (s *Service) knownSettings(ctx context.Context, project mayfly.Project, p *mayfly.Preview) mayfly.Project {
	if p.PR == nil || p.PR.BaseSHA == "" {
		return project
	}
	content, known, err := s.Store.RepositoryConfig(ctx, p.PR.RepositoryID, p.PR.BaseSHA)
	if err != nil || !known {
		return project
	}
	if file, problems := repoconfig.Parse(content); len(problems) == 0 {
		if narrowed, problems := file.Narrow(project); len(problems) == 0 {
			return narrowed
		}
	}
	return project
}

// configKept is for how long the configuration of commits is kept that no preview has as its base.
const configKept = 7 * 24 * time.Hour

// repositoryConfig returns .mayfly.yml at the base of a pull request, nil if there is none.
func (s *Service) repositoryConfig(ctx context.Context, pr *mayfly.PullRequest) ([]byte, error) {
	content, known, err := s.Store.RepositoryConfig(ctx, pr.RepositoryID, pr.BaseSHA)
	if err != nil || known {
		return content, err
	}
	content, found, err := s.Forge.File(ctx, pr.RepositoryID, pr.BaseSHA, repoconfig.Path, repoconfig.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s at %.7s: %w", repoconfig.Path, pr.BaseSHA, err)
	}
	if found && content == nil {
		content = []byte{}
	}
	return content, s.Store.SetRepositoryConfig(ctx, pr.RepositoryID, pr.BaseSHA, content, s.Clock().Add(-configKept))
}

// namesFor returns the names of the projects that have the same repository.
func (s *Service) namesFor(project mayfly.Project) []string {
	var names []string
	for _, p := range s.Projects.Projects() {
		if strings.EqualFold(p.Repository, project.Repository) {
			names = append(names, p.Name)
		}
	}
	return names
}

// unknownSize says so if the file asks for a size class that the project may not have.
func (s *Service) unknownSize(project mayfly.Project, file *repoconfig.File) *repoconfig.Problem {
	p := file.Projects[project.Name]
	if p == nil || p.Size == "" {
		return nil
	}
	if err := s.CheckSize(project, p.Size); err != nil {
		return &repoconfig.Problem{Line: p.KeyLine("size"), Message: err.Error(), Hint: mayfly.ErrorHint(err)}
	}
	return nil
}

// unusable is the answer for a file with problems.
func (s *Service) unusable(project mayfly.Project, problems []repoconfig.Problem) (mayfly.Project, []Finding, error) {
	findings := make([]Finding, len(problems))
	for i, p := range problems {
		findings[i] = Finding{File: repoconfig.Path, Line: p.Line, Message: p.Message, Hint: p.Hint}
	}
	err := mayfly.Errorf(mayfly.CodeInvalid, "%s", problems[0]).WithHint("correct the file on the base branch; docs/github.md describes it")
	if len(problems) > 1 {
		err.Message += fmt.Sprintf(" (and %d more)", len(problems)-1)
	}
	return project, findings, err
}
