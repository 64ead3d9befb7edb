package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// buildable gives the installation's project a source, rules, a key and a hook that takes as long as the test wants.
func (in *installation) buildable(t *testing.T) {
	t.Helper()
	server := pgtest.Cluster(t)
	source := server.Database(t)
	server.Exec(t, source, sourceSQL)
	endpoint := server.TCP(t, source)
	server.Exec(t, source, "grant select on all tables in schema public to "+endpoint.Role)
	in.put(t, "dsn", endpoint.DSN())
	in.put(t, "rules.yaml", serviceRules)
	in.put(t, "masking.key", "0123456789abcdef0123456789abcdef")
	raw, err := os.ReadFile(in.config)
	if err != nil {
		t.Fatal(err)
	}
	in.put(t, "mayfly.yaml", strings.NewReplacer(
		"source: {archive: none.dump}", "source: {dsn_file: dsn}", "none.yaml", "rules.yaml", "none.key", "masking.key",
		"    migrations:", "    templates: {hooks: {after_load: [hook.sql]}}\n    migrations:",
	).Replace(string(raw)))
}

const slowHook, quickHook = "SELECT pg_sleep(600);", "SELECT 1;"

// killDuring starts a build and kills the service when it is in the hook.
func (in *installation) killDuring(t *testing.T) (templateID string) {
	t.Helper()
	in.put(t, "hook.sql", slowHook)
	s := in.start(t, "")
	built, err := in.client(t, s).BuildTemplate(t.Context(), "shop")
	if err != nil {
		t.Fatalf("ask for a build: %v", err)
	}
	eventually(t, "the build is in the hook", func() bool {
		steps, err := in.store.Steps(t.Context(), built.ID)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(steps, func(step mayfly.Step) bool { return step.Name == "after_load" })
	})
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.died(t)
	return built.ID
}

// left tells which containers and volumes there are of a template.
func (in *installation) left(t *testing.T, templateID string) (instances int, volume bool) {
	t.Helper()
	found, err := in.engine.List(t.Context(), map[string]string{"template": templateID, "role": "build"})
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := in.pool.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(found), slices.ContainsFunc(volumes, func(v driver.Volume) bool { return v.ID == templateID })
}

// kill -9 during a build: the next start builds the same template from the beginning, or, if somebody cancels it, removes what is there.
func TestKilledWhileBuilding(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	in.buildable(t)

	id := in.killDuring(t)
	if instances, volume := in.left(t, id); instances == 0 || !volume {
		t.Fatal("the killed build left nothing: this test shows nothing")
	}
	in.put(t, "hook.sql", quickHook)
	after := in.start(t, "")
	var got *mayfly.Template
	eventually(t, "the build is done by the next start", func() bool {
		var err error
		if got, err = in.store.Template(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return got.State != mayfly.TemplateBuilding
	})
	if got.State != mayfly.TemplateReady || got.RowCount != 100 {
		t.Errorf("the template is %+v, failure %+v", got, got.Failure)
	}
	if instances, volume := in.left(t, id); instances != 0 || !volume {
		t.Errorf("beside the ready template there are %d containers; its volume is there: %t", instances, volume)
	}
	after.stop(t)

	id = in.killDuring(t)
	after = in.start(t, "")
	if _, err := in.client(t, after).CancelBuild(t.Context(), id, "killed before"); err != nil {
		t.Fatalf("cancel: %v", err)
	}
	eventually(t, "the cancelled build has ended and left nothing", func() bool {
		var err error
		if got, err = in.store.Template(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		instances, volume := in.left(t, id)
		return got.State == mayfly.TemplateFailed && instances == 0 && !volume
	})
	if got.Failure == nil || got.Failure.Code != mayfly.CodeCancelled || !strings.Contains(got.Failure.Message, "killed before") {
		t.Errorf("the cancelled template is %+v, failure %+v", got, got.Failure)
	}
	for _, dir := range []string{"spool", "proof", "tmp"} {
		if _, err := os.Stat(filepath.Join(in.dir, "data", dir, id)); err == nil {
			t.Errorf("the cancelled build left %s", dir)
		}
	}
	after.stop(t)
}
