package provisioner

import (
	"context"
	"errors"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// repositoryTTL is how long what was read of a repository is taken to hold.
const repositoryTTL = 10 * time.Minute

// repositoryID resolves a project's configured repository to its id on the forge. The id that a name had when it was first seen stays:
// names are given away after a repository, or its owner, was renamed, and whoever gets one must not get previews with it.
func (s *Service) repositoryID(ctx context.Context, fullName string) (int64, error) {
	key := strings.ToLower(fullName)
	s.mu.Lock()
	known, ok := s.repositories[key]
	s.mu.Unlock()
	if ok && s.Clock().Sub(known.at) < repositoryTTL {
		return known.id, nil
	}
	repository, err := s.findRepository(ctx, fullName)
	if err != nil {
		if ok && mayfly.ErrorCode(err) == mayfly.CodeForgeUnavailable {
			return known.id, nil // the forge may be down for longer than the cache lives
		}
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repositories[key] = knownRepository{id: repository.ID, branch: repository.DefaultBranch, at: s.Clock()}
	return repository.ID, nil
}

// findRepository reads a configured repository: by its id if that is configured or was seen, else by its name.
func (s *Service) findRepository(ctx context.Context, fullName string) (forge.Repository, error) {
	id := s.configuredID(fullName)
	var err error
	if id == 0 {
		if id, err = s.Store.PinnedRepository(ctx, fullName); err != nil {
			return forge.Repository{}, err
		}
	}
	if id != 0 {
		repository, err := s.Forge.RepositoryByID(ctx, id)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			s.tellTaken(ctx, fullName, id)
		}
		return repository, err
	}
	repository, err := s.Forge.Repository(ctx, fullName)
	if err != nil {
		return forge.Repository{}, err
	}
	pinned, err := s.Store.PinRepository(ctx, fullName, repository.ID)
	if err == nil && pinned != repository.ID { // another process saw another one first
		return s.Forge.RepositoryByID(ctx, pinned)
	}
	return repository, err
}

// configuredID returns the id that the configuration has for a repository, or 0.
func (s *Service) configuredID(fullName string) int64 {
	for _, project := range s.Projects.Projects() {
		if strings.EqualFold(project.Repository, fullName) && project.RepositoryID != 0 {
			return project.RepositoryID
		}
	}
	return 0
}

// tellTaken says so if the name of a repository that is gone means another one now.
func (s *Service) tellTaken(ctx context.Context, fullName string, id int64) {
	other, err := s.Forge.Repository(ctx, fullName)
	if err == nil && other.ID != id {
		s.Logger.WarnContext(ctx, "the repository's name means another repository than before, which gets nothing",
			"repository", fullName, "id", id, "other", other.ID, "hint", "if that is meant, set repository_id in the project's configuration")
	}
}

// forgetRepository has a repository read again when it is needed next: its name or its state changed.
func (s *Service) forgetRepository(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, known := range s.repositories {
		if known.id == id || id == 0 {
			delete(s.repositories, key)
		}
	}
}

// projectsOf returns the projects whose repository has this id. A project whose repository cannot be found is passed over.
func (s *Service) projectsOf(ctx context.Context, repositoryID int64) ([]mayfly.Project, error) {
	var found []mayfly.Project
	if s.Forge == nil {
		return nil, nil
	}
	for _, project := range s.Projects.Projects() {
		if project.Repository == "" {
			continue
		}
		id, err := s.repositoryID(ctx, project.Repository)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			s.Logger.WarnContext(ctx, "repository of a project cannot be found", "project", project.Name, "repository", project.Repository)
			continue
		}
		if err != nil {
			return nil, err
		}
		if id == repositoryID {
			found = append(found, project)
		}
	}
	return found, nil
}

const (
	// goneGrace is how long previews of a repository stay that was deleted, if the project's own grace is shorter: somebody may restore it.
	goneGrace = time.Hour
	// removedGrace is how long they stay after the forge said that the App lost the repository, and kept saying so.
	removedGrace = 24 * time.Hour
)

// checkRepository compares what the forge says of a repository with what was known. ok is false if its pull requests cannot be
// looked at now; then nothing of it is removed, unless the forge itself said that the repository is gone, and long enough ago.
func (s *Service) checkRepository(ctx context.Context, id int64) (state store.RepositoryState, ok bool, err error) {
	repository, err := s.Forge.RepositoryByID(ctx, id)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		state, err := s.unreachable(ctx, id)
		return state, false, err
	}
	if err != nil {
		return "", false, err
	}
	state = store.RepositoryActive
	if repository.Archived {
		state = store.RepositoryArchived
	}
	changed, err := s.Store.SetRepository(ctx, id, repository.FullName, state, s.Clock())
	if changed {
		s.Logger.InfoContext(ctx, "repository changed", "repository", repository.FullName, "id", id, "state", state)
	}
	return state, true, err
}

// unreachable keeps what the forge said before of a repository that it does not find, or notes that it does not.
func (s *Service) unreachable(ctx context.Context, id int64) (store.RepositoryState, error) {
	known, err := s.Store.Repository(ctx, id)
	if err != nil {
		return "", err
	}
	switch known.State {
	case store.RepositoryDeleted, store.RepositoryRemoved, store.RepositorySuspended, store.RepositoryUnreachable:
		return known.State, nil
	case store.RepositoryActive, store.RepositoryArchived:
	}
	s.Logger.WarnContext(ctx, "repository cannot be seen any more; its previews are kept", "repository", known.FullName, "id", id,
		"hint", "check that the App is installed on it, or that the token has access to it")
	_, err = s.Store.SetRepository(ctx, id, "", store.RepositoryUnreachable, s.Clock())
	return store.RepositoryUnreachable, err
}

// removeAbandoned removes the previews of repositories that the forge said are gone, and does not find, once the time is up.
func (s *Service) removeAbandoned(ctx context.Context, previews []*mayfly.Preview) error {
	repositories, err := s.Store.Repositories(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for _, r := range repositories {
		if r.State != store.RepositoryDeleted && r.State != store.RepositoryRemoved {
			continue
		}
		for _, p := range previews {
			if p.PR == nil || p.PR.RepositoryID != r.ID || p.WantDeleted || s.Clock().Sub(r.Since) < s.graceFor(p, r.State) {
				continue
			}
			if _, err := s.Forge.RepositoryByID(ctx, r.ID); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
				failures = append(failures, err) // it is there, or nobody knows
				break
			}
			s.Logger.InfoContext(ctx, "removing the preview of a repository that is gone", "preview", p.Name, "state", r.State, "since", r.Since)
			if _, err := s.delete(ctx, p); err != nil {
				failures = append(failures, err)
			}
		}
	}
	return errors.Join(failures...)
}

func (s *Service) graceFor(p *mayfly.Preview, state store.RepositoryState) time.Duration {
	if state == store.RepositoryRemoved {
		return removedGrace
	}
	project, _ := s.Projects.Project(p.Project)
	return max(project.Previews.PullRequests.Grace, goneGrace)
}
