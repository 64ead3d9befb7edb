package runner_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/migrations/runner"
	"github.com/mayflydb/mayfly/migrations/runner/relay"
)

// TestRootIsNoSuperuser tries, as root of the container, everything that peer authentication on the real socket would
// allow, and every other role and database.
func TestRootIsNoSuperuser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.server.Exec(t, b.database, "create table if not exists secret()")
	got := b.run(t, shell(`
		test "$(id -u)" = 0
		python3 - <<'PY'
import os, socket, struct, psycopg2
def attempt(what, **args):
    try:
        with psycopg2.connect(**args) as c:
            cur = c.cursor()
            cur.execute("select rolsuper from pg_roles where rolname = current_user")
            print("ENTERED", what, "superuser:", cur.fetchone()[0])
    except Exception as e:
        print("kept out:", what, "|", str(e).strip().replace("\n", " "))
for host in ("/var/run/postgresql", "/mayfly/socket", "127.0.0.1"):
    for user in ("mayfly_admin", "postgres", "pg_monitor", "somebody"):
        attempt(user + " at " + host, host=host, user=user, password=os.environ["PGPASSWORD"])
    attempt("database postgres at " + host, host=host, dbname="postgres")
    attempt("replication at " + host, host=host, replication="database")
def raw(*pairs):
    body = struct.pack("!I", 196608) + b"".join(p.encode() + b"\0" for p in pairs) + b"\0"
    s = socket.socket(socket.AF_UNIX); s.connect("/mayfly/socket/.s.PGSQL.5432")
    s.sendall(struct.pack("!I", len(body) + 4) + body)
    return s.recv(200)
db, me = os.environ["PGDATABASE"], os.environ["PGUSER"]
print("twice:", raw("user", me, "database", db, "user", "mayfly_admin"))
print("first:", raw("user", "mayfly_admin", "database", db, "user", me))
with psycopg2.connect("") as c:
    c.autocommit = True
    cur = c.cursor()
    for sql in ("set role mayfly_admin", "set session authorization mayfly_admin", "alter role current_user superuser",
                "copy secret from program 'id'", "create extension file_fdw", "select pg_read_file('/etc/passwd')"):
        try:
            cur.execute(sql); print("ENTERED", sql)
        except Exception as e:
            print("refused:", sql, "|", str(e).strip().split("\n")[0])
PY`), nil)
	if got.err != nil {
		t.Fatalf("%v\n%s", got.err, got.report.Log)
	}
	if strings.Contains(got.report.Log, "ENTERED") {
		t.Errorf("the command got in:\n%s", got.report.Log)
	}
	for what, want := range map[string]int{"kept out:": 18, "refused:": 6, "invalid startup packet layout": 2} {
		if n := strings.Count(got.report.Log, what); n != want {
			t.Errorf("%q is %d times in what the command saw, not %d:\n%s", what, n, want, got.report.Log)
		}
	}
	if !strings.Contains(strings.Join(got.report.Refused, "\n"), `not as "mayfly_admin"`) {
		t.Errorf("the report does not tell who was refused: %q", got.report.Refused)
	}
}

// TestNothingElseIsThere looks for ways out: the network, the engine, other previews, the host's files, capabilities.
func TestNothingElseIsThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	settings := shell(`
		grep -E '^Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status
		ls /sys/class/net
		ls /mayfly /mayfly/socket -a | tr '\n' ' '; echo
		for f in /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock; do test -e $f && echo "FOUND $f"; done
		python3 - <<'PY'
import os, socket
for host in ("127.0.0.1", "172.17.0.1", "10.0.0.1", "192.0.2.1", "8.8.8.8", "169.254.169.254"):
    s = socket.socket(); s.settimeout(2)
    try:
        s.connect((host, int(os.environ["HOST_PORT"]))); print("FOUND", host)
    except OSError as e:
        print("no way:", host, "|", e)
try:
    socket.getaddrinfo("example.com", 443); print("FOUND a resolver")
except OSError as e:
    print("no way: a resolver |", e)
for path in ("/etc/x", "/usr/x", "/mayfly/x", "/mayfly/socket/x", "/var/run/postgresql/x", "/mayfly/bin/mayfly"):
    try:
        open(path, "w"); print("WROTE", path)
    except OSError as e:
        print("no way:", path, "|", e.strerror)
PY
		mount -t tmpfs none /mnt 2>/dev/null && echo FOUND mount || true
		mknod /tmp/disk b 8 0 2>/dev/null && echo FOUND mknod || true
		unshare -Ur true 2>/dev/null && echo FOUND unshare || true
	`)
	settings.Env = map[string]string{"HOST_PORT": port}
	got := b.run(t, settings, nil)
	if got.err != nil {
		t.Fatalf("%v\n%s", got.err, got.report.Log)
	}
	log := got.report.Log
	if strings.Contains(log, "FOUND") || strings.Contains(log, "WROTE") {
		t.Errorf("there is something:\n%s", log)
	}
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "\nlo\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is missing:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "no way:"); n != 13 {
		t.Errorf("%d of 13 attempts failed:\n%s", n, log)
	}
}

