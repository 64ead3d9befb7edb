package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Lock takes the lock of that name, shared by all processes on the state database, waiting until ctx ends. The returned
// function releases it and must be called once. The lock lives in one database connection: if this process dies, or
// loses that connection, Postgres releases the lock at once.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, failed(err, "lock %s", name)
	}
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(hashtextextended($1, 0))`, name); err != nil {
		// A cancelled wait leaves the connection in an unknown state: close it rather than give it back.
		_ = conn.Hijack().Close(context.WithoutCancel(ctx))
		return nil, failed(err, "lock %s", name)
	}
	return s.unlocker(ctx, conn, name), nil
}

// TryLock is Lock without waiting: ok is false if somebody else has the lock.
func (s *Store) TryLock(ctx context.Context, name string) (unlock func(), ok bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, false, failed(err, "lock %s", name)
	}
	if err := conn.QueryRow(ctx, `select pg_try_advisory_lock(hashtextextended($1, 0))`, name).Scan(&ok); err != nil {
		_ = conn.Hijack().Close(context.WithoutCancel(ctx))
		return nil, false, failed(err, "lock %s", name)
	}
	if !ok {
		conn.Release()
		return nil, false, nil
	}
	return s.unlocker(ctx, conn, name), true, nil
}

func (s *Store) unlocker(ctx context.Context, conn *pgxpool.Conn, name string) func() {
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		var released bool
		err := conn.QueryRow(ctx, `select pg_advisory_unlock(hashtextextended($1, 0))`, name).Scan(&released)
		if err != nil || !released {
			s.logger.WarnContext(ctx, "lock was lost before it was released", "lock", name, "error", fmt.Sprint(err))
			_ = conn.Hijack().Close(ctx)
			return
		}
		conn.Release()
	}
}
