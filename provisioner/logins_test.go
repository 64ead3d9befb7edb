package provisioner_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// loginWith logs in to a preview with credentials, as a client that the gateway let through.
func (b *bed) loginWith(t *testing.T, p *mayfly.Preview, c *provisioner.Credentials) (*pgx.Conn, error) {
	t.Helper()
	config, err := pgx.ParseConfig("host=/ sslmode=disable application_name=client")
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Password, config.Database = c.User, c.Password, p.Database
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return b.machine.Dial(ctx, p.Instance()) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

func ask(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// TestPersonalLogin gives a second person a login, and takes it away.
func TestPersonalLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	first := b.password(t, p.Name)
	b.query(t, p, "select set_config('x.y', 'z', false)")
	admin, err := b.login(t, p, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), `create schema own; alter role app set search_path = own, public`); err != nil {
		t.Fatal(err)
	}
	ctx := mayfly.WithActor(t.Context(), mayfly.Actor{Subject: "github:Bob-B", TokenID: "ab"})
	got, err := b.CreateLogin(ctx, p.Name, "github:Bob-B", store.LoginPersonal)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.User, "bob_b_") || got.User != provisioner.LoginRole("github:Bob-B", store.LoginPersonal) || got.Password == first {
		t.Errorf("the login is %s", got.User)
	}
	conn, err := b.loginWith(t, p, got)
	if err != nil {
		t.Fatal(err)
	}
	if who := ask(t, conn, `select session_user || ' as ' || current_user || ', super ' || (select rolsuper from pg_roles where rolname = session_user)::text`); who !=
		got.User+" as app, super false" {
		t.Errorf("they are %s", who)
	}
	if path := ask(t, conn, "show search_path"); path != "own, public" {
		t.Errorf("they look for tables in %q", path)
	}
	if _, err := conn.Exec(t.Context(), `create table made (n int); insert into made values (1); alter table customer add column by_bob int`); err != nil {
		t.Errorf("what the owner may do: %v", err)
	}
	if owner := ask(t, conn, `select tableowner from pg_tables where tablename = 'made'`); owner != "app" {
		t.Errorf("what they make belongs to %s", owner)
	}
	if seen := ask(t, admin, `select count(*)::text from pg_stat_activity where usename = '`+got.User+`'`); seen != "1" {
		t.Errorf("%s sessions can be told to be theirs", seen)
	}
	if may, err := b.MayLogin(t.Context(), b.preview(t, p.ID), got.User); !may || err != nil {
		t.Errorf("the gateway is told %v, %v", may, err)
	}
	for _, role := range []string{"app", "mayfly_admin", "carol_12345678", strings.ToUpper(got.User)} {
		if may, err := b.MayLogin(t.Context(), p, role); may || err != nil {
			t.Errorf("%s may log in: %v", role, err)
		}
	}

	// A reset makes the login again, with its password.
	if _, err := b.Reset(t.Context(), p.Name); err != nil {
		t.Fatal(err)
	}
	reset, err := b.Await(t.Context(), p.ID, func(p *mayfly.Preview) bool { return p.Generation == 2 && p.Settled() })
	if err != nil {
		t.Fatal(err)
	}
	p = reset
	if conn, err = b.loginWith(t, p, got); err != nil {
		t.Fatalf("after a reset: %v", err)
	}

	// They act as the owner, so they could have changed the owner's password and made things in their own name. Neither outlives them.
	if _, err := conn.Exec(t.Context(), `alter role app password 'known'; set role none`); err != nil {
		t.Fatal(err)
	}
	if err := b.store.RevokeLogin(ctx, p, got.User); err != nil {
		t.Fatal(err)
	}
	if may, err := b.MayLogin(t.Context(), p, got.User); may || err != nil {
		t.Errorf("the gateway still lets them in: %v", err)
	}
	eventually(t, "the role is dropped", func() bool {
		logins, err := b.store.Logins(t.Context(), p.ID)
		return err == nil && len(logins) == 0
	})
	if _, err := conn.Exec(t.Context(), "select 1"); err == nil {
		t.Error("their connection goes on")
	}
	if _, err := b.loginWith(t, p, got); err == nil {
		t.Error("they can still log in")
	}
	if _, err := b.login(t, p, "known"); err == nil {
		t.Error("the owner's password is the one that they have set")
	}
	if roles := b.query(t, p, `select count(*)::text from pg_roles where rolname like 'bob%'`); roles != "0" {
		t.Errorf("%s roles are left", roles)
	}
	if _, err := b.LoginCredentials(t.Context(), p.Name, "github:Bob-B", store.LoginPersonal); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("a revoked login is handed out: %v", err)
	}
	var actions []string
	records, err := b.store.AuditLog(t.Context(), store.AuditFilter{ObjectID: p.ID, Action: "credentials"})
	for _, r := range records {
		actions = append(actions, r.Action+" by "+r.Actor.Subject)
	}
	if err != nil || strings.Join(actions, ", ") != "credentials.revoke by github:Bob-B, credentials.create by github:Bob-B" {
		t.Errorf("the log has %v, %v", actions, err)
	}
}