// TestPasswordIsNowhere has the command print all that it has, and looks at what the engine knows meanwhile.
func TestPasswordIsNowhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	settings := shell(`env; echo "$DATABASE_URL" >&2; echo "$PGPASSWORD" | sed 's/./&\x1b[m/g'; tr '\0' '\n' </proc/1/environ; tr '\0' '\n' </proc/1/cmdline
		python3 - <<'PY'
import psycopg2, time
c = psycopg2.connect("")
c.autocommit = True
cur = c.cursor()
cur.execute("create table here()")
for i in range(3000):
    cur.execute("select to_regclass('seen') is not null")
    if cur.fetchone()[0]: break
    time.sleep(0.02)
PY`)
	settings.Secrets = map[string]string{"MASTER_KEY": "swordfish-of-the-project"}
	done := make(chan outcome, 1)
	go func() { done <- b.run(t, settings, nil) }()
	conn := b.server.Connect(t, b.database)
	eventually(t, "the command runs", func() bool {
		var there bool
		return conn.QueryRow(t.Context(), "select to_regclass('here') is not null").Scan(&there) == nil && there
	})
	var known strings.Builder
	for _, name := range runners(t) {
		out, err := exec.CommandContext(t.Context(), "docker", "inspect", name).CombinedOutput()
		if err != nil {
			continue // one of another test, and gone
		}
		known.Write(out)
		if !strings.Contains(string(out), `"Type": "none"`) {
			t.Errorf("the engine keeps the output of %s", name)
		}
	}
	b.server.Exec(t, b.database, "create table seen()")
	got := <-done
	if got.err != nil {
		t.Fatalf("%v\n%s", got.err, got.report.Log)
	}
	if seen := known.String(); seen == "" || strings.Contains(seen, b.password) || strings.Contains(seen, "swordfish") || strings.Contains(seen, "DATABASE_URL") {
		t.Errorf("the engine knows the password, or nothing (%d bytes)", known.Len())
	}
	random := b.password[strings.LastIndex(b.password, " ")+1:]
	if strings.Contains(got.report.Log, random) || strings.Contains(got.report.Log, "swordfish") {
		t.Errorf("a secret is in the output:\n%s", got.report.Log)
	}
	if !strings.Contains(got.report.Log, "PGPASSWORD=[hidden]") || !strings.Contains(got.report.Log, "MASTER_KEY=[hidden]") {
		t.Errorf("the output does not show that something is hidden:\n%s", got.report.Log)
	}
}

