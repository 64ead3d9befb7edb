package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// cliTimeout bounds what scripts wait for.
const cliTimeout = 2 * time.Minute

// TestScripts runs testdata/script against a real service: `mayfly serve` with its own pool, previews in the real engine, templates
// from a real database. Scripts run at the same time, each with previews of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	s := startService(t)
	t.Run("client.ForTest", s.testForTest)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for key, value := range map[string]string{
				"HOME": filepath.Join(e.WorkDir, "home"), "MAYFLY_SERVER": s.url, "MAYFLY_TOKEN": s.token, "CONFIG": s.config, "DATA": s.dataDir, "TZ": "Asia/Kathmandu",
				"MAJOR": strconv.Itoa(s.major), "SOURCE_DSN_FILE": filepath.Join(filepath.Dir(s.config), "dsn"),
				"HOOK": filepath.Join(filepath.Dir(s.config), "hook.sql"),
			} {
				e.Setenv(key, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "setenv": setenv, "mode": mode, "running": running, "nocmdline": noCommandLine, "subst": subst, "writetoken": writeToken,
		},
	})
}

// service is a running `mayfly serve`.
type service struct {
	url, token, config, dataDir string
	major                       int // of the projects' Postgres
	log                         *bytes.Buffer
}

const sourceSQL = `
	create table customers (id int primary key, email text not null);
	insert into customers select n, 'real' || n || '@production.example' from generate_series(1, 100) n;`

const serviceRules = `version: 1
tables:
  public.customers:
    columns: {id: keep, email: email}
`

// startService starts a service with four projects: shop has a template, kiosk takes one preview, bare has no template, and the templates of
// depot are built by schedule and with a hook.
func startService(t *testing.T) *service {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mf-cli-") // short: there are sockets below
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	cluster := pgtest.Cluster(t)
	source := cluster.Database(t)
	cluster.Exec(t, source, sourceSQL)
	endpoint := cluster.TCP(t, source)
	cluster.Exec(t, source, "grant select on all tables in schema public to "+endpoint.Role)
	write := func(name, content string) { check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)) }
	write("state.url", cluster.DSN(cluster.Database(t)))
	write("dsn", endpoint.DSN())
	write("rules.yaml", serviceRules)
	write("masking.key", "0123456789abcdef0123456789abcdef")
	write("hook.sql", "DELETE FROM customers WHERE id > 90;")
	s := &service{dataDir: filepath.Join(dir, "data"), config: filepath.Join(dir, "mayfly.yaml"), log: &bytes.Buffer{}, major: cluster.Image.Major}
	api, gateway := freePort(t), freePort(t)
	s.url = fmt.Sprintf("http://127.0.0.1:%d", api)
	var projects strings.Builder
	age := map[string]string{"shop": "    templates: {max_age: 1s}\n"} // it is too old soon
	for _, name := range []string{"shop", "kiosk", "bare", "depot"} {
		fmt.Fprintf(&projects, "  - name: %s\n    source: {dsn_file: dsn}\n    rules: rules.yaml\n    masking_key_file: masking.key\n"+
			"    postgres: {major: %d, database: app, owner: app_owner}\n    previews: {max: %d}\n",
			name, cluster.Image.Major, map[string]int{"shop": 0, "kiosk": 1}[name])
		projects.WriteString(age[name])
	}
	projects.WriteString("    templates: {schedule: '0 3 1 1 *', jitter: 5m, hooks: {after_masking: [hook.sql]}}\n")
	write("mayfly.yaml", fmt.Sprintf("listen: 127.0.0.1:%d\ndata_dir: data\ndatabase_url_file: state.url\npool: {size: 8GiB}\ngateway: {listen: \"127.0.0.1:%d\"}\nprojects:\n%s",
		api, gateway, projects.String()))
	s.start(t)
	s.token = strings.TrimSpace(s.mayfly(t, "token", "create", "--config", s.config, "--scope", "admin", "--ttl", "1h", "--subject", "tester"))
	s.mayfly(t, "template", "build", "--project", "shop", "--wait")
	return s
}

