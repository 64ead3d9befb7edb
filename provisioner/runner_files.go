package provisioner

import (
	"context"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/runner"
)

// filesOf reads the files among which the migrations of a commit are. Tools whose migrations are code have places of their own, and
// Django has none: then the repository's archive is looked through.
func (s *Service) filesOf(ctx context.Context, p *mayfly.Preview, sha string, settings mayfly.MigrationSettings) ([]migrations.File, error) {
	preset, code := runner.PresetOf(settings.Tool)
	dirs := preset.Paths
	if !code || settings.Path != "" {
		dirs = []string{settings.Path}
	}
	if settings.Tool == runner.Django && settings.Path == "" {
		return s.filesInArchive(ctx, p, sha, settings)
	}
	var all []migrations.File
	for _, dir := range dirs {
		files, err := s.filesAt(ctx, p, sha, dir)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

// filesInArchive finds what can be a migration by its path, anywhere in the repository.
func (s *Service) filesInArchive(ctx context.Context, p *mayfly.Preview, sha string, settings mayfly.MigrationSettings) ([]migrations.File, error) {
	if s.Code == nil {
		return nil, nil
	}
	key := archiveKey{p.PR.RepositoryID, sha, settings.Tool}
	if files, ok := s.archives.get(key); ok {
		return files, nil
	}
	archive, err := s.Code.Archive(ctx, p.PR.RepositoryID, sha)
	if err != nil {
		return nil, err
	}
	defer func() { _ = archive.Close() }()
	found, err := runner.Find(archive, runner.CheckoutLimits{}, func(path string) bool { return migrations.CodeFile(settings, path) })
	if err != nil {
		return nil, err
	}
	files := make([]migrations.File, len(found))
	for i, f := range found {
		files[i] = migrations.File{Path: f.Path, Content: f.Content}
	}
	s.archives.put(key, files)
	return files, nil
}

// unknownFiles says why a preview must be rebuilt for a commit: with nothing to tell what the command would do, nobody knows
// whether it can go on from where the preview is.
func unknownFiles(p *mayfly.Preview, project mayfly.Project) string {
	if project.Migrations.Tool != runner.Command || project.Migrations.Path != "" || p.ObservedSHA == p.PR.HeadSHA {
		return ""
	}
	return "there is a new commit, and migrations.path does not say which files belong to the command"
}
