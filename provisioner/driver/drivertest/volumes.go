package drivertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// VolumesUnderTest is what the suite needs to exercise copy-on-write storage on this host. All its fields are shared by
// parallel subtests.
type VolumesUnderTest struct {
	// Open opens one more handle on the one pool under test, as another process would. It is closed with the test.
	Open func(t testing.TB) driver.Volumes
	// Path is the host directory of a whole volume, as (*cow.Pool).Path returns it. Nil for volumes that hold no files: what is about
	// those is left out.
	Path func(id string) (string, error)
	// Full opens a handle on the same pool that takes the pool for full. Nil skips what needs it.
	Full func(t testing.TB) driver.Volumes
	// Process runs an operation in another process and waits for its end. With step > 0 that process is killed (SIGKILL)
	// when it comes to that step; it returns false then, and true if the operation ended before. Nil skips what needs it.
	Process func(t testing.TB, op VolumesOp, step int) (ended bool, err error)
	// Leftovers names what crashed operations left in the pool. Nil skips the check.
	Leftovers func() ([]string, error)
	// Limits is true if the driver enforces limitBytes here.
	Limits bool
	// ReadOnly is true if the files of a frozen volume cannot be written even by root.
	ReadOnly bool
}

// VolumesOp is one operation that another process can be asked for.
type VolumesOp struct {
	Name string `json:"name"` // "create", "freeze", "clone", "snapshot" or "delete"
	ID   string `json:"id"`
	From string `json:"from"` // for clone and snapshot
	UID  int    `json:"uid"`  // for create
	GID  int    `json:"gid"`  // for create
}

// Do carries the operation out.
func (op VolumesOp) Do(ctx context.Context, volumes driver.Volumes) error {
	switch op.Name {
	case "create":
		return volumes.Create(ctx, op.ID, driver.Owner{UID: op.UID, GID: op.GID})
	case "freeze":
		return volumes.Freeze(ctx, op.ID)
	case "clone":
		return volumes.Clone(ctx, op.From, op.ID, 0)
	case "snapshot":
		shooter, ok := volumes.(driver.Snapshotter)
		if !ok {
			return fmt.Errorf("%T makes no snapshots", volumes)
		}
		return shooter.Snapshot(ctx, op.From, op.ID, func(ctx context.Context) (context.Context, func(), error) {
			return ctx, func() {}, nil
		})
	case "delete":
		return volumes.Delete(ctx, op.ID)
	}
	return fmt.Errorf("no operation %q", op.Name)
}

// RunVolumes runs the suite. newVolumes is called once.
func RunVolumes(t *testing.T, newVolumes func(t *testing.T) VolumesUnderTest) {
	t.Helper()
	under := newVolumes(t)
	s := &volumesSuite{VolumesUnderTest: under, Volumes: under.Open(t)}
	groups := [][]volumesTest{volumesLifecycleTests(), volumesContentTests(), volumesConcurrencyTests(), volumesSnapshotTests(), volumesCrashTests()}
	// A group of its own, so that all of it has ended before newVolumes' clean-ups run.
	t.Run("volumes", func(t *testing.T) {
		for _, test := range slices.Concat(groups...) {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, s)
			})
		}
	})
	if s.Leftovers == nil {
		return
	}
	left, err := s.Leftovers()
	if err != nil || len(left) > 0 {
		t.Errorf("after the suite the pool should hold no leftovers, but has %v (%v)", left, err)
	}
}

type volumesTest struct {
	name string
	run  func(t *testing.T, s *volumesSuite)
}

type volumesSuite struct {
	VolumesUnderTest
	driver.Volumes
}

// owner is some user that is not the test's.
func owner() driver.Owner { return driver.Owner{UID: 31337, GID: 31338} }

// id returns a new identifier whose volume is removed at the end of the test.
func (s *volumesSuite) id(t *testing.T) string {
	t.Helper()
	id := mayfly.NewID("v")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Delete(ctx, id); err != nil {
			t.Errorf("delete volume %s at the end: %v", id, err)
		}
	})
	return id
}

func (s *volumesSuite) must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// wantError fails the test unless err is of the wanted kind.
func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %q", what, err, want)
	}
}

// template returns the id of a frozen volume that holds sampleTree.
func (s *volumesSuite) template(t *testing.T) string {
	t.Helper()
	id := s.filled(t)
	s.must(t, "freeze", s.Freeze(t.Context(), id))
	return id
}

// filled returns the id of a writable volume that holds sampleTree.
func (s *volumesSuite) filled(t *testing.T) string {
	t.Helper()
	id := s.id(t)
	s.must(t, "create", s.Create(t.Context(), id, owner()))
	if s.Path != nil {
		writeSample(t, s.path(t, id))
	}
	return id
}

// path returns the directory of a volume; a test that needs one ends here if volumes have none.
func (s *volumesSuite) path(t *testing.T, id string) string {
	t.Helper()
	if s.Path == nil {
		t.Skip("the volumes hold no files")
	}
	path, err := s.Path(id)
	if err != nil {
		t.Fatalf("path of volume %s: %v", id, err)
	}
	return path
}

// state returns what List of a handle says of a volume.
func state(t *testing.T, volumes driver.Volumes, id string) (exists, frozen bool) {
	t.Helper()
	list, err := volumes.List(t.Context())
	if err != nil {
		t.Fatalf("list volumes: %v", err)
	}
	for _, v := range list {
		if v.ID == id {
			if exists {
				t.Errorf("volume %s is listed twice", id)
			}
			exists, frozen = true, v.Frozen
		}
	}
	return exists, frozen
}

func (s *volumesSuite) wantState(t *testing.T, id string, exists, frozen bool) {
	t.Helper()
	if e, f := state(t, s, id); e != exists || f != frozen {
		t.Errorf("volume %s: exists %t, frozen %t; want exists %t, frozen %t", id, e, f, exists, frozen)
	}
	if s.Path == nil {
		return
	}
	if _, err := s.Path(id); exists != (err == nil) {
		t.Errorf("volume %s: exists %t, but its path gives error %v", id, exists, err)
	}
}

// wantThere fails the test unless the volume exists.
func (s *volumesSuite) wantThere(t *testing.T, id string) {
	t.Helper()
	if exists, _ := state(t, s, id); !exists {
		t.Errorf("volume %s does not exist", id)
	}
}

// wantSample fails the test unless the volume holds exactly sampleTree.
func (s *volumesSuite) wantSample(t *testing.T, id string) {
	t.Helper()
	if s.Path == nil {
		s.wantThere(t, id)
		return
	}
	path, err := s.Path(id)
	if err != nil {
		t.Errorf("path of volume %s: %v", id, err)
		return
	}
	got, err := listing(path)
	if err != nil {
		t.Errorf("read volume %s: %v", id, err)
		return
	}
	if want := sampleListing(); got != want {
		t.Errorf("volume %s differs from what was written to its origin.\ngot:\n%s\nwant:\n%s", id, got, want)
	}
}

// pattern is n bytes that differ from block to block and from seed to seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, 0, n+8)
	for x := uint64(seed) + 1; len(b) < n; x = x*6364136223846793005 + 1442695040888963407 { // Knuth's MMIX generator
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:n]
}
