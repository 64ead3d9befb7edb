package provisioner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// ChangeOptions are what goes with a change of a preview.
type ChangeOptions struct {
	// If, if not nil, is asked with the preview as it is when it is changed; an error of it is returned, and nothing is changed.
	If func(*mayfly.Preview) error
	// Once, if not nil, makes the request one that may be made again.
	Once *store.Once
}

// ResetRequest says what a preview is made anew from. The zero value means what it was branched from, or the newest template.
type ResetRequest struct {
	ChangeOptions

	// Newest and Same name the newest template, and the one that the preview has; Version one by its version.
	Newest, Same bool
	Version      int
}

// Reset asks for a preview to be made anew from the newest template, or from what it was branched from, with a new password. Its data
// is lost.
func (s *Service) Reset(ctx context.Context, name string) (*mayfly.Preview, error) {
	return s.ResetTo(ctx, name, ResetRequest{})
}

// ResetTo is Reset from what r says.
func (s *Service) ResetTo(ctx context.Context, name string, r ResetRequest) (*mayfly.Preview, error) {
	return s.changeOnce(ctx, name, r.ChangeOptions, func(p *mayfly.Preview) error {
		if err := s.unprotected(p, "be reset"); err != nil {
			return err
		}
		if err := s.chooseOrigin(ctx, p, r); err != nil {
			return err
		}
		p.Generation++
		p.WantSuspended = false
		s.newPassword(p)
		return nil
	})
}

// chooseOrigin sets what the preview's next generation is cloned from.
func (s *Service) chooseOrigin(ctx context.Context, p *mayfly.Preview, r ResetRequest) error {
	if p.SnapshotID != "" && !r.Newest && !r.Same && r.Version == 0 {
		origin, err := s.Store.Snapshot(ctx, p.SnapshotID)
		if err != nil {
			return err
		}
		if origin.PreviewID != p.ID && origin.State == mayfly.SnapshotReady {
			return nil
		}
	}
	template, err := s.chooseTemplate(ctx, p, r)
	if err != nil {
		return err
	}
	p.TemplateID, p.TemplateVersion, p.SnapshotID = template.ID, template.Version, ""
	return nil
}

func (s *Service) chooseTemplate(ctx context.Context, p *mayfly.Preview, r ResetRequest) (*mayfly.Template, error) {
	switch {
	case r.Version != 0:
		return s.usableVersion(ctx, p.Project, r.Version)
	case r.Same && p.TemplateID != "":
		template, err := s.Store.Template(ctx, p.TemplateID)
		if err != nil {
			return nil, err
		}
		return template, usable(template)
	}
	return s.Store.LatestTemplate(ctx, p.Project)
}

// usableVersion returns a project's template of that version, if previews can be made from it.
func (s *Service) usableVersion(ctx context.Context, project string, version int) (*mayfly.Template, error) {
	template, err := s.Store.TemplateVersion(ctx, project, version)
	if err != nil {
		return nil, err
	}
	return template, usable(template)
}

func usable(template *mayfly.Template) error {
	if template.State == mayfly.TemplateReady || template.State == mayfly.TemplateRetired {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeConflict, "template %s v%d is %s", template.Project, template.Version, template.State).
		WithHint("choose one that is ready or retired: mayfly template ls --project %s", template.Project)
}

// Change is what can be changed of a preview while it lives. Zero fields change nothing.
type Change struct {
	ChangeOptions

	// TTL lets it live for this long from now, if that is later than it would have ended.
	TTL time.Duration
	// Suspended stops its Postgres, data staying, or starts it again. It also wakes on connect.
	Suspended *bool
	// Labels are merged into those it has; nil takes one away.
	Labels map[string]*string
}

// maxExtension is the longest time from now that a preview may be extended to, or protected.
const maxExtension = 90 * 24 * time.Hour

// maxLabels bounds the labels of a preview.
const maxLabels = 32

// Change stores a change of a preview.
func (s *Service) Change(ctx context.Context, name string, c Change) (*mayfly.Preview, error) {
	if c.TTL < 0 || c.TTL > maxExtension {
		return nil, mayfly.InvalidField("/ttl", "cannot extend by %s", c.TTL).WithHint("use a time up to 90d")
	}
	return s.changeOnce(ctx, name, c.ChangeOptions, func(p *mayfly.Preview) error {
		if until := s.Clock().Add(c.TTL); c.TTL > 0 && p.ExpiresAt != nil && p.ExpiresAt.Before(until) {
			p.ExpiresAt = &until
		}
		if c.Suspended != nil {
			p.WantSuspended = *c.Suspended
		}
		return mergeLabels(p, c.Labels)
	})
}