func runners(t *testing.T) []string {
	t.Helper()
	names, err := pgtest.Engine(t).Containers(t.Context(), map[string]string{"role": "runner"})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// TestLimits has each limit met, and its own words said.
func TestLimits(t *testing.T) {
	t.Parallel()
	hog := func(change func(*mayfly.RunnerSettings)) mayfly.RunnerSettings {
		s := mayfly.RunnerSettings{MemoryBytes: 128 << 20, Pids: 64, DiskBytes: 16 << 20, OutputBytes: 1 << 20, TmpBytes: 8 << 20}
		change(&s)
		return s
	}
	python := func(code string) []string { return []string{"python3", "-c", code} }
	for name, test := range map[string]struct {
		command []string
		want    string
	}{
		"memory":  {python("x = []\nwhile True: x.append(bytearray(1 << 20))"), "ran out of memory: its limit is 128 MiB"},
		"tmp":     {python("f = open('/tmp/big', 'wb')\nwhile True: f.write(bytes(1 << 20))"), "/tmp is full: it holds 8 MiB"},
		"output":  {[]string{"yes"}, "it printed more than 1 MiB"},
		"bomb":    {python("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"), "kept on making processes beyond its limit of 64"},
		"threads": {python("import threading, time\nfor i in range(100): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"), "its limit of 64 processes and threads"},
		"missing": {[]string{"bin/rails", "db:migrate"}, "could not be started: the image has no program \"bin/rails\""},
		"killed":  {[]string{"sh", "-c", "kill -9 $$"}, "signal: killed"},
		"first":   {[]string{"sh", "-c", "kill -9 1; kill -TERM 1; sleep 0.2; echo still here; exit 3"}, "exit code 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := setup(t).run(t, hog(func(s *mayfly.RunnerSettings) { s.Command = test.command }), nil)
			if mayfly.ErrorCode(got.err) != mayfly.CodeMigrationFailed || !strings.Contains(got.err.Error(), test.want) {
				t.Errorf("the words are %q (%s), not %q; the report: %+v", got.err, mayfly.ErrorCode(got.err), test.want, got.report)
			}
			if mayfly.ErrorHint(got.err) == "" {
				t.Error("there is no hint")
			}
		})
	}
}

// TestTimeout kills a command that hangs, with everything that it started.
func TestTimeout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.timeout = 3 * time.Second
	got := b.run(t, shell(`echo before; sleep 1000 & sleep 1000`), nil)
	if mayfly.ErrorCode(got.err) != mayfly.CodeMigrationFailed || !strings.Contains(got.err.Error(), "did not end in time") {
		t.Errorf("the words are %v", got.err)
	}
}

// TestHangs cuts statements that wait or take too long, by the limits that the gate sets.
func TestHangs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.server.Exec(t, b.database, "create table orders (id int); alter table orders owner to "+b.owner)
	holder := b.server.Connect(t, b.database)
	if _, err := holder.Exec(t.Context(), "begin; lock table orders"); err != nil {
		t.Fatal(err)
	}
	statement := func(sql string) mayfly.MigrationSettings {
		return mayfly.MigrationSettings{Tool: runner.Command, LockTimeout: 300 * time.Millisecond, StatementTimeout: 500 * time.Millisecond, Runner: mayfly.RunnerSettings{
			Command: []string{"python3", "-c", "import psycopg2\npsycopg2.connect('').cursor().execute('" + sql + "')"},
		}}
	}
	for sql, want := range map[string]string{
		"alter table orders add column n int": "waited longer than migrations.lock_timeout",
		"select pg_sleep(1000)":               "ran longer than migrations.statement_timeout",
	} {
		got := b.runWith(t, statement(sql), archive(t, nil))
		if mayfly.ErrorCode(got.err) != mayfly.CodeMigrationFailed || !strings.Contains(got.err.Error(), want) {
			t.Errorf("%s: the words are %v, not %q", sql, got.err, want)
		}
		if len(got.report.Errors) == 0 {
			t.Errorf("%s: the report has no error of the server", sql)
		}
	}
}

// TestRelayIsAskedOnce: the command may connect to the control socket, too. It learns nothing, and cannot say how it ended.
func TestRelayIsAskedOnce(t *testing.T) {
	t.Parallel()
	got := setup(t).run(t, shell(`python3 - <<'PY'
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect("/mayfly/socket/`+relay.ControlSocket+`")
try:
    s.sendall(b'{"kind":"ready"}\n{"kind":"exited","exit":{"code":0}}\n')
    print("told:", s.recv(1000))
except OSError as e:
    print("told nothing", e)
PY
		exit 9`), nil)
	if got.report.ExitCode != 9 {
		t.Errorf("the command could say how it ended: %+v", got.report)
	}
	if strings.Contains(got.report.Log, "PGPASSWORD") || !strings.Contains(got.report.Log, "told") {
		t.Errorf("the second connection was told something:\n%s", got.report.Log)
	}
}
