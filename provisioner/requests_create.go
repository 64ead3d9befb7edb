package provisioner

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// SandboxRequest asks for a sandbox. At most one of TemplateVersion, From and SnapshotID is set; without any it is made from the newest
// template.
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
	// TemplateVersion is the version of the template that it is made from.
	TemplateVersion int
	// From is the name of a preview of the project, whose data as of now it has.
	From string
	// SnapshotID is a snapshot of the project.
	SnapshotID string
	// SizeClass is the size class that it is made with; "" for the project's limits.
	SizeClass string
	// Once, if not nil, makes the request one that may be made again.
	Once *store.Once
}

// CreateSandbox stores a new sandbox and returns without waiting for it to be made. CodeNotFound for an unknown project, template,
// preview or snapshot, CodeNoTemplate, CodeConflict, CodeQuotaExceeded and CodePoolFull are told at once rather than later.
func (s *Service) CreateSandbox(ctx context.Context, r SandboxRequest) (*mayfly.Preview, error) {
	if id, err := s.Store.Done(ctx, r.Once); err != nil || id != "" { // before anything that would be for nothing, and before its own quota
		if err != nil {
			return nil, err
		}
		return s.Store.Preview(ctx, id)
	}
	p, err := s.createSandbox(ctx, r)
	if before := (*store.DoneError)(nil); errors.As(err, &before) {
		return s.Store.Preview(ctx, before.Resource)
	}
	return p, err
}

func (s *Service) createSandbox(ctx context.Context, r SandboxRequest) (*mayfly.Preview, error) {
	project, err := s.project(r.Project)
	if err != nil {
		return nil, err
	}
	short := or(r.Name, strings.ToLower(mayfly.NewID("")[:8]))
	name, err := mayfly.SandboxName(project.Name, short)
	if err != nil {
		return nil, withField(err, "/name")
	}
	if err := s.CheckSize(project, r.SizeClass); err != nil {
		return nil, err
	}
	expires := s.Clock().Add(or(r.TTL, or(project.Previews.TTL, defaultTTL)))
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: name, Project: project.Name, Kind: mayfly.KindSandbox, Generation: 1, SizeClass: r.SizeClass,
		ExpiresAt: &expires, Labels: r.Labels, CreatedBy: r.CreatedBy,
	}
	s.newPassword(p)
	add := func() error { return s.addOnce(ctx, r.Once, p, project.Previews, r.Queue) }
	if r.From != "" {
		return p, s.branch(ctx, p, r, add)
	}
	template, err := s.originFor(ctx, p, r)
	if err != nil {
		return nil, err
	}
	p.TemplateID, p.TemplateVersion, p.Database, p.Owner = template.ID, template.Version, template.Database, template.Owner
	if err := add(); err != nil {
		return nil, err
	}
	return p, nil
}

// withField names the field that an invalid request is about.
func withField(err error, field string) error {
	var e *mayfly.Error
	if !errors.As(err, &e) || e.Code != mayfly.CodeInvalid {
		return err
	}
	named := *e
	named.Fields = []mayfly.FieldError{{Field: field, Message: e.Message}}
	return &named
}

// originFor sets the snapshot that a new preview is made from, if it is one, and returns its template.
func (s *Service) originFor(ctx context.Context, p *mayfly.Preview, r SandboxRequest) (*mayfly.Template, error) {
	switch {
	case r.TemplateVersion != 0:
		return s.usableVersion(ctx, p.Project, r.TemplateVersion)
	case r.SnapshotID != "":
		n, err := s.Store.Snapshot(ctx, r.SnapshotID)
		if err != nil {
			return nil, err
		}
		if n.Project != p.Project || n.Branch || n.State != mayfly.SnapshotReady { // it does not exist for who asks for another project
			return nil, mayfly.Errorf(mayfly.CodeNotFound, "project %s has no snapshot %s", p.Project, r.SnapshotID)
		}
		p.SnapshotID, p.ParentID = n.ID, n.PreviewID
		return s.Store.Template(ctx, n.TemplateID)
	}
	return s.Store.LatestTemplate(ctx, p.Project)
}

