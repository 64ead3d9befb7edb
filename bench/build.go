package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates"
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
	b.phases, b.loadSeconds = nil, 0
	for _, step := range last.Steps {
		b.phases = append(b.phases, fmt.Sprintf("%s %.1f s", step.Name, step.DurationMS/1000))
		if step.Name == templates.PhaseLoad {
			b.loadSeconds = step.DurationMS / 1000
		}
	}
	return took, nil
}

func failureOf(t *client.Template) error {
	if t == nil || t.Failure == nil {
		return errors.New("it is not ready")
	}
	return fmt.Errorf("%s: %s", t.Failure.Message, t.Failure.Hint)
}

// builds are the measured builds of one project.
type builds struct {
	times   series
	memory  series // the most that the service's process had at once, in MiB
	own     series // seconds that the service's process computed
	machine series // seconds that the whole machine computed
	load    series // seconds of the phase in which rows are read, masked and written
	phases  []string
}

// measure builds a template and keeps what it took.
func (b *bench) measure(ctx context.Context, project string, into *builds) error {
	if err := b.service.forgetPeak(); err != nil {
		return err
	}
	own, ownErr := b.service.cpuSeconds()
	machine, machineErr := machineSeconds()
	took, err := b.buildTemplate(ctx, project)
	if err != nil {
		return err
	}
	into.times.add(took.Seconds())
	peak, peakErr := b.service.peakMiB()
	ownAfter, ownAfterErr := b.service.cpuSeconds()
	machineAfter, machineAfterErr := machineSeconds()
	into.memory.add(peak)
	into.own.add(ownAfter - own)
	into.machine.add(machineAfter - machine)
	into.load.add(b.loadSeconds)
	into.phases = b.phases
	b.say("  %s: %.1f s, %.1f s of CPU, %.1f of them the service's, which had %.0f MiB: %v", project, took.Seconds(), machineAfter-machine, ownAfter-own, peak, b.phases)
	return errors.Join(ownErr, machineErr, peakErr, ownAfterErr, machineAfterErr)
}

// timed runs something that is measured beside ours.
func (b *bench) timed(what string, into *builds, do func() (time.Duration, error)) error {
	machine, machineErr := machineSeconds()
	took, err := do()
	if err != nil {
		return err
	}
	after, afterErr := machineSeconds()
	into.times.add(took.Seconds())
	into.machine.add(after - machine)
	b.say("  %s: %.1f s, %.1f s of CPU", what, took.Seconds(), after-machine)
	return errors.Join(machineErr, afterErr)
}

const (
	dumpText = "pg_dump -Fd -j2, then pg_restore -j2 into a cluster without fsync, nothing masked, not analyzed"
	rawText  = "pg_dump -Fd -j2 -Z0, then pg_restore -j2 into a cluster without fsync, nothing masked, not analyzed"
	liveText = "from the live source"
	doneText = "; from the request until the template is ready: loaded, indexed, analyzed, verified, searched for originals, synced and frozen"
)