func (s *service) start(t *testing.T) {
	t.Helper()
	command := exec.Command("mayfly", "serve", "--config", s.config)
	command.Stdout, command.Stderr = s.log, s.log
	check(t, command.Start())
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() { s.end(t, command, ended) })
	for deadline := time.Now().Add(cliTimeout); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(s.url + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if len(ended) > 0 || time.Now().After(deadline) {
			t.Fatalf("the service does not come up: %v", err)
		}
	}
}

// end stops the service and removes what it made.
func (s *service) end(t *testing.T, command *exec.Cmd, ended <-chan error) {
	_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
	if err := <-ended; err != nil {
		t.Errorf("the service ended with %v", err)
	}
	if t.Failed() {
		t.Logf("the service's log:\n%s", s.log)
	}
	ctx, cancel := context.WithTimeout(context.Background(), cliTimeout)
	defer cancel()
	installation, err := os.ReadFile(filepath.Join(s.dataDir, "installation"))
	check(t, err)
	engine, err := docker.New(docker.Options{
		RunDir: filepath.Join(s.dataDir, "run"), Installation: strings.TrimSpace(string(installation)),
		VolumePath: func(string) (string, error) { return "", driver.ErrNotFound },
	})
	check(t, err)
	check(t, errors.Join(engine.RemoveAll(ctx), engine.Close()))
	pool, err := cow.Open(ctx, cow.Options{Dir: filepath.Join(s.dataDir, "pool")})
	check(t, err)
	check(t, errors.Join(pool.Unmount(ctx), pool.Close()))
}

// mayfly runs a command that must succeed, and returns its output.
func (s *service) mayfly(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	command := exec.Command("mayfly", args...)
	command.Env = append(os.Environ(), "MAYFLY_SERVER="+s.url, "MAYFLY_TOKEN="+s.token)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("mayfly %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// exits runs a program that must end with that exit code: exits 3 mayfly get nothing.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("%s ended with exit code %d, not %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// setenv puts the output of the last command into a variable, or what the first group of a pattern finds in it: setenv URL stdout [pattern].
func setenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: setenv name file [pattern]")
	}
	value := strings.TrimSpace(ts.ReadFile(args[1]))
	if len(args) > 2 {
		found := regexp.MustCompile(args[2]).FindStringSubmatch(value)
		if found == nil {
			ts.Fatalf("%s does not match %s", value, args[2])
		}
		value = found[1]
	}
	ts.Setenv(args[0], value)
}

// subst replaces a text in a file: subst file old new.
func subst(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(ts.ReadFile(args[0]), args[1], args[2])), 0o644))
}

// writeToken writes a token into a file that only its owner can read.
func writeToken(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+"\n"), 0o600))
}

// mode checks the permissions of a file: mode 600 file.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
	}
}

// commandLines returns the command lines of all processes.
func commandLines(ts *testscript.TestScript) []string {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	var lines []string
	for _, file := range files {
		if raw, err := os.ReadFile(file); err == nil && len(raw) > 0 {
			lines = append(lines, strings.ReplaceAll(string(raw), "\x00", " "))
		}
	}
	return lines
}

// running waits until a program that mayfly started has all of these texts in its command line.
func running(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(cliTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, line := range commandLines(ts) {
			missing := slices.ContainsFunc(args, func(text string) bool { return !strings.Contains(line, text) })
			if !missing && !strings.HasPrefix(line, "mayfly") {
				return
			}
		}
	}
	ts.Fatalf("no process with %s", strings.Join(args, " and "))
}

// noCommandLine fails if a process has a text in its command line: every user of the machine can read those.
func noCommandLine(ts *testscript.TestScript, _ bool, args []string) {
	for _, line := range commandLines(ts) {
		if strings.Contains(line, args[0]) {
			ts.Fatalf("it is in the arguments of a process: %s", strings.ReplaceAll(line, args[0], "(here)"))
		}
	}
}
