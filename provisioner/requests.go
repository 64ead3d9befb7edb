package provisioner

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// SandboxRequest asks for a sandbox.
type SandboxRequest struct {
	Project string
	// Name is the part after "<project>-"; "" for a random one.
	Name string
	// TTL is how long it lives; 0 for the project's setting.
	TTL       time.Duration
	Labels    map[string]string
	CreatedBy string
	// Queue lets it wait for room, in the state queued, instead of being refused.
	Queue bool
}

// CreateSandbox stores a new sandbox and returns without waiting for it to be made. CodeNotFound for an unknown project,
// CodeNoTemplate, CodeConflict, CodeQuotaExceeded and CodePoolFull are told at once rather than later.
func (s *Service) CreateSandbox(ctx context.Context, r SandboxRequest) (*mayfly.Preview, error) {
	project, err := s.project(r.Project)
	if err != nil {
		return nil, err
	}
	short := or(r.Name, strings.ToLower(mayfly.NewID("")[:8]))
	name, err := mayfly.SandboxName(project.Name, short)
	if err != nil {
		return nil, err
	}
	template, err := s.Store.LatestTemplate(ctx, project.Name)
	if err != nil {
		return nil, err
	}
	expires := s.Clock().Add(or(r.TTL, or(project.Previews.TTL, defaultTTL)))
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: name, Project: project.Name, Kind: mayfly.KindSandbox, TemplateID: template.ID,
		TemplateVersion: template.Version, Generation: 1,
		ExpiresAt: &expires, Labels: r.Labels, CreatedBy: r.CreatedBy, Database: template.Database, Owner: template.Owner,
	}
	s.newPassword(p)
	if err := s.add(ctx, p, project.Previews, r.Queue); err != nil {
		return nil, err
	}
	return p, nil
}

func (s *Service) project(name string) (mayfly.Project, error) {
	project, ok := s.Projects.Project(name)
	if !ok {
		known := make([]string, 0, 4)
		for _, p := range s.Projects.Projects() {
			known = append(known, p.Name)
		}
		return project, mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q", name).
			WithHint("the configuration has: %s", strings.Join(known, ", "))
	}
	return project, nil
}

// minFreeBytes is what must be free in the pool, beyond the pool's own reserve, for another preview to be accepted: the
// existing ones must be able to go on writing.
const minFreeBytes = 256 << 20

func (s *Service) checkSpace(ctx context.Context) error {
	stat, err := s.Volumes.Stat(ctx)
	if err != nil {
		return err
	}
	if stat.FreeBytes < minFreeBytes {
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool has only %d MiB free; a new preview would endanger the existing ones", stat.FreeBytes>>20).
			WithHint("remove previews (mayfly rm), wait for some to expire, or make the pool larger (pool.size)")
	}
	return nil
}

// newPassword gives the preview a fresh random password, sealed. 24 random bytes, as ASCII that needs no escaping in a URL.
func (s *Service) newPassword(p *mayfly.Preview) {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw)
	p.PasswordSealed = s.Sealer.Seal([]byte(base64.RawURLEncoding.EncodeToString(raw)), []byte(p.ID))
}

func (s *Service) password(p *mayfly.Preview) (string, error) {
	password, err := s.Sealer.Open(p.PasswordSealed, []byte(p.ID))
	if err != nil {
		return "", mayfly.Errorf(mayfly.CodeInternal, "open the credentials of preview %s: %w", p.Name, err).
			WithHint("the key that sealed them is not the key in use; mayfly reset %s makes new ones", p.Name)
	}
	return string(password), nil
}

// Credentials is what a client needs besides the gateway's address.
type Credentials struct {
	Database string // the preview's name, as the gateway knows it
	User     string
	Password string
}

// Credentials returns the current credentials of a preview.
func (s *Service) Credentials(ctx context.Context, name string) (*Credentials, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	password, err := s.password(p)
	if err != nil {
		return nil, err
	}
	return &Credentials{Database: p.Name, User: p.Owner, Password: password}, nil
}

// Reset asks for a preview to be made anew from the newest template, with a new password. Its data is lost.
func (s *Service) Reset(ctx context.Context, name string) (*mayfly.Preview, error) {
	return s.change(ctx, name, func(p *mayfly.Preview) error {
		template, err := s.Store.LatestTemplate(ctx, p.Project)
		if err != nil {
			return err
		}
		p.TemplateID = template.ID
		p.Generation++
		p.WantSuspended = false
		s.newPassword(p)
		return nil
	})
}

// Change is what can be changed of a preview while it lives. Zero fields change nothing.
type Change struct {
	// TTL lets it live for this long from now, if that is later than it would have ended.
	TTL time.Duration
	// Suspended stops its Postgres, data staying, or starts it again. It also wakes on connect.
	Suspended *bool
}

// maxExtension is the longest time from now that a preview may be extended to.
const maxExtension = 90 * 24 * time.Hour

