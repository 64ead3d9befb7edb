package provisioner

import (
	"context"
	"errors"
	"fmt"
	"sync"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// watchDisk stands in for a quota where the pool's file system has none: a preview that has grown by more than its limit
// since it was cloned is suspended, which ends what it is doing, before it takes the space of all others. It may be
// woken, to be looked at or emptied, and is suspended again while it is too large. What it overwrites in place is not
// counted: that is bounded by the size of its template.
func (s *Service) watchDisk(ctx context.Context, p *mayfly.Preview) error {
	project, _ := s.Projects.Project(p.Project)
	limit := or(s.sized(p, project.Previews).DiskBytes, defaultDiskBytes)
	size, err := s.Volumes.Size(ctx, p.Instance())
	if errors.Is(err, driver.ErrNotFound) { // reset or removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	template, err := s.Store.Template(ctx, p.TemplateID)
	if err != nil {
		return err
	}
	grown := size - template.SizeBytes
	if grown <= limit {
		return nil
	}
	const mib = 1 << 20
	what := fmt.Sprintf("it has grown by %d MiB, its limit is %d MiB", grown/mib, limit/mib)
	s.Logger.WarnContext(ctx, "preview is over its disk limit", "preview", p.Name, "detail", what)
	now := s.Clock()
	step := mayfly.Step{
		Name: "disk limit", Detail: what, StartedAt: now, FinishedAt: &now,
		Error: "suspended; remove what it wrote, reset it, or raise previews.disk",
	}
	if err := s.Store.AddStep(ctx, p.ID, step); err != nil {
		return err
	}
	_, err = s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error { p.WantSuspended = true; return nil })
	return err
}

// withinDisk gives a context that ends when a volume of the preview has grown by more than the preview may write, for migrations on a
// pool that has no quotas: those write faster than watchDisk comes round. The returned function ends watching; its error says
// that the limit was reached.
func (s *Service) withinDisk(ctx context.Context, p *mayfly.Preview, volume string, project mayfly.Project) (context.Context, func() error) {
	if !s.WatchDisk {
		return ctx, func() error { return nil }
	}
	limit := or(s.sized(p, project.Previews).DiskBytes, defaultDiskBytes)
	within, end := context.WithCancel(ctx)
	var over bool
	var group sync.WaitGroup
	group.Go(func() {
		if over = s.outgrows(within, volume, limit); over {
			end()
		}
	})
	return within, func() error {
		end()
		group.Wait()
		if !over {
			return nil
		}
		return mayfly.Errorf(mayfly.CodeMigrationFailed, "the migrations wrote more than the %d MiB that the preview may have on top of its template", limit>>20).
			WithHint("change them to write less at a time, or raise previews.disk in the server's configuration")
	}
}
