package drivertest

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

func isolationTests() []engineTest {
	return []engineTest{
		{"instance is isolated", testInstanceIsolation},
		{"command is isolated", testRunIsolation},
		{"limits of an instance", testInstanceLimits},
		{"memory limit of a command", testRunMemory},
		{"process limit of a command", testRunPids},
	}
}

// confinement prints one line per fact, so that the same script serves instances and commands. The write and the
// connections are attempts of the real thing, not looks at settings.
const confinement = `
echo "uid=$(id -u) gid=$(id -g)"
sed -n 's/^\(Cap[A-Za-z]*\|NoNewPrivs\|Seccomp\):[[:space:]]*/\1=/p' /proc/self/status
for dir in / /etc /usr/bin /var/lib /run /home /mayfly; do touch "$dir/probe" 2>/dev/null && echo "written=$dir"; done
echo "routes=$(tail -n +2 /proc/net/route | wc -l)"
for host in 192.0.2.1 10.0.0.1 127.0.0.1; do
  psql "host=$host dbname=postgres connect_timeout=3" -c 'SELECT 1' >/dev/null 2>/tmp/err && echo "connected=$host"
  grep -q -e 'unreachable' -e 'refused' /tmp/err || echo "connection to $host: $(cat /tmp/err)"
done
echo "tmp=$(touch /tmp/probe && echo writable)"
echo end=reached
`

func checkConfinement(t *testing.T, s *engineSuite, out string) {
	t.Helper()
	facts := make(map[string]string)
	for line := range strings.Lines(out) {
		for _, field := range strings.Fields(line) {
			key, value, _ := strings.Cut(field, "=")
			facts[key] = value
		}
	}
	want := map[string]string{
		"uid": itoa(s.Image.User.UID), "gid": itoa(s.Image.User.GID),
		"CapInh": noCaps, "CapPrm": noCaps, "CapEff": noCaps, "CapBnd": noCaps, "CapAmb": noCaps,
		"NoNewPrivs": "1", "Seccomp": "2", "routes": "0", "tmp": "writable", "end": "reached",
		"written": "", "connected": "", "connection": "",
	}
	for key, value := range want {
		if facts[key] != value {
			t.Errorf("%s is %q inside the container, want %q", key, facts[key], value)
		}
	}
	if t.Failed() {
		t.Logf("the container says:\n%s", out)
	}
}

// noCaps is an empty set of capabilities in /proc/<pid>/status.
const noCaps = "0000000000000000"

func testInstanceIsolation(t *testing.T, s *engineSuite) {
	_, conn := s.running(t)
	checkConfinement(t, s, program(t, conn, confinement))
}

func testRunIsolation(t *testing.T, s *engineSuite) {
	out, _ := s.shell(t, confinement, nil)
	checkConfinement(t, s, out)
}

// program runs a script inside the instance, through the server itself, and returns its output.
func program(t *testing.T, conn *pgx.Conn, script string) string {
	t.Helper()
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "CREATE TEMP TABLE IF NOT EXISTS output (n serial, line text); TRUNCATE output"); err != nil {
		t.Fatal(err)
	}
	// COPY's text format wants backslashes and the like escaped; a delimiter that does not occur keeps lines whole.
	quoted := "'" + strings.ReplaceAll(script, "'", "''") + "'"
	if _, err := conn.Exec(ctx, "COPY output (line) FROM PROGRAM "+quoted+" WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')"); err != nil {
		t.Fatalf("run a script inside the instance: %v", err)
	}
	rows, err := conn.Query(ctx, "SELECT line FROM output ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func testInstanceLimits(t *testing.T, s *engineSuite) {
	spec := s.spec(t)
	spec.Limits = driver.Limits{MemoryBytes: 300 << 20, CPUs: 0.5, Pids: 60, ShmBytes: 32 << 20}
	s.must(t, "create", s.Engine.Create(t.Context(), spec))
	s.must(t, "start", s.Engine.Start(t.Context(), spec.ID))
	out := program(t, s.connect(t, spec.ID), `
echo "shm=$(df -k --output=size /dev/shm | tail -n 1 | tr -d ' ')"
for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; do [ -e $f ] && echo "memory=$(cat $f)"; done
for f in /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes; do [ -e $f ] && echo "swap=$(cat $f)"; done
for f in /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; do [ -e $f ] && echo "pids=$(cat $f)"; done
[ -e /sys/fs/cgroup/cpu.max ] && echo "cpu=$(tr ' ' / </sys/fs/cgroup/cpu.max)"
[ -e /sys/fs/cgroup/cpu/cpu.cfs_quota_us ] && echo "cpu=$(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us)/$(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)"
true`)
	for _, want := range []string{"shm=32768", "memory=314572800", "pids=60", "cpu=50000/100000"} {
		if !strings.Contains(out, want) {
			t.Errorf("inside the instance %q is missing in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "swap=") && !strings.Contains(out, "swap=314572800") {
		t.Errorf("the instance may swap:\n%s", out)
	}
}

func testRunMemory(t *testing.T, s *engineSuite) {
	_, result := s.shell(t, `x=$(head -c 400000000 /dev/zero | tr '\0' a); echo survived`,
		func(r *driver.RunSpec) { r.Limits.MemoryBytes = 64 << 20 })
	if result.ExitCode == 0 || !result.OOMKilled {
		t.Errorf("a command that exceeds its memory: %+v; want an exit code and OOMKilled", result)
	}
}

func testRunPids(t *testing.T, s *engineSuite) {
	out, result := s.shell(t, `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 60 & done; echo all started`,
		func(r *driver.RunSpec) { r.Limits.Pids = 8 })
	if result.ExitCode == 0 || strings.Contains(out, "all started") {
		t.Errorf("a command started more processes than allowed: exit code %d, %s", result.ExitCode, out)
	}
}
