package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// patience bounds every wait of the suite, on a machine that is busy with other tests.
const patience = time.Minute

// EngineUnderTest is what the suite needs to exercise an engine. All its fields are shared by parallel subtests.
type EngineUnderTest struct {
	Engine driver.Engine
	// Other is an engine of another installation on the same machine. Nil skips what needs it.
	Other driver.Engine
	Image driver.Image
	// NewVolume makes an empty writable volume for the image's user under the given id. It is removed with the test.
	NewVolume func(t testing.TB, id string)
	// VolumeExists reports whether there is anything at all under the id.
	VolumeExists func(id string) bool
	// Containers names everything that carries the labels, throwaway containers too.
	Containers func(ctx context.Context, labels map[string]string) ([]string, error)
	// Kill ends the instance's process as a crash would. Nil skips what needs it.
	Kill func(t testing.TB, id string)
	// Foreign puts something that is not Mayfly's where the engine would put the instance, and returns a function that
	// reports whether it is still there and untouched. Nil skips what needs it.
	Foreign func(t testing.TB, id string) (untouched func() bool)
	// MissingImage is a reference that does not exist and fails quickly.
	MissingImage string
	// Hollow is true for an engine that runs no commands and whose instances hold no data: what is about those is left out.
	Hollow bool
}

// RunEngine runs the suite. newEngine is called once.
func RunEngine(t *testing.T, newEngine func(t *testing.T) EngineUnderTest) {
	t.Helper()
	s := &engineSuite{EngineUnderTest: newEngine(t)}
	groups := [][]engineTest{imageTests(), lifecycleTests(), isolationTests(), runTests()}
	if s.Hollow {
		groups = groups[:2]
	}
	for _, group := range groups {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, s)
			})
		}
	}
}

type engineTest struct {
	name string
	run  func(t *testing.T, s *engineSuite)
}

type engineSuite struct {
	EngineUnderTest
}

// spec returns an instance with an initialised volume of its own, removed at the end of the test.
func (s *engineSuite) spec(t *testing.T) driver.InstanceSpec {
	t.Helper()
	id := mayfly.NewID("e")
	s.NewVolume(t, id)
	s.init(t, id)
	s.removeLater(t, id)
	return driver.InstanceSpec{ID: id, Image: s.Image.ID, Volume: id, Args: cluster.Args(cluster.Preview)}
}

// init makes a data directory on a volume.
func (s *engineSuite) init(t *testing.T, volume string) {
	t.Helper()
	if s.Hollow {
		return
	}
	if err := cluster.Init(t.Context(), s.Engine, s.Image, volume, cluster.InitOptions{}); err != nil {
		t.Fatalf("initialise a data directory: %v", err)
	}
}

// needsData skips what an engine whose instances hold nothing cannot pass.
func (s *engineSuite) needsData(t *testing.T) {
	t.Helper()
	if s.Hollow {
		t.Skip("the engine's instances hold no data")
	}
}

func (s *engineSuite) removeLater(t *testing.T, id string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Engine.Remove(ctx, id); err != nil {
			t.Errorf("remove instance %s at the end: %v", id, err)
		}
	})
}

// running returns a started instance that accepts connections, and one connection to it.
func (s *engineSuite) running(t *testing.T) (driver.InstanceSpec, *pgx.Conn) {
	t.Helper()
	spec := s.spec(t)
	s.must(t, "create", s.Engine.Create(t.Context(), spec))
	s.must(t, "start", s.Engine.Start(t.Context(), spec.ID))
	return spec, s.connect(t, spec.ID)
}

