package templates

import (
	"context"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// TestOwnerCannotKeepRights builds from a database whose checks try to keep what the owner has during a build alone.
func TestOwnerCannotKeepRights(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for name, c := range map[string]struct{ attempt, refused string }{
		"password":        {"ALTER ROLE CURRENT_USER PASSWORD ''mine''", ""}, // the build may go on without the password; it must be gone
		"setting of role": {"ALTER ROLE CURRENT_USER SET work_mem = ''1MB''", "a role has settings"},
		"other setting":   {"ALTER DATABASE shop SET application_name = ''x''", "application_name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := sourceDatabase(t, `CREATE FUNCTION public.chk(v int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
				IF current_database() = 'shop' THEN EXECUTE '`+c.attempt+`'; END IF; RETURN true; END $f$;
				CREATE TABLE public.people (id int PRIMARY KEY CHECK (public.chk(id)), email text NOT NULL, filler text);
				INSERT INTO public.people VALUES (1, 'a', 'b')`)
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
			if c.refused != "" {
				b.refused(t.Context(), t, req, mayfly.CodeVerificationFailed, c.refused)
				return
			}
			result, err := b.builder.Build(t.Context(), req)
			if err != nil {
				b.nothingLeft(t, req.Template.ID)
				return
			}
			t.Cleanup(func() { _ = b.builder.Discard(context.Background(), req.Template.ID) })
			_, conn := b.clone(t, req.Template.ID, result.Image)
			onlyUsualRoles(t, conn)
		})
	}
}

// TestRightsAreChecked changes a finished template's clone in ways that must keep a template from being frozen.
func TestRightsAreChecked(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
	result := b.build(t, req)
	_, conn := b.clone(t, req.Template.ID, result.Image)
	if err := checkRights(t.Context(), conn, testOwner); err != nil {
		t.Errorf("a template as it was built: %v", err)
	}
	for change, undo := range map[string]string{
		"CREATE ROLE evil SUPERUSER":                                                         "DROP ROLE evil",
		"CREATE ROLE evil LOGIN":                                                             "DROP ROLE evil",
		"CREATE ROLE evil PASSWORD 'x'":                                                      "DROP ROLE evil",
		"ALTER ROLE " + testOwner + " SUPERUSER":                                             "ALTER ROLE " + testOwner + " NOSUPERUSER",
		"ALTER ROLE " + testOwner + " CREATEROLE":                                            "ALTER ROLE " + testOwner + " NOCREATEROLE",
		"ALTER ROLE " + testOwner + " BYPASSRLS":                                             "ALTER ROLE " + testOwner + " NOBYPASSRLS",
		"ALTER ROLE " + testOwner + " PASSWORD 'x'":                                          "ALTER ROLE " + testOwner + " PASSWORD NULL",
		"ALTER ROLE " + testOwner + " NOLOGIN":                                               "ALTER ROLE " + testOwner + " LOGIN",
		"GRANT pg_read_server_files TO " + testOwner:                                         "REVOKE pg_read_server_files FROM " + testOwner,
		"GRANT " + cluster.AdminRole + " TO " + testOwner:                                    "REVOKE " + cluster.AdminRole + " FROM " + testOwner,
		"ALTER ROLE " + cluster.AdminRole + " SET role = '" + testOwner + "'":                "ALTER ROLE " + cluster.AdminRole + " RESET ALL",
		"ALTER DATABASE " + testDatabase + " SET session_preload_libraries = 'auto_explain'": "ALTER DATABASE " + testDatabase + " RESET session_preload_libraries",
		"CREATE FUNCTION public.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'":             "DROP FUNCTION public.theirs()",
		"CREATE DATABASE another TEMPLATE template0":                                         "DROP DATABASE another",
	} {
		if _, err := conn.Exec(t.Context(), change); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		if err := checkRights(t.Context(), conn, testOwner); mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed {
			t.Errorf("after %s the template is taken for safe (%v)", change, err)
		}
		if _, err := conn.Exec(t.Context(), undo); err != nil {
			t.Fatalf("%s: %v", undo, err)
		}
	}
}

// TestFreezeCleansTheDirectory changes files of a stopped cluster before it is frozen.
func TestFreezeCleansTheDirectory(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := pgtest.Image(t, 0)
	for name, c := range map[string]struct{ plant, refused string }{
		"nothing":         {"true", ""},
		"access rules":    {"echo 'local all all trust' >$d/pg_hba.conf; echo 'mayfly postgres mayfly_admin' >>$d/pg_ident.conf; echo \"session_preload_libraries='x'\" >$d/postgresql.auto.conf", ""},
		"an unknown file": {"echo x >$d/x.so", "x.so"},
		"a hidden file":   {"echo x >$d/.x", "/.x"},
		"a link":          {"ln -s /etc/passwd $d/base/x", "base/x"},
		"a tablespace":    {"ln -s /tmp $d/pg_tblspc/1", "pg_tblspc/1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			volume := pgtest.Volume(t, image)
			if err := cluster.Init(t.Context(), b.engine, image, volume, cluster.InitOptions{}); err != nil {
				t.Fatal(err)
			}
			run := func(script string, args ...string) *driver.RunResult {
				t.Helper()
				result, err := b.engine.Run(t.Context(), driver.RunSpec{
					Image: image.ID, Command: append([]string{"sh", "-c", script, "sh", driver.DataDir}, args...), Volume: volume,
				})
				if err != nil {
					t.Fatal(err)
				}
				return &result
			}
			if r := run("set -e; d=$1; " + c.plant); r.ExitCode != 0 {
				t.Fatalf("plant: %s", r.Stderr)
			}
			r := run(freezeScript, cluster.AccessRules, cluster.AccessMap)
			if c.refused != "" {
				if r.ExitCode == 0 || !strings.Contains(string(r.Stderr), c.refused) {
					t.Errorf("exit code %d: %s; want a refusal that names %s", r.ExitCode, r.Stderr, c.refused)
				}
				return
			}
			if r.ExitCode != 0 {
				t.Fatalf("exit code %d: %s", r.ExitCode, r.Stderr)
			}
			check := `cd "$1"; [ "$(cat pg_hba.conf)" = "$(printf %s "$2")" ] && [ "$(cat pg_ident.conf)" = "$(printf %s "$3")" ] && [ ! -s postgresql.auto.conf ]`
			if r := run(check, cluster.AccessRules, cluster.AccessMap); r.ExitCode != 0 {
				t.Error("the files that say who may log in are not those of a new cluster")
			}
		})
	}
}