// measureBuilds builds from the live source with everything kept and with columns masked and, in turn, dumps and restores
// the same database.
func (b *bench) measureBuilds(ctx context.Context) error {
	var kept, masked, plain, raw builds
	for range b.builds {
		for _, step := range []func() error{
			func() error { return b.measure(ctx, keptProject, &kept) },
			func() error {
				return b.timed("pg_dump, pg_restore", &plain, func() (time.Duration, error) { return b.dumpAndRestore(ctx) })
			},
			func() error { return b.measure(ctx, maskedProject, &masked) },
			func() error {
				return b.timed("pg_dump -Z0, pg_restore", &raw, func() (time.Duration, error) { return b.dumpAndRestore(ctx, "-Z0") })
			},
		} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	if err := b.recordBuilds(ctx, "template_build", liveText+", all columns kept", dumpText, &kept, &plain); err != nil {
		return err
	}
	if err := b.recordBuilds(ctx, "template_build_masked", liveText+", "+maskedText, dumpText, &masked, &plain); err != nil {
		return err
	}
	b.record(masked.times.result("template_build_masked_uncompressed_s", "s").beside(rawText, raw.times), map[string]any{
		"what": "the same builds beside dump and restore without compression, which is the faster way if the disk has the space",
	})
	var ratios, streamed series
	for i := range masked.times {
		ratios.add(masked.times[i] / kept.times[i])
		streamed.add((kept.times[i] + masked.load[i] - kept.load[i]) / kept.times[i])
	}
	b.record(ratios.result("template_masked_over_kept", "ratio"), map[string]any{
		"what": "the build with 8 of 20 columns of two tables masked by the one with everything kept, built in turn. " +
			"Only where something is masked there is anything to prove: the first has every value of the template and all files searched for originals, the second has its rows counted",
		"kept_s": kept.times, "masked_s": masked.times,
	})
	b.record(streamed.result("template_masking_over_kept", "ratio"), map[string]any{
		"what":   "the same, but of what masking adds only the masking itself and the fingerprints: the build with everything kept with the phase load of the masked one",
		"kept_s": kept.load, "masked_s": masked.load,
	})
	b.record(masked.memory.result("template_build_memory_mib", "MiB"), map[string]any{
		"what": "the most memory that the service's process had at once (VmHWM) while it built the masked template", "kept_p50": round(kept.memory.quantile(0.5)),
	})
	return nil
}

const maskedText = "8 of 20 columns of two tables masked"

func (b *bench) recordBuilds(ctx context.Context, name, what, beside string, ours, theirs *builds) error {
	bytes, err := b.source.size(ctx, shopDatabase)
	if err != nil {
		return err
	}
	conditions := map[string]any{
		"what": what + doneText, "mib": round(bytes / mib), "phases_of_the_last": ours.phases, "memory_mib": round(ours.memory.quantile(1)),
		"cpu_s": round(ours.machine.quantile(0.5)), "service_cpu_s": round(ours.own.quantile(0.5)), "baseline_cpu_s": round(theirs.machine.quantile(0.5)),
	}
	b.record(rates(ours.times, bytes).result(name+"_mib_per_s", "MiB/s").beside(beside, rates(theirs.times, bytes)), with(conditions, "higher_is_better", true))
	b.record(ours.times.result(name+"_s", "s").beside(beside, theirs.times), conditions)
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
func (b *bench) dumpAndRestore(ctx context.Context, options ...string) (time.Duration, error) {
	const dir = driver.VolumeMount + "/dump"
	command := append([]string{"pg_dump", "-Fd", "-j2", "-h", driver.SocketDir, "-U", databaseOwner, "-f", dir}, options...)
	began := time.Now()
	if err := b.client(ctx, b.source, append(command, shopDatabase)...); err != nil {
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
	if err := b.client(ctx, b.source, "pg_dump", "-Fc", "-h", driver.SocketDir, "-U", databaseOwner, "-f", file, shopDatabase); err != nil {
		return err
	}
	var kept, masked, theirs builds
	for range b.builds {
		if err := b.measure(ctx, archiveProject, &kept); err != nil {
			return err
		}
		if err := b.timed("pg_restore", &theirs, func() (time.Duration, error) { return b.restore(ctx, file) }); err != nil {
			return err
		}
		if err := b.measure(ctx, maskedArchiveProject, &masked); err != nil {
			return err
		}
	}
	const (
		what   = "from a custom-format archive with pg_dump's default compression, "
		beside = "pg_restore -j2 of the same archive into a cluster without fsync, nothing masked, not analyzed"
	)
	if err := b.recordBuilds(ctx, "restore_archive", what+"all columns kept", beside, &kept, &theirs); err != nil {
		return err
	}
	return b.recordBuilds(ctx, "restore_archive_masked", what+maskedText, beside, &masked, &theirs)
}
