package provisioner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// readyTimeout bounds the time from starting a container to its Postgres accepting connections. A clone starts without
// recovery in milliseconds; one that crashed has WAL to replay.
const readyTimeout = 2 * time.Minute

// createTimeout bounds the making of a stopped container.
const createTimeout = time.Minute

// build makes the wanted generation: a clone, an instance on it, the preview's password. Whatever an earlier generation left is
// removed first. Every step finds its own work done if it was.
func (s *Service) build(ctx context.Context, p *mayfly.Preview) error {
	origin, err := s.originOf(ctx, p)
	if err != nil {
		return err
	}
	template, err := s.templateOf(ctx, p)
	if err != nil {
		return err
	}
	p.TemplateID, p.Database, p.Owner = template.ID, template.Database, template.Owner
	p.State = mayfly.PreviewCreating
	if err := s.Store.Observe(ctx, p); err != nil {
		return err
	}
	if p.Generation > 1 {
		if err := s.removeGenerations(ctx, p, p.Generation); err != nil {
			return err
		}
	}
	project, err := s.project(p.Project)
	if err != nil {
		return err
	}
	if err := s.cloneAndCreate(ctx, p, template, origin, project); err != nil {
		return err
	}
	err = s.step(ctx, p, "start", "", func(ctx context.Context) (string, error) {
		built := *p
		built.ObservedGeneration = p.Generation
		conn, err := s.startInstance(ctx, &built, template)
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if origin != nil {
			if err := takeOver(ctx, conn, p); err != nil {
				return "", err
			}
		}
		if p.SchemaOnly { // before anybody has a password to look at them with
			if err := s.empty(ctx, conn, p); err != nil {
				return "", err
			}
		}
		if err := s.setPassword(ctx, conn, p); err != nil {
			return "", err
		}
		return "", s.applyAllLogins(ctx, conn, p)
	})
	if err != nil {
		return err
	}
	s.Checkpoint("built")
	p.ObservedGeneration, p.ObservedSHA, p.ObservedPassword = p.Generation, "", p.PasswordVersion
	if origin != nil && origin.PreviewID == p.ID {
		p.ObservedSHA, p.ObservedBaseRef, p.ObservedBaseSHA = origin.ObservedSHA, origin.ObservedBaseRef, origin.ObservedBaseSHA
		return s.Store.RestoreApplied(ctx, p.ID, origin.ID)
	}
	return nil
}

// cloneAndCreate makes the volume and the stopped container on it at the same time: the container does not look at its volume before
// it is started.
func (s *Service) cloneAndCreate(
	ctx context.Context, p *mayfly.Preview, template *mayfly.Template, origin *mayfly.Snapshot, project mayfly.Project,
) error {
	built := *p
	built.ObservedGeneration = p.Generation
	var group errgroup.Group
	group.Go(func() error {
		// Not cancelled with the rest: the engine may finish a creation whose request was given up, after everything that the
		// preview has was looked for and removed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
		defer cancel()
		return s.Engine.Create(ctx, s.instanceSpec(&built, template))
	})
	group.Go(func() error {
		from, detail := template.ID, fmt.Sprintf("template %s v%d", template.Project, template.Version)
		if origin != nil {
			from, detail = origin.ID, describeOrigin(origin)
		}
		return s.step(ctx, p, "clone", detail, func(ctx context.Context) (string, error) {
			err := s.Volumes.Clone(ctx, from, p.Resource(p.Generation), or(s.sized(p, project.Previews).DiskBytes, defaultDiskBytes))
			return "", cloneError(err, template)
		})
	})
	err := group.Wait()
	s.Checkpoint("created")
	return err
}

