package pgtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	first, second := server.Database(t), server.Database(t)
	server.Exec(t, first, "CREATE TABLE only_here (id int); INSERT INTO only_here VALUES (1)")
	var found bool
	if err := server.Connect(t, second).QueryRow(t.Context(), "SELECT to_regclass('only_here') IS NOT NULL").Scan(&found); err != nil {
		t.Fatal(err)
	}
	if found {
		t.Errorf("a table made in %s exists in %s too", first, second)
	}
}

func TestDatabaseLikeIsPreparedOnceAndCopied(t *testing.T) {
	t.Parallel()
	server, prepared := pgtest.Cluster(t), 0
	prepare := func(ctx context.Context, dsn string) error {
		prepared++
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE TABLE thing (id int); INSERT INTO thing VALUES (1)")
		return errors.Join(err, conn.Close(ctx))
	}
	first, second := server.DatabaseLike(t, "thing", prepare), server.DatabaseLike(t, "thing", prepare)
	server.Exec(t, first, "INSERT INTO thing VALUES (2)")
	var rows int
	if err := server.Connect(t, second).QueryRow(t.Context(), "SELECT count(*) FROM thing").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows != 1 || prepared != 1 {
		t.Errorf("the copy has %d rows, and %d databases were prepared, not one each", rows, prepared)
	}
}

func TestTCPLooksLikeAProductionSource(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	database := server.Database(t)
	server.Exec(t, database, "CREATE TABLE a (id int); INSERT INTO a VALUES (42)")
	endpoint := server.TCP(t, database)
	conn, err := pgx.Connect(t.Context(), endpoint.DSN())
	if err != nil {
		t.Fatalf("connect with the right password: %v", err)
	}
	var id int
	var super bool
	if err := conn.QueryRow(t.Context(), "SELECT id, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) FROM a").Scan(&id, &super); err != nil {
		t.Fatalf("read through the endpoint: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if id != 42 || super {
		t.Errorf("read id %d as a superuser: %t; want 42, not a superuser", id, super)
	}
	endpoint.Password = "wrong"
	if conn, err := pgx.Connect(t.Context(), endpoint.DSN()); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}
}

func TestPoolHoldsAServer(t *testing.T) {
	t.Parallel()
	pool, image := pgtest.Pool(t), pgtest.Image(t, 0)
	template, clone := mayfly.NewID("t"), mayfly.NewID("p")
	for _, id := range []string{template, clone} {
		t.Cleanup(func() {
			if err := pool.Delete(context.Background(), id); err != nil {
				t.Errorf("delete volume %s: %v", id, err)
			}
		})
	}
	ctx := t.Context()
	if err := pool.Create(ctx, template, image.User); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Init(ctx, pgtest.Engine(t), image, template, cluster.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pool.Freeze(ctx, template); err != nil {
		t.Fatal(err)
	}
	if err := pool.Clone(ctx, template, clone, 0); err != nil {
		t.Fatal(err)
	}
	server := pgtest.Start(t, pgtest.StartOptions{Volume: clone, Profile: cluster.Preview})
	server.Exec(t, "postgres", "CREATE TABLE works (n int)")
}

func TestStartGivesAServerThatMayBeKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.StartOptions{Profile: cluster.Preview})
	engine := pgtest.Engine(t)
	if err := engine.Stop(t.Context(), server.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := engine.Start(t.Context(), server.ID); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}