// TestReadOnlyLogin tries to change something, in all the ways that do not need to be a superuser.
func TestReadOnlyLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	got, err := b.CreateLogin(t.Context(), p.Name, "carol@example.com", store.LoginReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.User, "carol_") || !strings.HasSuffix(got.User, "_ro") {
		t.Errorf("the login is %s", got.User)
	}
	conn, err := b.loginWith(t, p, got)
	if err != nil {
		t.Fatal(err)
	}
	if n := ask(t, conn, "select count(*)::text from customer"); n != "100" {
		t.Errorf("they see %s customers", n)
	}
	b.query(t, p, "with made as (select 1) select 'x'")
	owner, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(t.Context(), `create schema later; create table later.made as select 1 as n`); err != nil {
		t.Fatalf("the owner: %v", err)
	}
	if n := ask(t, conn, "select n::text from later.made"); n != "1" {
		t.Errorf("what is made later has %s", n)
	}
	writes := []string{
		"insert into customer select * from customer limit 1", "update customer set id = id", "delete from customer", "truncate customer",
		"create table mine (n int)", "create temporary table mine (n int)", "create schema mine", "drop table customer", "alter table customer add column x int",
		"set role app", "set session authorization app", "create role x", "grant app to current_user", "alter role app password 'x'", "lock table customer in exclusive mode",
		"copy customer to program 'id'", "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'",
	}
	for _, sql := range writes {
		if _, err := conn.Exec(t.Context(), sql); err == nil && !strings.HasPrefix(sql, "select pg_terminate") {
			t.Errorf("in a read-only transaction: %s", sql)
		}
	}
	// What only a setting forbids is no right that is lacking: without the setting nothing may be different.
	if _, err := conn.Exec(t.Context(), "set default_transaction_read_only = off"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range writes {
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("with the setting off: %s", sql)
		}
	}
	if err := owner.Ping(t.Context()); err != nil {
		t.Errorf("they have ended the owner's session: %v", err)
	}
	again, err := b.CreateLogin(t.Context(), p.Name, "carol@example.com", store.LoginReadOnly)
	if err != nil || again.User != got.User || again.Password == got.Password {
		t.Errorf("a new password: %v", err)
	}
	if _, err := b.loginWith(t, p, got); err == nil {
		t.Error("the password before is still good")
	}
	if _, err := b.loginWith(t, p, again); err != nil {
		t.Errorf("the new one is not: %v", err)
	}
}

// TestLoginOfOneThatSleeps makes a login in a preview that is asleep: it is there when it wakes.
func TestLoginOfOneThatSleeps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	suspend := true
	if _, err := b.Change(t.Context(), p.Name, provisioner.Change{Suspended: &suspend}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Await(t.Context(), p.ID, func(p *mayfly.Preview) bool { return p.State == mayfly.PreviewSuspended }); err != nil {
		t.Fatal(err)
	}
	got, err := b.CreateLogin(t.Context(), p.Name, "dave", store.LoginPersonal)
	if err != nil {
		t.Fatal(err)
	}
	p, err = b.AwaitConnectable(t.Context(), p.Name)
	if err != nil {
		t.Fatal(err)
	}
	if may, err := b.MayLogin(t.Context(), p, got.User); !may || err != nil {
		t.Fatalf("%v, %v", may, err)
	}
	if _, err := b.loginWith(t, p, got); err != nil {
		t.Error(err)
	}
}