func (s *engineSuite) connect(t *testing.T, id string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := cluster.WaitReady(ctx, s.Engine, id, "postgres", func(ctx context.Context) error {
		instance, err := s.find(ctx, id)
		if err == nil && !instance.Running {
			err = fmt.Errorf("it ended with exit code %d", instance.ExitCode)
		}
		return err
	})
	if err != nil {
		t.Fatalf("wait for Postgres: %v\n%s", err, s.logs(id))
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (s *engineSuite) logs(id string) []byte {
	inspector, ok := s.Engine.(driver.Inspector)
	if !ok {
		return nil
	}
	log, _ := inspector.Logs(context.Background(), id, 30)
	return log
}

// find returns the instance from List. ErrNotFound if it is not there.
func (s *engineSuite) find(ctx context.Context, id string) (driver.Instance, error) {
	all, err := s.Engine.List(ctx, nil)
	if err != nil {
		return driver.Instance{}, err
	}
	i := slices.IndexFunc(all, func(instance driver.Instance) bool { return instance.ID == id })
	if i < 0 {
		return driver.Instance{}, driver.ErrNotFound
	}
	return all[i], nil
}

// shell runs a script in a throwaway container and returns its output, both kinds, and its exit code.
func (s *engineSuite) shell(t *testing.T, script string, change func(*driver.RunSpec)) (string, driver.RunResult) {
	t.Helper()
	var out bytes.Buffer
	spec := driver.RunSpec{
		Image: s.Image.ID, Command: []string{"sh", "-c", script}, Stdout: &out, Labels: map[string]string{"role": "test"},
	}
	if change != nil {
		change(&spec)
	}
	result, err := s.Engine.Run(t.Context(), spec)
	if err != nil {
		t.Fatalf("run %q: %v", script, err)
	}
	return strings.TrimSpace(out.String() + string(result.Stderr)), result
}

func (s *engineSuite) must(t *testing.T, doing string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}

func wantNotFound(t *testing.T, doing string, err error) {
	t.Helper()
	if !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("%s: got error %v, want one that wraps ErrNotFound", doing, err)
	}
}

func imageTests() []engineTest {
	return []engineTest{
		{"image is resolved to a digest", testImage},
		{"image that cannot be had", testMissingImage},
	}
}

func testImage(t *testing.T, s *engineSuite) {
	if !strings.HasPrefix(s.Image.ID, "sha256:") || s.Image.Major < 10 || s.Image.User.UID <= 0 || s.Image.User.GID <= 0 {
		t.Errorf("image %+v: want a digest, a major version, and a user who is not root", s.Image)
	}
	again, err := s.Engine.Image(t.Context(), s.Image.ID, s.Image.Major)
	s.must(t, "resolve a digest", err)
	if again.ID != s.Image.ID || again.User != s.Image.User {
		t.Errorf("the digest resolves to %+v, want %+v", again, s.Image)
	}
	if _, err := s.Engine.Image(t.Context(), s.Image.ID, s.Image.Major+1); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
		t.Errorf("an image of another major version: got %v, want code %s", err, mayfly.CodeInvalid)
	}
}

func testMissingImage(t *testing.T, s *engineSuite) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := s.Engine.Image(ctx, s.MissingImage, 0)
	if mayfly.ErrorCode(err) != mayfly.CodeImageUnavailable || mayfly.ErrorHint(err) == "" {
		t.Errorf("resolve %s: got %v (hint %q), want code %s and a hint", s.MissingImage, err, mayfly.ErrorHint(err), mayfly.CodeImageUnavailable)
	}
	absent := "sha256:" + strings.Repeat("0", 64)
	id := mayfly.NewID("e")
	s.NewVolume(t, id)
	s.removeLater(t, id)
	err = s.Engine.Create(ctx, driver.InstanceSpec{ID: id, Image: absent, Volume: id})
	if mayfly.ErrorCode(err) != mayfly.CodeImageUnavailable {
		t.Errorf("create from an absent digest: got %v, want code %s", err, mayfly.CodeImageUnavailable)
	}
	_, err = s.Engine.Run(ctx, driver.RunSpec{Image: absent, Command: []string{"true"}})
	if mayfly.ErrorCode(err) != mayfly.CodeImageUnavailable {
		t.Errorf("run with an absent digest: got %v, want code %s", err, mayfly.CodeImageUnavailable)
	}
}