func mergeLabels(p *mayfly.Preview, changes map[string]*string) error {
	if len(changes) == 0 {
		return nil
	}
	labels := maps.Clone(p.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for key, value := range changes {
		if value == nil {
			delete(labels, key)
			continue
		}
		labels[key] = *value
	}
	if len(labels) > maxLabels {
		return mayfly.InvalidField("/labels", "labels: the preview would have %d of them, and %d are allowed", len(labels), maxLabels)
	}
	p.Labels = labels
	return nil
}

// Protect keeps everybody and everything from removing the preview or its data for that time from now; 0 ends the protection.
func (s *Service) Protect(ctx context.Context, name string, how time.Duration, by, reason string, c ChangeOptions) (*mayfly.Preview, error) {
	if how < 0 || how > maxExtension {
		return nil, mayfly.InvalidField("/for", "cannot protect for %s", how).WithHint("use a time up to 90d")
	}
	return s.changeOnce(ctx, name, c, func(p *mayfly.Preview) error {
		p.ProtectedUntil, p.ProtectedBy, p.ProtectedReason = nil, "", ""
		if how > 0 {
			until := s.Clock().Add(how)
			p.ProtectedUntil, p.ProtectedBy, p.ProtectedReason = &until, by, reason
		}
		return nil
	})
}

// unprotected returns an error with CodeProtected while the preview is protected.
func (s *Service) unprotected(p *mayfly.Preview, what string) error {
	if !p.Protected(s.Clock()) {
		return nil
	}
	text := fmt.Sprintf("preview %s is protected until %s and cannot %s", p.Name, p.ProtectedUntil.UTC().Format(time.RFC3339), what)
	if p.ProtectedReason != "" {
		text += ": " + p.ProtectedReason
	}
	return mayfly.Errorf(mayfly.CodeProtected, "%s", text).WithHint("%s did that; a maintainer can end it: mayfly protect %s --off", or(p.ProtectedBy, "somebody"), p.Name)
}

// mayRebuild refuses to make a protected preview anew while there is something of it to be lost.
func (s *Service) mayRebuild(ctx context.Context, p *mayfly.Preview, why string) error {
	now, err := s.Store.Preview(ctx, p.ID)
	if err != nil || !now.Protected(s.Clock()) {
		return err
	}
	volumes, err := s.Volumes.List(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(volumes, func(v driver.Volume) bool { return v.ID == p.Instance() }) {
		return nil
	}
	return s.unprotected(now, "be made anew, as it would have to be: "+why)
}

// RotatePassword gives the preview a new password, which its Postgres has when the preview is settled, and ends the connections that
// were made with the old one.
func (s *Service) RotatePassword(ctx context.Context, name string, c ChangeOptions) (*mayfly.Preview, error) {
	return s.changeOnce(ctx, name, c, func(p *mayfly.Preview) error {
		s.newPassword(p)
		p.PasswordVersion++
		return nil
	})
}

// changePassword makes the password that the preview should have the one that it has, and ends the sessions of the owner.
func (s *Service) changePassword(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview) error {
	// Unqualified names would be looked up where the owner of the database says.
	_, err := conn.Exec(ctx, `set search_path = pg_catalog, pg_temp`)
	if err == nil {
		err = insist(ctx, conn, []string{p.Owner}, func(ctx context.Context) error { return s.setPassword(ctx, conn, p) })
	}
	if err == nil {
		err = endSessionsOf(ctx, conn, []string{p.Owner}) // those that began in between, with the password before
	}
	if err != nil {
		return fmt.Errorf("change the password of preview %s: %w", p.Name, err)
	}
	p.ObservedPassword = p.PasswordVersion
	return nil
}

// Delete asks for a preview to be removed with everything it has. Deleting one that is being deleted changes nothing.
func (s *Service) Delete(ctx context.Context, name string) (*mayfly.Preview, error) {
	return s.DeleteIf(ctx, name, ChangeOptions{})
}

// DeleteIf is Delete with options.
func (s *Service) DeleteIf(ctx context.Context, name string, c ChangeOptions) (*mayfly.Preview, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	may := func(p *mayfly.Preview) error {
		if c.If != nil {
			if err := c.If(p); err != nil {
				return err
			}
		}
		if p.WantDeleted {
			return nil
		}
		return s.unprotected(p, "be removed")
	}
	if err := may(p); err != nil {
		return nil, err
	}
	if err := s.dismiss(ctx, p); err != nil {
		return nil, err
	}
	return s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error {
		if err := may(p); err != nil {
			return err
		}
		p.WantDeleted = true
		return nil
	})
}

// delete is what the service itself removes previews with, when their time or their pull request is over. One that is protected stays,
// until somebody asks again.
func (s *Service) delete(ctx context.Context, p *mayfly.Preview) (*mayfly.Preview, error) {
	return s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error {
		if err := s.unprotected(p, "be removed"); err != nil {
			s.Logger.InfoContext(ctx, "preview stays", "preview", p.Name, "reason", err.Error())
			return nil
		}
		p.WantDeleted = true
		return nil
	})
}

func (s *Service) change(ctx context.Context, name string, change func(*mayfly.Preview) error) (*mayfly.Preview, error) {
	return s.changeOnce(ctx, name, ChangeOptions{}, change)
}

// changeOnce changes a preview that is not being removed. A request that was made before changes nothing.
func (s *Service) changeOnce(ctx context.Context, name string, c ChangeOptions, change func(*mayfly.Preview) error) (*mayfly.Preview, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	changed, err := s.Store.ChangePreviewOnce(ctx, c.Once, p.ID, func(p *mayfly.Preview) error {
		if p.WantDeleted {
			return mayfly.Errorf(mayfly.CodeConflict, "preview %s is being removed", p.Name)
		}
		if c.If != nil {
			if err := c.If(p); err != nil {
				return err
			}
		}
		return change(p)
	})
	if before := (*store.DoneError)(nil); errors.As(err, &before) {
		return s.Store.Preview(ctx, before.Resource)
	}
	return changed, err
}
