package provisioner

import (
	"context"

	mayfly "github.com/mayflydb/mayfly"
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
func (s *Service) settingsFor(_ context.Context, project mayfly.Project, _ *mayfly.PullRequest) (mayfly.Project, []Finding, error) {
	return project, nil, nil
}

var _ = (*Service).settingsFor