// Change stores a change of a preview.
func (s *Service) Change(ctx context.Context, name string, c Change) (*mayfly.Preview, error) {
	if c.TTL < 0 || c.TTL > maxExtension {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "cannot extend by %s", c.TTL).WithHint("use a time up to 90d")
	}
	return s.change(ctx, name, func(p *mayfly.Preview) error {
		if until := s.Clock().Add(c.TTL); c.TTL > 0 && p.ExpiresAt != nil && p.ExpiresAt.Before(until) {
			p.ExpiresAt = &until
		}
		if c.Suspended != nil {
			p.WantSuspended = *c.Suspended
		}
		return nil
	})
}

// Wake asks for a suspended preview to be started.
func (s *Service) Wake(ctx context.Context, name string) (*mayfly.Preview, error) {
	return s.change(ctx, name, func(p *mayfly.Preview) error { p.WantSuspended = false; return nil })
}

// Delete asks for a preview to be removed with everything it has. Deleting one that is being deleted changes nothing.
func (s *Service) Delete(ctx context.Context, name string) (*mayfly.Preview, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.delete(ctx, p)
}

func (s *Service) delete(ctx context.Context, p *mayfly.Preview) (*mayfly.Preview, error) {
	return s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error { p.WantDeleted = true; return nil })
}

func (s *Service) change(ctx context.Context, name string, change func(*mayfly.Preview) error) (*mayfly.Preview, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error {
		if p.WantDeleted {
			return mayfly.Errorf(mayfly.CodeConflict, "preview %s is being removed", p.Name)
		}
		return change(p)
	})
}

// Await waits until the condition holds for the preview, or ctx ends, in which case it returns the last state with an
// error of CodeTimeout. A preview that is deleted while it is waited for ends the wait as well.
func (s *Service) Await(ctx context.Context, id string, until func(*mayfly.Preview) bool) (*mayfly.Preview, error) {
	changes, stop := s.Watcher.Watch(id)
	defer stop()
	for {
		p, err := s.Store.Preview(ctx, id)
		if err != nil {
			return nil, err
		}
		if until(p) || p.State == mayfly.PreviewDeleted {
			return p, nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return p, mayfly.Errorf(mayfly.CodeTimeout, "preview %s is still %s: %w", p.Name, p.State, ctx.Err()).
				WithHint("it goes on; ask again, or see its timeline: mayfly get %s", p.Name)
		}
	}
}

// AwaitConnectable waits for the preview of that name to be one that a client can be connected to, waking it if it is
// suspended. It returns the preview's failure as an error if it cannot be had.
func (s *Service) AwaitConnectable(ctx context.Context, name string) (*mayfly.Preview, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	if p.State == mayfly.PreviewSuspended || p.WantSuspended {
		if p, err = s.wakeForClient(ctx, name); err != nil {
			return nil, err
		}
	}
	reached := func(*mayfly.Preview) bool { return true }
	if p.Connectable() && p.Settled() && !s.runs(ctx, p) {
		// Somebody could not reach a preview that should be there. Nothing in its row will change when it is.
		if err := s.Recheck(ctx, p.ID); err != nil {
			return nil, err
		}
		reached = func(p *mayfly.Preview) bool { return !p.Connectable() || s.runs(ctx, p) }
	}
	p, err = s.Await(ctx, p.ID, func(p *mayfly.Preview) bool {
		return p.WantDeleted || (p.Settled() && !p.WantSuspended && reached(p))
	})
	switch {
	case err != nil:
		return p, err
	case p.WantDeleted || p.State == mayfly.PreviewDeleted:
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "preview %s is being removed", p.Name)
	case !p.Connectable():
		return p, &mayfly.Error{Code: p.Failure.Code, Message: p.Failure.Message, Hint: p.Failure.Hint}
	}
	return p, nil
}

func (s *Service) runs(ctx context.Context, p *mayfly.Preview) bool {
	instance, err := s.Engine.Inspect(ctx, p.Instance())
	return err == nil && instance.Running
}

// Recheck asks for a preview that should be running to be looked at: its Postgres did not answer.
func (s *Service) Recheck(ctx context.Context, id string) error {
	_, err := s.Store.ChangePreview(ctx, id, func(*mayfly.Preview) error { return nil })
	return err
}

// Progress says in a few words what is happening to a preview, to go after "<name> is ". "" if there is no such preview.
func (s *Service) Progress(ctx context.Context, name string) string {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return ""
	}
	if p.State == mayfly.PreviewQueued {
		return s.queuedText(ctx, p)
	}
	if p.Failure != nil {
		return string(p.State) + ": " + p.Failure.Message
	}
	steps, err := s.Store.Steps(ctx, p.ID)
	if err != nil || len(steps) == 0 {
		return string(p.State)
	}
	last := steps[len(steps)-1]
	text := string(p.State) + " (" + last.Name
	if last.Detail != "" {
		text += ": " + last.Detail
	}
	return text + ")"
}