// branch makes a new preview one with the data that another has now. The copy is taken at once, so that what it is of does not depend on
// when converge comes to it, nor on what becomes of the other preview; and it is what the branch is made from again when it has to be.
func (s *Service) branch(ctx context.Context, p *mayfly.Preview, r SandboxRequest, add func() error) error {
	source, err := s.Store.PreviewByName(ctx, r.From)
	if err != nil {
		return err
	}
	if source.Project != p.Project {
		return mayfly.Errorf(mayfly.CodeNotFound, "project %s has no preview %s", p.Project, r.From).WithHint("mayfly ls shows all previews")
	}
	if _, err := s.Store.PreviewByName(ctx, p.Name); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		return cmp.Or(err, error(mayfly.Errorf(mayfly.CodeConflict, "a preview named %s already exists", p.Name).
			WithHint("choose another name, or remove it first: mayfly rm %s", p.Name)))
	}
	n := &mayfly.Snapshot{
		ID: mayfly.NewID("n"), Name: "for " + p.Name, Project: p.Project, PreviewID: source.ID, PreviewName: source.Name, Branch: true,
		TemplateID: source.TemplateID, TemplateVersion: source.TemplateVersion, CreatedBy: r.CreatedBy,
	}
	return s.takeSnapshot(ctx, nil, source, n, func() error {
		p.TemplateID, p.TemplateVersion, p.Database, p.Owner = n.TemplateID, n.TemplateVersion, source.Database, source.Owner
		p.SnapshotID, p.ParentID, p.ParentName = n.ID, source.ID, source.Name
		return add()
	})
}

// sized returns a project's settings with the limits of the preview's size class.
func (s *Service) sized(p *mayfly.Preview, settings mayfly.PreviewSettings) mayfly.PreviewSettings {
	class, ok := s.SizeClasses[p.SizeClass]
	if !ok { // none, or one that was taken out of the configuration
		return settings
	}
	settings.MemoryBytes = or(class.MemoryBytes, settings.MemoryBytes)
	settings.CPUs = or(class.CPUs, settings.CPUs)
	settings.Pids = or(class.Pids, settings.Pids)
	settings.ShmBytes = or(class.ShmBytes, settings.ShmBytes)
	settings.DiskBytes = or(class.DiskBytes, settings.DiskBytes)
	return settings
}

// CheckSize returns an error with CodeInvalid unless previews of the project may have that size class; "" is none, and always allowed.
func (s *Service) CheckSize(project mayfly.Project, name string) error {
	if name == "" {
		return nil
	}
	allowed := s.allowedSizes(project)
	if slices.Contains(allowed, name) {
		return nil
	}
	e := mayfly.InvalidField("/size", "project %s has no size class %q", project.Name, name)
	if _, exists := s.SizeClasses[name]; exists {
		e = mayfly.InvalidField("/size", "project %s does not allow the size class %q", project.Name, name)
	}
	if len(allowed) == 0 {
		return e.WithHint("leave the size out: the project has no size classes")
	}
	return e.WithHint("one of: %s", strings.Join(allowed, ", "))
}

// allowedSizes lists the size classes that a project allows: those that it names, or all that exceed none of its limits.
func (s *Service) allowedSizes(project mayfly.Project) []string {
	var allowed []string
	for _, name := range slices.Sorted(maps.Keys(s.SizeClasses)) {
		if project.Previews.SizeClasses != nil && slices.Contains(project.Previews.SizeClasses, name) ||
			project.Previews.SizeClasses == nil && within(s.SizeClasses[name], project.Previews) {
			allowed = append(allowed, name)
		}
	}
	return allowed
}

func within(c mayfly.SizeClass, limits mayfly.PreviewSettings) bool {
	const defaultShm = 64 << 20 // the engine's
	return c.MemoryBytes <= or(limits.MemoryBytes, defaultMemoryBytes) && c.CPUs <= or(limits.CPUs, defaultCPUs) &&
		c.Pids <= or(limits.Pids, defaultPids) && c.ShmBytes <= or(limits.ShmBytes, defaultShm) &&
		c.DiskBytes <= or(limits.DiskBytes, defaultDiskBytes)
}
