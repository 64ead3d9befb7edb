package templates

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/cluster"
)

// A source decides what a build runs: expressions of checks, generated columns and indexes, functions, the text of an
// archive. All of it runs in sessions that logged in as the owner, who is what they can at most become: a session of
// the superuser that only took on another role would be given back by a RESET ROLE anywhere in that text.

// sessionSettings are those that pg_restore uses.
const sessionSettings = `; SET statement_timeout = 0; SET lock_timeout = 0; SET standard_conforming_strings = on;
SET check_function_bodies = off; SET xmloption = content; SET client_min_messages = warning; SET row_security = off;
SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SELECT pg_catalog.set_config('search_path', '', false)`

// connect opens a session with the new database that logs in as its owner, set up as pg_restore does.
func (t *target) connect(ctx context.Context) (*pgx.Conn, error) {
	return t.session(ctx, t.owner, t.password)
}

// connectAdmin opens a session of the superuser. Nothing of the source's own may run in it but what superuser.go checks.
func (t *target) connectAdmin(ctx context.Context) (*pgx.Conn, error) {
	return t.session(ctx, cluster.AdminRole, "")
}

func (t *target) session(ctx context.Context, role, password string) (*pgx.Conn, error) {
	config, err := cluster.ConnConfig(t.engine, t.instance, t.database)
	if err != nil {
		return nil, err
	}
	config.User, config.Password = role, password
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the template's cluster: %w", err)
	}
	if err := execAll(ctx, conn, "SET client_encoding = "+quoteLiteral(t.encoding)+sessionSettings); err != nil {
		return nil, errors.Join(fmt.Errorf("set up a session with the template's cluster: %w", err), conn.Close(ctx))
	}
	return conn, nil
}

// execAll runs statements by the simple protocol: several at once, without parameters.
func execAll(ctx context.Context, conn *pgx.Conn, statements string) error {
	_, err := conn.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

// execOne runs exactly one statement: the server refuses text with more than one by the extended protocol.
func execOne(ctx context.Context, conn *pgx.Conn, statement string, args ...[]byte) error {
	_, err := conn.PgConn().ExecParams(ctx, statement, args, nil, nil, nil).Close()
	return err
}
