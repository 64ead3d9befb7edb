package docker_test

import (
	"context"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// TestOfficialLayout runs an image that is laid out like the official one: another uid, an entrypoint that initialises
// a database of its own, PGDATA set, and the data directory declared a volume.
func TestOfficialLayout(t *testing.T) {
	t.Parallel()
	b, api, base := newBench(t), newClient(t), pgtest.Image(t, 0)
	ctx := t.Context()
	ref := officialLookalike(t, api, base)
	found, err := b.engine.Image(ctx, ref, base.Major)
	if err != nil {
		t.Fatalf("resolve the image: %v", err)
	}
	if found.User != (driver.Owner{UID: 999, GID: 999}) {
		t.Errorf("the postgres user is %+v, want 999", found.User)
	}
	b.volume(t, "v", found.User)
	if err := cluster.Init(ctx, b.engine, found, "v", cluster.InitOptions{}); err != nil {
		t.Fatalf("initialise a data directory: %v", err)
	}
	spec := driver.InstanceSpec{ID: "official", Image: found.ID, Volume: "v", Args: cluster.Args(cluster.Preview)}
	if err := b.engine.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.engine.Remove(context.Background(), spec.ID) })
	if err := b.engine.Start(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := cluster.WaitReady(wait, b.engine, spec.ID, "postgres", nil)
	if err != nil {
		log, _ := b.engine.Logs(ctx, spec.ID, 20)
		t.Fatalf("connect: %v\n%s", err, log)
	}
	var directory string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&directory); err != nil || directory != driver.DataDir {
		t.Errorf("the data directory is %s, error %v; want %s", directory, err, driver.DataDir)
	}
	_ = conn.Close(ctx)
	inspected, err := api.ContainerInspect(ctx, b.name(spec.ID))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range inspected.Mounts {
		if m.Type == "volume" {
			t.Errorf("the engine made an anonymous volume at %s", m.Destination)
		}
	}
}

// officialLookalike derives such an image and returns its reference.
func officialLookalike(t *testing.T, api *client.Client, base driver.Image) string {
	t.Helper()
	ctx, ref := t.Context(), "mayfly-test:"+mayfly.NewID("o")
	inspected, err := api.ImageInspect(ctx, base.ID)
	if err != nil {
		t.Fatal(err)
	}
	created, err := api.ContainerCreate(ctx, &container.Config{
		Image: base.ID, User: "0", Entrypoint: []string{"sh", "-ec", `
			usermod -o -u 999 postgres
			groupmod -o -g 999 postgres
			printf '#!/bin/sh\necho the entrypoint ran; exit 1\n' >/usr/local/bin/docker-entrypoint.sh
			chmod 755 /usr/local/bin/docker-entrypoint.sh`},
	}, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = api.ContainerRemove(context.WithoutCancel(ctx), created.ID, container.RemoveOptions{Force: true})
	}()
	ended, failed := api.ContainerWait(ctx, created.ID, container.WaitConditionNextExit)
	if err := api.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		t.Fatal(err)
	case end := <-ended:
		if end.StatusCode != 0 {
			t.Fatalf("changing the image: exit code %d", end.StatusCode)
		}
	}
	_, err = api.ContainerCommit(ctx, created.ID, container.CommitOptions{Reference: ref, Config: &container.Config{
		Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"postgres"}, StopSignal: "SIGINT",
		Env:     append(inspected.Config.Env, "PGDATA=/var/lib/postgresql/data"),
		Volumes: map[string]struct{}{"/var/lib/postgresql": {}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := api.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the test's image: %v", err)
		}
	})
	return ref
}
