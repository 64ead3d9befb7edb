package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// buildTemplate builds a template of a project through the API and returns how long it took.
func (b *bench) buildTemplate(ctx context.Context, project string) (time.Duration, error) {
	began := time.Now()
	t, err := b.service.api.BuildTemplate(ctx, project)
	if err != nil {
		return 0, err
	}
	var last *client.Template
	err = b.service.api.FollowTemplate(ctx, t.ID, func(t *client.Template) bool {
		last = t
		return true
	})
	took := time.Since(began)
	switch {
	case err != nil:
		return 0, err
	case last == nil || last.State != string(mayfly.TemplateReady):
		return 0, fmt.Errorf("the template of %s: %w", project, failureOf(last))
	}
	b.templates[project] = t.ID
	b.phases = nil
	for _, step := range last.Steps {
		b.phases = append(b.phases, fmt.Sprintf("%s %.1f s", step.Name, step.DurationMS/1000))
	}
	return took, nil
}

func failureOf(t *client.Template) error {
	if t == nil || t.Failure == nil {
		return errors.New("it is not ready")
	}
	return fmt.Errorf("%s: %s", t.Failure.Message, t.Failure.Hint)
}

// measureBuilds builds from the live source with everything kept.
func (b *bench) measureBuilds(ctx context.Context) error {
	return b.compareBuilds(ctx, "template_build", b.sizeProjects()[0], "from the live source, all columns kept")
}

// measureMaskedBuilds builds from the live source with columns masked.
func (b *bench) measureMaskedBuilds(ctx context.Context) error {
	return b.compareBuilds(ctx, "template_build_masked", maskedProject, "from the live source, seven columns of two tables masked")
}

const dumpText = "pg_dump -Fd -j2 -Z0, then pg_restore -j2 into a cluster without fsync, nothing masked, not analyzed"

// compareBuilds builds templates and, in turn, dumps and restores the same database.
func (b *bench) compareBuilds(ctx context.Context, name, project, what string) error {
	var ours, theirs series
	for range b.builds {
		took, err := b.buildTemplate(ctx, project)
		if err != nil {
			return err
		}
		ours.add(took.Seconds())
		if took, err = b.dumpAndRestore(ctx, project); err != nil {
			return err
		}
		theirs.add(took.Seconds())
	}
	return b.recordBuilds(ctx, name, project, what, dumpText, ours, theirs)
}

func (b *bench) recordBuilds(ctx context.Context, name, database, what, beside string, ours, theirs series) error {
	bytes, err := b.source.size(ctx, database)
	if err != nil {
		return err
	}
	conditions := map[string]any{
		"what": what + "; from the request until the template is ready: loaded, indexed, analyzed, verified, synced and frozen",
		"mib":  round(bytes / mib), "phases_of_the_last": b.phases,
	}
	b.record(rates(ours, bytes).result(name+"_mib_per_s", "MiB/s").beside(beside, rates(theirs, bytes)), with(conditions, "higher_is_better", true))
	b.record(ours.result(name+"_s", "s").beside(beside, theirs), conditions)
	return nil
}

func with(conditions map[string]any, key string, value any) map[string]any {
	more := map[string]any{key: value}
	for k, v := range conditions {
		more[k] = v
	}
	return more
}

// rates turns seconds into MiB of the source's database per second.
func rates(seconds series, bytes float64) series {
	var out series
	for _, s := range seconds {
		out.add(bytes / mib / s)
	}
	return out
}

// dumpAndRestore does what a script would, and returns how long both took.
func (b *bench) dumpAndRestore(ctx context.Context, database string) (time.Duration, error) {
	const dir = driver.VolumeMount + "/dump"
	began := time.Now()
	err := b.client(ctx, b.source, "pg_dump", "-Fd", "-j2", "-Z0", "-h", driver.SocketDir, "-U", databaseOwner, "-f", dir, database)
	if err != nil {
		return 0, err
	}
	dumped := time.Since(began)
	restored, err := b.restore(ctx, dir)
	if err != nil {
		return 0, err
	}
	return dumped + restored, b.client(ctx, b.source, "rm", "-r", dir)
}

// restore restores a dump into a new cluster, which it removes, and returns how long pg_restore took.
func (b *bench) restore(ctx context.Context, dump string) (time.Duration, error) {
	target, err := b.startPostgres(ctx, "target")
	if err != nil {
		return 0, err
	}
	if err := target.exec(ctx, "postgres", "CREATE ROLE "+databaseOwner+" LOGIN", "CREATE DATABASE app OWNER "+databaseOwner); err != nil {
		return 0, err
	}
	began := time.Now()
	err = b.client(ctx, target, "pg_restore", "-j2", "-h", driver.SocketDir, "-U", "mayfly_admin", "-d", "app", dump)
	took := time.Since(began)
	return took, errors.Join(err, b.removePostgres(ctx, target))
}

// measureArchive builds from a custom-format archive, beside pg_restore of the same file.
func (b *bench) measureArchive(ctx context.Context) error {
	const file = driver.VolumeMount + "/app.dump"
	database := b.sizeProjects()[0]
	err := b.client(ctx, b.source, "pg_dump", "-Fc", "-h", driver.SocketDir, "-U", databaseOwner, "-f", file, database)
	if err != nil {
		return err
	}
	var ours, theirs series
	for range b.builds {
		took, err := b.buildTemplate(ctx, archiveProject)
		if err != nil {
			return err
		}
		ours.add(took.Seconds())
		if took, err = b.restore(ctx, file); err != nil {
			return err
		}
		theirs.add(took.Seconds())
	}
	return b.recordBuilds(ctx, "restore_archive", database, "from a custom-format archive with pg_dump's default compression, all columns kept",
		"pg_restore -j2 of the same archive into a cluster without fsync, not analyzed", ours, theirs)
}
