package memory_test

import (
	"context"
	"slices"
	"testing"

	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/provisioner/driver/drivertest"
	"github.com/mayflydb/mayfly/provisioner/driver/memory"
)

func TestEngine(t *testing.T) {
	t.Parallel()
	drivertest.RunEngine(t, func(t *testing.T) drivertest.EngineUnderTest {
		t.Helper()
		volumes := memory.NewVolumes()
		engine := memory.NewEngine(memory.Options{Volumes: volumes, AdminRole: cluster.AdminRole})
		image, err := engine.Image(t.Context(), "", 17)
		if err != nil {
			t.Fatal(err)
		}
		return drivertest.EngineUnderTest{
			Engine: engine, Other: memory.NewEngine(memory.Options{Volumes: volumes, AdminRole: cluster.AdminRole}), Image: image, Hollow: true,
			NewVolume: func(tb testing.TB, id string) {
				tb.Helper()
				if err := volumes.Create(tb.Context(), id, image.User); err != nil {
					tb.Fatal(err)
				}
				tb.Cleanup(func() {
					if err := volumes.Delete(context.Background(), id); err != nil {
						tb.Error(err)
					}
				})
			},
			VolumeExists: func(id string) bool {
				all, err := volumes.List(context.Background())
				return err == nil && slices.ContainsFunc(all, func(v driver.Volume) bool { return v.ID == id })
			},
			Kill:         func(_ testing.TB, id string) { engine.Kill(id) },
			MissingImage: "memory:missing",
		}
	})
}

func TestVolumes(t *testing.T) {
	t.Parallel()
	drivertest.RunVolumes(t, func(*testing.T) drivertest.VolumesUnderTest {
		volumes := memory.NewVolumes()
		return drivertest.VolumesUnderTest{
			Open: func(testing.TB) driver.Volumes { return volumes },
		}
	})
}
