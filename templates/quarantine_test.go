package templates

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/quarantine"
)

// noQuarantine fails the test if anything of the source is left.
func (b *bed) noQuarantine(t *testing.T, templateID string) {
	t.Helper()
	if left, err := pgtest.Engine(t).Containers(context.Background(), map[string]string{"template": templateID}); err != nil || len(left) > 0 {
		t.Errorf("containers are left: %v, %v", left, err)
	}
	volumes, err := b.volumes.List(context.Background())
	if err != nil || slices.ContainsFunc(volumes, func(v driver.Volume) bool { return v.ID == quarantine.ID(templateID) }) {
		t.Errorf("the quarantine's volume is left (%v)", err)
	}
}

// TestBuildThroughQuarantine builds the same template from each kind of source that cannot be streamed.
func TestBuildThroughQuarantine(t *testing.T) {
	t.Parallel()
	server := pgtest.StartPrimary(t, 0)
	server.Exec(t, "postgres", "CREATE DATABASE "+testDatabase)
	server.Exec(t, testDatabase, strings.ReplaceAll(sourceSQL, "@suffix@", "quarantine"))
	server.Exec(t, "postgres", "CREATE DATABASE other")
	server.Exec(t, "other", "CREATE TABLE t AS SELECT 'not for the template'")

	for name, test := range map[string]struct {
		path   func(t *testing.T) string
		format string
		backup bool
	}{
		"cluster script": {func(t *testing.T) string {
			var out bytes.Buffer
			z := gzip.NewWriter(&out)
			if _, err := z.Write(server.Client(t, "pg_dumpall", "--clean")); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			return writeFile(t, out.Bytes())
		}, "script, in gzip", false},
		"INSERT statements": {func(t *testing.T) string {
			return writeFile(t, server.Client(t, "pg_dump", "--dbname="+testDatabase, "--rows-per-insert=100"))
		}, "plain", false},
		"base backup": {func(t *testing.T) string { return server.BaseBackup(t, "--format=tar") }, "base backup", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			req := request(t, mayfly.Source{Archive: test.path(t)}, rulesYAML)
			if newer, err := b.engine.Image(t.Context(), "", 17); test.backup && err == nil {
				req.Project.Postgres.Major = max(newer.Major, req.Project.Postgres.Major) // the quarantine stays at the backup's
			}
			result := b.build(t, req)
			b.noQuarantine(t, req.Template.ID)
			if is := result.Report.Source; is.Format != test.format || is.Kind != "archive" || !slices.ContainsFunc(result.Report.Phases, func(p PhaseReport) bool { return p.Name == PhaseQuarantine }) {
				t.Errorf("the report says %+v, phases %v", is, result.Report.Phases)
			}
			_, template := b.clone(t, req.Template.ID, result.Image)
			if test.backup { // unlogged tables are not in it
				source := server.Connect(t, testDatabase)
				for _, query := range []string{"SELECT count(*) || ' ' || sum(total) FROM public.orders", "SELECT string_agg(code, '' ORDER BY id) FROM public.customers"} {
					if got, want := value(t, template, query), value(t, source, query); got != want {
						t.Errorf("%s: %s, want %s", query, got, want)
					}
				}
				return
			}
			checkRows(t, server.Connect(t, testDatabase), template)
		})
	}
}

// TestCancelInQuarantine cancels a build while its source is being restored.
func TestCancelInQuarantine(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	req := request(t, mayfly.Source{Archive: writeFile(t, []byte("CREATE TABLE t (id int);\nSELECT pg_sleep(3600);\n"))}, rulesYAML)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := b.builder.Build(ctx, req)
		ended <- err
	}()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for running := false; !running; {
		select {
		case err := <-ended:
			t.Fatalf("ended early: %v", err)
		case <-ticker.C:
		}
		instances, err := b.engine.List(ctx, map[string]string{"role": "quarantine", "template": req.Template.ID, "project": "shop"})
		running = err == nil && slices.ContainsFunc(instances, func(i driver.Instance) bool { return i.Running })
	}
	cancel()
	if err := <-ended; mayfly.ErrorCode(err) != mayfly.CodeCancelled {
		t.Errorf("cancelled: %v", err)
	}
	b.nothingLeft(t, req.Template.ID)
	b.noQuarantine(t, req.Template.ID)
}

// TestDiscardFindsQuarantine removes what a killed process left.
func TestDiscardFindsQuarantine(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image, id := pgtest.Image(t, 0), mayfly.NewID("t")
	if err := b.volumes.Create(t.Context(), quarantine.ID(id), image.User); err != nil {
		t.Fatal(err)
	}
	if err := b.engine.Create(t.Context(), driver.InstanceSpec{
		ID: quarantine.ID(id), Image: image.ID, Volume: quarantine.ID(id), Labels: map[string]string{"role": "quarantine", "template": id},
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.builder.Discard(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.noQuarantine(t, id)
}

// TestSettingsForOtherSources refuses what would be silently ignored.
func TestSettingsForOtherSources(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	now := time.Now()
	script := writeFile(t, []byte("CREATE TABLE t (id int);\n"))
	for _, source := range []mayfly.Source{{Archive: script, RecoverTo: &now}, {Archive: script, WAL: t.TempDir()}} {
		req := request(t, source, rulesYAML)
		if _, err := b.builder.Build(t.Context(), req); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%+v: %v", source, err)
		}
	}
}
