package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestMigrateStatus(t *testing.T) {
	server := pgtest.Cluster(t)
	database := server.Database(t)
	role := "owner_of_" + database
	server.Exec(t, database, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'p'; ALTER DATABASE %s OWNER TO %s; SET ROLE %s; "+
		"CREATE TABLE public.schema_migrations (version varchar PRIMARY KEY); INSERT INTO public.schema_migrations VALUES ('1'), ('3'), ('9')", role, database, role, role))
	dir := t.TempDir()
	write := func(name, text string) {
		check(t, os.MkdirAll(filepath.Join(dir, "db/migrations"), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, "db/migrations", name), []byte(text), 0o644))
	}
	git := func(args ...string) {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	for _, v := range []string{"1", "2", "3"} {
		write(v+"_step.sql", "-- migrate:up\nSELECT "+v+";\n-- migrate:down\n")
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "base")
	write("3_step.sql", "-- migrate:up\nSELECT 33;\n-- migrate:down\n")
	write("4_new.sql", "-- migrate:up\nSELECT 4;\n-- migrate:down\n")
	address := url.URL{Scheme: "postgres", User: url.UserPassword(role, "p"), Path: "/" + database, RawQuery: url.Values{"host": {server.SocketDir}}.Encode()}
	t.Setenv("SHOP_DATABASE", address.String())
	args := []string{"migrate", "status", "--dir", dir, "--database-url-env", "SHOP_DATABASE", "--base", "main"}
	var out, errs bytes.Buffer
	if code := run(t.Context(), append(args, "-o", "json"), streams{out: &out, err: &errs}, hooks{}); code != exitDone {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var status migrateStatus
	check(t, json.Unmarshal(out.Bytes(), &status))
	var got []string
	for _, m := range status.Migrations {
		got = append(got, m.Version+" "+string(m.Status)+" "+m.Origin)
	}
	if want := "1 applied base, 2 out_of_order base, 3 edited base, 4 out_of_order pull_request, 9 missing "; strings.Join(got, ", ") != want || status.Tool != "dbmate" {
		t.Errorf("%s says %q, want %q", status.Tool, strings.Join(got, ", "), want)
	}
	out.Reset()
	if code := run(t.Context(), args, streams{out: &out, err: &errs}, hooks{}); code != exitDone || !strings.Contains(out.String(), "new (this branch)") {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	t.Setenv("SHOP_DATABASE", "")
	if code := run(t.Context(), args, streams{out: &out, err: &errs}, hooks{}); code != exitUsage {
		t.Errorf("without a database the exit code is %d, want %d", code, exitUsage)
	}
	if code := run(t.Context(), []string{"migrate", "up", "--dir", dir}, streams{out: &out, err: &errs}, hooks{}); code != exitUsage {
		t.Errorf("up without a preview has exit code %d, want %d", code, exitUsage)
	}
}

// Where migrations are code, status needs no image to run them in, and finds the tool's usual directory.
func TestMigrateStatusOfCode(t *testing.T) {
	server := pgtest.Cluster(t)
	database := server.Database(t)
	server.Exec(t, database, "CREATE TABLE public.schema_migrations (version varchar PRIMARY KEY); INSERT INTO public.schema_migrations VALUES ('20240102000000'); "+
		"CREATE TABLE public.ar_internal_metadata (key varchar PRIMARY KEY, value varchar); CREATE TABLE public.django_migrations (id int, app text, name text, applied timestamptz)")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"db/migrate/20240101000000_a.rb": "class A < ActiveRecord::Migration[7.0]\nend\n", "db/migrate/20240102000000_b.rb": "class B < ActiveRecord::Migration[7.0]\nend\n",
		"shop/migrations/0001_initial.py": "class Migration(migrations.Migration):\n", "shop/node_modules/x/migrations/0001_no.py": "class Migration(migrations.Migration):\n",
	} {
		check(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	t.Setenv("SHOP_DATABASE", server.DSN(database))
	for tool, want := range map[string]string{"auto": "20240101000000 out_of_order, 20240102000000 applied", "django": "shop.0001_initial pending"} {
		var out, errs bytes.Buffer
		args := []string{"migrate", "status", "--dir", dir, "--database-url-env", "SHOP_DATABASE", "--tool", tool, "-o", "json"}
		if code := run(t.Context(), args, streams{out: &out, err: &errs}, hooks{}); code != exitDone {
			t.Errorf("%s: exit code %d: %s", tool, code, errs.String())
			continue
		}
		var status migrateStatus
		check(t, json.Unmarshal(out.Bytes(), &status))
		var got []string
		for _, m := range status.Migrations {
			got = append(got, m.Version+" "+string(m.Status))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %q", tool, got, want)
		}
	}
}
