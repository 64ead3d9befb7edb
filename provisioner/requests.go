package provisioner

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

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

// Wake asks for a suspended preview to be started.
func (s *Service) Wake(ctx context.Context, name string) (*mayfly.Preview, error) {
	return s.change(ctx, name, func(p *mayfly.Preview) error { p.WantSuspended = false; return nil })
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
	if p.ClosedAt != nil {
		return nil, asleepForGood(p)
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
