package quarantine

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const testTimeout = 3 * time.Minute

// options are those of a test. What a test makes with them is gone when it ends, or the test fails.
func options(t *testing.T) Options {
	t.Helper()
	anyMajor := pgtest.Image(t, 0).Major
	opts := Options{
		Engine: pgtest.Engine(t), Volumes: pgtest.Pool(t), Logger: slog.New(slog.DiscardHandler), TemplateID: mayfly.NewID("t"), Project: "shop", Preferred: "shop",
		Image: func(ctx context.Context, major int) (driver.Image, error) {
			return pgtest.Engine(t).Image(ctx, "", cmp.Or(major, anyMajor))
		},
	}
	t.Cleanup(func() {
		ctx := context.Background()
		nothingLeft(t, opts)
		if err := Destroy(ctx, opts.Engine, opts.Volumes, opts.Logger, opts.TemplateID); err != nil {
			t.Errorf("destroy: %v", err)
		}
	})
	return opts
}

// nothingLeft fails the test if an instance, a container or a volume is left.
func nothingLeft(t *testing.T, opts Options) {
	t.Helper()
	ctx := context.Background()
	if found, err := pgtest.Engine(t).Containers(ctx, map[string]string{"template": opts.TemplateID}); err != nil || len(found) > 0 {
		t.Errorf("containers are left: %v, %v", found, err)
	}
	volumes, err := opts.Volumes.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if v.ID == ID(opts.TemplateID) {
			t.Error("the volume is left")
		}
	}
}

// destroyed destroys the cluster when the test is done with it.
func destroyed(t *testing.T, c *Cluster) *Cluster {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Destroy(context.Background()); err != nil {
			t.Errorf("destroy the cluster: %v", err)
		}
	})
	return c
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func openText(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func script(t *testing.T, opts Options, text string) (*Cluster, error) {
	t.Helper()
	return RestoreScript(bounded(t), opts, 0, "", openText(text))
}

func mustScript(t *testing.T, opts Options, text string) *Cluster {
	t.Helper()
	c, err := script(t, opts, text)
	if err != nil {
		t.Fatalf("restore: %v (%s)", err, mayfly.ErrorHint(err))
	}
	return destroyed(t, c)
}

// value runs a query that returns one text in the restored database.
func value(t *testing.T, c *Cluster, query string) string {
	t.Helper()
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var got string
	if err := conn.QueryRow(t.Context(), "SELECT ("+query+")::text").Scan(&got); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return got
}

// fullVolumes is a pool that has no space left.
type fullVolumes struct{ driver.Volumes }

func (v fullVolumes) Stat(ctx context.Context) (driver.PoolStat, error) {
	stat, err := v.Volumes.Stat(ctx)
	stat.FreeBytes = 0
	return stat, err
}

// TestFullPool ends a script that writes for ever before the pool is full.
func TestFullPool(t *testing.T) {
	t.Parallel()
	opts := options(t)
	opts.Volumes = fullVolumes{opts.Volumes}
	_, err := script(t, opts, "CREATE TABLE t AS SELECT pg_sleep(3600);\n")
	if mayfly.ErrorCode(err) != mayfly.CodePoolFull {
		t.Errorf("a full pool: %v", err)
	}
}

// TestShred looks for what was in a file, and in one that a link leads to, before the volume is deleted: where the files can be
// reached from here, which takes no image, and where they cannot.
func TestShred(t *testing.T) {
	t.Parallel()
	t.Run("here", func(t *testing.T) {
		t.Parallel()
		opts := options(t)
		checkShred(t, opts, func(context.Context) (driver.Image, error) { return driver.Image{}, errors.New("no image is needed") })
	})
	t.Run("in a container", func(t *testing.T) {
		t.Parallel()
		opts := options(t)
		opts.Volumes = struct{ driver.Volumes }{opts.Volumes}
		image := pgtest.Image(t, 0)
		checkShred(t, opts, func(context.Context) (driver.Image, error) { return image, nil })
	})
}

func checkShred(t *testing.T, opts Options, with func(context.Context) (driver.Image, error)) {
	t.Helper()
	image := pgtest.Image(t, 0)
	id := ID(opts.TemplateID)
	if err := opts.Volumes.Create(t.Context(), id, image.User); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opts.Volumes.Delete(context.Background(), id) })
	dir, err := pgtest.Pool(t).Path(id)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a row of production", 10000)
	result, err := opts.Engine.Run(t.Context(), driver.RunSpec{
		Image: image.ID, Volume: id, Stdin: strings.NewReader(text),
		Command: []string{"sh", "-c", "cd /mayfly/volume && mkdir -m 700 a && cat >'a/x y' && chmod 400 'a/x y' && ln -s /etc/passwd link"},
	})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("fill the volume: %v %s", err, result.Stderr)
	}
	if err := shred(t.Context(), opts.Engine, opts.Volumes, id, with); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadFile(filepath.Join(dir, "a", "x y"))
	if err != nil || strings.Trim(string(left), "\x00") != "" || len(left) < len(text) {
		t.Errorf("the file holds %d bytes that are not all zero, %v", len(left), err)
	}
	if err := opts.Volumes.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func finding(c *Cluster, code string) *Finding {
	for i := range c.Findings {
		if c.Findings[i].Code == code {
			return &c.Findings[i]
		}
	}
	return nil
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
