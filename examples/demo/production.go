package main

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

//go:embed sql migrations broken sanitize.yaml
var files embed.FS

// startProduction is what the container runs: a Postgres that can be reached with a password, as production can. It is
// lost with its container, so nothing has to reach the disk.
const startProduction = `
initdb -D /tmp/production -U postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=scram-sha-256 --no-sync >/dev/null
echo 'host all all all scram-sha-256' >>/tmp/production/pg_hba.conf
exec postgres -D /tmp/production -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off -c synchronous_commit=off \
	-c full_page_writes=off -c max_wal_size=4GB -c shared_buffers=256MB -c maintenance_work_mem=128MB -c autovacuum=off`

// production is the Postgres that previews must not leak.
type production struct {
	container string
	address   string // host:port, as this program reaches it
	password  string // of the role mayfly_source, which may read everything and change nothing
}

// sourceRole is what Mayfly reads production as.
const sourceRole = "mayfly_source"

func (p *production) dsn(address string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(sourceRole, p.password), Host: address, Path: "/shop", RawQuery: "sslmode=disable"}
	return u.String()
}

func (p *production) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, p.dsn(p.address))
	if err != nil {
		return nil, fmt.Errorf("connect to production at %s: %w", p.address, err)
	}
	return conn, nil
}

// launchProduction starts the container and waits until it accepts connections.
func launchProduction(ctx context.Context, o options, demo, name string) (*production, error) {
	_, err := docker(ctx, nil, "run", "--detach", "--name", name, "--label", demoLabel+"="+demo, "--user", "postgres", "--shm-size", "256m",
		"--publish", "127.0.0.1::5432", "--entrypoint", "sh", o.image, "-ec", startProduction)
	if err != nil {
		return nil, fmt.Errorf("start production: %w", err)
	}
	p := &production{container: name, password: rand.Text()}
	published, err := docker(ctx, nil, "port", name, "5432/tcp")
	if err != nil {
		return nil, err
	}
	p.address, _, _ = strings.Cut(published, "\n")
	if _, _, err := net.SplitHostPort(p.address); err != nil {
		return nil, fmt.Errorf("the engine says that production is at %q", published)
	}
	return p, p.awaitReady(ctx)
}

func (p *production) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := p.psql(ctx, "postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			logs, _ := docker(context.WithoutCancel(ctx), nil, "logs", "--tail", "10", p.container)
			return fmt.Errorf("production does not start: %w\n%s", err, logs)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// psql runs SQL as the superuser inside the container. Passwords in it go by standard input, not by arguments.
func (p *production) psql(ctx context.Context, database, sql string) (string, error) {
	return docker(ctx, strings.NewReader(sql), "exec", "--interactive", "--env", "PGHOST=/tmp", p.container,
		"psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-f", "-")
}

func (p *production) run(ctx context.Context, name, before string) error {
	sql, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	if _, err := p.psql(ctx, "shop", before+string(sql)); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

// fill makes the database: its roles, the schema by the first two migrations of the repository, and a lot of rows.
func (p *production) fill(ctx context.Context) error {
	roles := fmt.Sprintf(`
		CREATE ROLE shop_owner LOGIN;
		CREATE ROLE reporting;
		CREATE ROLE %[1]s LOGIN PASSWORD '%[2]s';
		GRANT pg_read_all_data TO %[1]s;
		CREATE DATABASE shop OWNER shop_owner;`, sourceRole, p.password)
	if _, err := p.psql(ctx, "postgres", roles); err != nil {
		return fmt.Errorf("make production's roles: %w", err)
	}
	const asOwner = "SET ROLE shop_owner;\n"
	for _, step := range []struct{ name, before string }{
		{"migrations/0001_shop.up.sql", "ALTER SCHEMA public OWNER TO shop_owner;\n" + asOwner},
		{"migrations/0002_support.up.sql", asOwner},
		{"sql/words.sql", ""},
	} {
		if err := p.run(ctx, step.name, step.before); err != nil {
			return err
		}
	}
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() error { return p.run(bothCtx, "sql/people.sql", "") })
	both.Go(func() error { return p.run(bothCtx, "sql/orders.sql", "") })
	if err := both.Wait(); err != nil {
		return err
	}
	return p.run(ctx, "sql/finish.sql", "")
}

// planted are strings that are in production and must be nowhere in a template.
func planted() []string {
	return []string{
		"zaphod.planted", "betelgeuse.example", "Beeblebrox", "BEEBLEBROX", "Heart of Gold", "Betelgeuse Spaceport", "7700 900 42424",
		"PLANTED-NOTE-7f3a91", "PLANTED-TOKEN-5c9e1b", "PLANTED-SESSION-d41d8c",
	}
}

// needles are the planted strings and addresses and telephone numbers of random customers.
func (p *production) needles(ctx context.Context) ([]string, error) {
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, "SELECT email FROM customers WHERE id % 300 = 7 ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read addresses of customers: %w", err)
	}
	addresses, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read addresses of customers: %w", err)
	}
	if len(addresses) < 100 {
		return nil, errors.New("production has too few customers")
	}
	return append(planted(), addresses...), nil
}

// found counts how many of the needles are in production's data files: whoever searches must be able to find.
func (p *production) found(ctx context.Context, needles []string) (int, error) {
	out, err := docker(ctx, strings.NewReader(strings.Join(needles, "\n")+"\n"), "exec", "--interactive", "--env", "LC_ALL=C", p.container,
		"sh", "-c", "grep -rhoaFf - /tmp/production/base | sort -u | wc -l")
	if err != nil {
		return 0, fmt.Errorf("search production's files: %w", err)
	}
	var n int
	if _, err := fmt.Sscan(out, &n); err != nil {
		return 0, fmt.Errorf("search production's files: %w", err)
	}
	return n, nil
}