func describeOrigin(n *mayfly.Snapshot) string {
	of := or(n.PreviewName, "a preview that is gone")
	if n.Branch {
		return fmt.Sprintf("%s as of %s", of, n.CreatedAt.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("snapshot %s of %s", n.Name, of)
}

func cloneError(err error, template *mayfly.Template) error {
	switch {
	case errors.Is(err, driver.ErrNoSpace):
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is too full for another preview: %w", err).
			WithHint("remove previews (mayfly rm), wait for some to expire, or make the pool larger (pool.size)")
	case errors.Is(err, driver.ErrNotFound):
		lost := templateLost(template)
		lost.Err = err
		return lost
	}
	return err
}

// templateLost is the error for a template that is on record and not in the pool.
func templateLost(template *mayfly.Template) *mayfly.Error {
	return mayfly.Errorf(mayfly.CodeNoTemplate, "the volume of template %s v%d is not in the pool", template.Project, template.Version).
		WithHint("if the pool's file system is not mounted, restart mayfly; otherwise build a new template "+
			"(mayfly template build --project %s) and reset the preview", template.Project)
}

// templateOf returns the template that the preview was given, or the newest if it has none or its own is gone.
func (s *Service) templateOf(ctx context.Context, p *mayfly.Preview) (*mayfly.Template, error) {
	if p.TemplateID != "" {
		template, err := s.Store.Template(ctx, p.TemplateID)
		if err != nil {
			return nil, err
		}
		// What comes from a snapshot needs the template's image, not its volume.
		if template.State == mayfly.TemplateReady || template.State == mayfly.TemplateRetired || p.SnapshotID != "" {
			return template, nil
		}
	}
	return s.Store.LatestTemplate(ctx, p.Project)
}

// startInstance makes sure that the instance of p.ObservedGeneration exists, runs, and accepts connections, and returns one
// as the admin role.
func (s *Service) startInstance(ctx context.Context, p *mayfly.Preview, template *mayfly.Template) (*pgx.Conn, error) {
	id := p.Instance()
	err := s.Engine.Start(ctx, id)
	if errors.Is(err, driver.ErrNotFound) { // somebody removed the container, or it was never made
		if err := s.Engine.Create(ctx, s.instanceSpec(p, template)); err != nil {
			return nil, err
		}
		err = s.Engine.Start(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	s.Checkpoint("started")
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return cluster.WaitReady(ctx, s.Engine, id, p.Database, func(ctx context.Context) error { return s.alive(ctx, id) })
}

func (s *Service) instanceSpec(p *mayfly.Preview, template *mayfly.Template) driver.InstanceSpec {
	project, _ := s.Projects.Project(p.Project) // a project that was removed from the configuration: its previews live on with the defaults
	settings := s.sized(p, project.Previews)
	return driver.InstanceSpec{
		ID:     p.Instance(),
		Image:  template.Image,
		Volume: p.Instance(),
		Args:   cluster.Args(cluster.Preview),
		Labels: map[string]string{"role": "preview", "preview": p.ID, "name": p.Name, "project": p.Project, "template": template.ID},
		Limits: driver.Limits{
			MemoryBytes: or(settings.MemoryBytes, defaultMemoryBytes),
			CPUs:        or(settings.CPUs, defaultCPUs),
			Pids:        or(settings.Pids, defaultPids),
			ShmBytes:    settings.ShmBytes,
		},
	}
}

// alive returns an error that says why an instance stopped, with the last lines of its log.
func (s *Service) alive(ctx context.Context, id string) error {
	instance, err := s.Engine.Inspect(ctx, id)
	if err != nil || instance.Running {
		return err
	}
	logs, err := s.Engine.Logs(ctx, id, 5)
	if err != nil {
		return fmt.Errorf("Postgres stopped with exit code %d", instance.ExitCode) //nolint:staticcheck // a proper name
	}
	return fmt.Errorf("Postgres stopped with exit code %d: %s", instance.ExitCode, strings.TrimSpace(string(logs))) //nolint:staticcheck // a proper name
}

// setPassword gives the application role its password, as a SCRAM verifier: the password itself does not reach the server, nor its log.
func (s *Service) setPassword(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview) error {
	password, err := s.password(p)
	if err != nil {
		return err
	}
	verifier, err := cluster.ScramVerifier(password)
	if err != nil {
		return err
	}
	// Should the statement fail, not even the verifier is for the log, which people read.
	quiet := "set log_statement = 'none'; set log_min_error_statement = 'panic'; set log_min_duration_statement = -1"
	if _, err := conn.Exec(ctx, quiet); err != nil {
		return fmt.Errorf("set the password of role %s in preview %s: %w", p.Owner, p.Name, err)
	}
	// A verifier consists of base64, '$' and ':', so it needs no escaping; a role name does.
	sql := "alter role " + pgx.Identifier{p.Owner}.Sanitize() + " login nosuperuser password '" + verifier + "'"
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("set the password of role %s in preview %s: %w", p.Owner, p.Name, err)
	}
	return nil
}

// tearDown removes everything a preview has, in the order that lets a crash be repaired: the row goes last.
func (s *Service) tearDown(ctx context.Context, p *mayfly.Preview) error {
	p.State = mayfly.PreviewDeleting
	if err := s.Store.Observe(ctx, p); err != nil {
		return err
	}
	s.Connections.Disconnect(p.ID)
	if err := s.removeGenerations(ctx, p, 0); err != nil {
		return err
	}
	if err := s.forget(ctx, p); err != nil {
		return err
	}
	if err := s.removeSnapshotsOf(ctx, p); err != nil {
		return err
	}
	s.Checkpoint("removed")
	now := s.Clock()
	p.State, p.DeletedAt, p.Failure = mayfly.PreviewDeleted, &now, nil
	if err := s.Store.Observe(ctx, p); err != nil {
		return err
	}
	return s.dropOrigin(ctx, p)
}

// removeGenerations removes the instances and volumes of all generations of a preview except keep (0 keeps none). It looks at what
// exists, not at what is remembered.
func (s *Service) removeGenerations(ctx context.Context, p *mayfly.Preview, keep int64) error {
	instances, err := s.Engine.List(ctx, map[string]string{"preview": p.ID})
	if err != nil {
		return err
	}
	err = s.step(ctx, p, "remove container", "", func(ctx context.Context) (string, error) {
		for _, instance := range instances {
			if keep != 0 && instance.ID == p.Resource(keep) {
				continue
			}
			if err := s.Engine.Remove(ctx, instance.ID); err != nil {
				return "", err
			}
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	return s.step(ctx, p, "remove volume", "", func(ctx context.Context) (string, error) {
		volumes, err := s.Volumes.List(ctx)
		if err != nil {
			return "", err
		}
		for _, volume := range volumes {
			if !strings.HasPrefix(volume.ID, p.ID+"-") || (keep != 0 && volume.ID == p.Resource(keep)) {
				continue
			}
			if err := s.Volumes.Delete(ctx, volume.ID); err != nil {
				return "", err
			}
		}
		return "", nil
	})
}
