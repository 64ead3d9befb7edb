package provisioner_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// TestRevokingCannotBePrevented takes a login away from somebody who does, with the rights of the owner, what could keep Mayfly from it:
// holding the rows of roles, and setting for the whole database what a session of Mayfly would begin with.
func TestRevokingCannotBePrevented(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	for name, attack := range map[string][]string{
		"holds their own role":   {"set role none", "begin", "alter role current_user password 'held'"},
		"holds the owner's role": {"begin", "alter role app password 'held'"},
		"read-only database":     {"alter database {db} set default_transaction_read_only = on"},
		"another role":           {"alter database {db} set role = app"},
		"no time":                {"alter database {db} set statement_timeout = 1", "alter database {db} set lock_timeout = 1"},
		"no library":             {"alter database {db} set local_preload_libraries = 'none'"},
		"no time while idle":     {"alter database {db} set idle_in_transaction_session_timeout = 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			short, _, _ := strings.Cut(mayfly.NewID("a"), "-")
			p := b.sandbox(t, strings.ToLower(short[:8]))
			got, err := b.CreateLogin(t.Context(), p.Name, "github:mallory", store.LoginPersonal)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := b.loginWith(t, p, got)
			if err != nil {
				t.Fatal(err)
			}
			// With a password that they gave to the owner they log in as the owner, too.
			if _, err := conn.Exec(t.Context(), "alter role app password 'known'"); err != nil {
				t.Fatal(err)
			}
			owner, err := b.login(t, p, "known")
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range attack {
				if _, err := conn.Exec(t.Context(), strings.ReplaceAll(sql, "{db}", pgx.Identifier{p.Database}.Sanitize())); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			if err := b.store.RevokeLogin(t.Context(), p, got.User); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the role is dropped", func() bool {
				logins, err := b.store.Logins(t.Context(), p.ID)
				return err == nil && len(logins) == 0
			})
			for whose, conn := range map[string]*pgx.Conn{"their": conn, "the owner's": owner} {
				if _, err := conn.Exec(t.Context(), "select 1"); err == nil {
					t.Errorf("%s session goes on", whose)
				}
			}
			if _, err := b.login(t, p, "known"); err == nil {
				t.Error("the owner's password is still theirs")
			}
			if _, err := b.loginWith(t, p, got); err == nil {
				t.Error("they can still log in")
			}
		})
	}
}

// TestReadOnlyLoginHasNoOtherRights gives a read-only login the owner's rights, from a session of the owner, and has it made again; and
// tries what Postgres lets everybody do.
func TestReadOnlyLoginHasNoOtherRights(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	personal, err := b.CreateLogin(t.Context(), p.Name, "github:mallory", store.LoginPersonal)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.CreateLogin(t.Context(), p.Name, "github:mallory", store.LoginReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	role := pgx.Identifier{got.User}.Sanitize()
	if _, err := owner.Exec(t.Context(), "grant all on customer to "+role); err != nil {
		t.Fatal(err)
	}
	_, _ = owner.Exec(t.Context(), "grant app to "+role) // before PostgreSQL 16 a role may give itself away
	if err := b.store.RevokeLogin(t.Context(), p, personal.User); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the personal role is dropped", func() bool {
		logins, err := b.store.Logins(t.Context(), p.ID)
		return err == nil && len(logins) == 1
	})
	conn, err := b.loginWith(t, p, got)
	if err != nil {
		t.Fatal(err)
	}
	if n := ask(t, conn, "select count(*)::text from customer"); n != "100" {
		t.Errorf("they see %s customers", n)
	}
	if _, err := conn.Exec(t.Context(), "set default_transaction_read_only = off"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"set role app", "delete from customer", "select lo_create(0)", "select lo_creat(-1)", "select lo_from_bytea(0, 'x')",
		"select pg_logical_emit_message(false, 'a', 'b')",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("they may: %s", sql)
		}
	}
	again, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"select lo_create(0)", "select lo_from_bytea(0, 'x')"} {
		if _, err := again.Exec(t.Context(), sql); err != nil {
			t.Errorf("the owner may not any more: %v", err)
		}
	}
}

// TestLoginOfAnother has two people whose roles have one name, as somebody could bring about who may choose what they are called.
func TestLoginOfAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	const alice, other = "github:alice", "okta:alice@example.org"
	if _, err := b.CreateLogin(t.Context(), p.Name, alice, store.LoginPersonal); err != nil {
		t.Fatal(err)
	}
	role := provisioner.LoginRole(other, store.LoginPersonal)
	state := b.adminOfState(t)
	if _, err := state.Exec(t.Context(), "update mayfly.preview_login set role = $1 where preview_id = $2", role, p.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.LoginCredentials(t.Context(), p.Name, other, store.LoginPersonal); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("they are shown somebody else's password: %v", err)
	}
	if _, err := b.CreateLogin(t.Context(), p.Name, other, store.LoginPersonal); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("they give somebody else's login a new password: %v", err)
	}
}
