package api

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner"
)

// runner is the environment that GitHub gives a step.
type runner struct {
	*ciBed
	dir    string
	server *httptest.Server
	claims map[string]any
	asked  atomic.Int32
	env    map[string]string
}

func newRunner(t *testing.T, b *ciBed, number int, sha string) *runner {
	t.Helper()
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the action needs %s, as a runner has it", tool)
		}
	}
	r := &runner{ciBed: b, dir: t.TempDir(), claims: actions(number, nil)}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	event := map[string]any{"action": "synchronize", "number": number, "pull_request": map[string]any{"head": map[string]any{
		"sha": sha, "ref": "x$(touch pwned)`touch pwned`\n::error::pwned",
	}}}
	raw, err := json.Marshal(event)
	must(t, err)
	must(t, os.WriteFile(r.path("event.json"), raw, 0o600))
	r.env = map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": r.dir, "TMPDIR": r.dir, "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request",
		"GITHUB_SHA": strings.Repeat("f", 40), "GITHUB_HEAD_REF": "x$(touch pwned)", "GITHUB_EVENT_PATH": r.path("event.json"),
		"GITHUB_OUTPUT": r.path("output"), "GITHUB_ENV": r.path("env"),
		"ACTIONS_ID_TOKEN_REQUEST_URL": r.server.URL + "/idtoken?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
		"MAYFLY_URL": b.url + "/", "MAYFLY_AUDIENCE": audience, "MAYFLY_TIMEOUT": "60s", "MAYFLY_EXPORT": "true",
	}
	return r
}

func (r *runner) path(name string) string { return filepath.Join(r.dir, name) }

// ServeHTTP is the runner's own service for identity tokens.
func (r *runner) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Header.Get("Authorization") != "bearer runner-secret" || request.URL.Query().Get("api-version") != "2.0" {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	if r.asked.Add(1) == 1 {
		http.Error(w, "not yet", http.StatusServiceUnavailable) // as happens
		return
	}
	claims := maps.Clone(r.claims)
	claims["aud"] = request.URL.Query().Get("audience")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": r.issuer.Sign(claims)})
}

// run runs the step and returns what it printed.
func (r *runner) run() (string, error) {
	r.t.Helper()
	script, err := filepath.Abs("../../action/preview.sh")
	must(r.t, err)
	for _, file := range []string{"output", "env"} {
		must(r.t, os.WriteFile(r.path(file), nil, 0o600))
	}
	cmd := exec.CommandContext(r.t.Context(), script)
	cmd.Dir = r.dir
	for key, value := range r.env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	err = cmd.Run()
	if _, statErr := os.Stat(r.path("pwned")); statErr == nil {
		r.t.Error("text of a stranger was executed")
	}
	return printed.String(), err
}

// values reads a file in the format of GITHUB_ENV, as the runner does.
func (r *runner) values(file string) map[string]string {
	r.t.Helper()
	raw, err := os.ReadFile(r.path(file))
	must(r.t, err)
	out := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	for i := 0; i < len(lines) && lines[0] != ""; i++ {
		name, delimiter, ok := strings.Cut(lines[i], "<<")
		if !ok {
			r.t.Fatalf("%s is not in the runner's format: %q", file, raw)
		}
		var value []string
		for i++; lines[i] != delimiter; i++ {
			value = append(value, lines[i])
		}
		out[name] = strings.Join(value, "\n")
	}
	return out
}

// TestAction runs the action's script against the API, faster than the webhook, with a password full of traps.
func TestAction(t *testing.T) {
	t.Parallel()
	const password = "p%25w ::add-mask::'$(id)/@:é"
	b := setupCI(t)
	sha := strings.Repeat("a", 40)
	r := newRunner(t, b, 42, sha)
	b.Previews = fixedCredentials{Previews: b.Previews, password: password}
	made := make(chan struct{})
	go func() {
		defer close(made)
		b.wait("the script asks", func() bool { return strings.Contains(b.log.String(), "token exchanged") })
		p := b.pullRequest(42, strings.Repeat("b", 40))
		b.observe(p, mayfly.PreviewReady) // an older commit: not what is waited for
		_, err := b.Store.ChangePreview(t.Context(), p.ID, func(p *mayfly.Preview) error { p.PR.HeadSHA = sha; return nil })
		must(t, err)
		b.observe(p, mayfly.PreviewReady)
	}()
	printed, err := r.run()
	<-made
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, printed, b.log)
	}
	env, output := r.values("env"), r.values("output")
	u, err := url.Parse(env["DATABASE_URL"])
	must(t, err)
	if got, _ := u.User.Password(); got != password || env["PGPASSWORD"] != password || output["password"] != password || output["database-url"] != env["DATABASE_URL"] {
		t.Errorf("environment %q, outputs %q", env, output)
	}
	if env["PGHOST"] != "db.example.com" || env["PGPORT"] != "6432" || env["PGDATABASE"] != "shop-pr-42" || env["PGUSER"] != "app" || env["PGSSLMODE"] != "require" ||
		output["preview"] != "shop-pr-42" || output["sha"] != sha || output["page"] != b.url+"/previews/shop-pr-42" {
		t.Errorf("environment %q, outputs %q", env, output)
	}
	checkMasked(t, printed, password, env["DATABASE_URL"])
	for _, line := range strings.Split(printed, "\n") {
		if strings.Contains(line, "::") && !strings.HasPrefix(line, "::add-mask::") {
			t.Errorf("a line that could be a command: %q", line)
		}
	}
	left, err := filepath.Glob(r.path("tmp.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the script left %q, %v", left, err)
	}
}

// checkMasked reads the log as the runner does: after a mask, the value must not be seen any more; before, neither.
func checkMasked(t *testing.T, printed string, secrets ...string) {
	t.Helper()
	unescape := strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n")
	masks := map[string]bool{}
	var rest strings.Builder
	for _, line := range strings.Split(printed, "\n") {
		if value, ok := strings.CutPrefix(line, "::add-mask::"); ok {
			masks[unescape.Replace(value)] = true
			continue
		}
		rest.WriteString(line + "\n")
	}
	shown := rest.String()
	for _, secret := range secrets {
		if !masks[secret] || strings.Contains(shown, secret) {
			t.Errorf("%q is not masked in\n%s", secret, printed)
		}
	}
	tokens := 0
	for value := range masks {
		if strings.HasPrefix(value, "eyJ") {
			tokens++
		}
	}
	if tokens < 2 || regexp.MustCompile(`eyJ[\w-]+\.`).MatchString(shown) {
		t.Errorf("the tokens are not masked in\n%s", printed)
	}
}

// TestActionFails shows what a developer is told.
func TestActionFails(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	sha := strings.Repeat("a", 40)
	p := b.pullRequest(42, sha)
	p.State, p.ObservedGeneration, p.ObservedSHA = mayfly.PreviewFailed, 1, sha
	p.Failure = &mayfly.Failure{Code: mayfly.CodeMigrationFailed, Message: "0004.sql:3: 100% wrong\n::set-env name=X::pwned", Hint: "mend it"}
	must(t, b.Store.Observe(t.Context(), p))
	for name, c := range map[string]struct {
		number int
		env    map[string]string
		want   []string
	}{
		"a migration fails": {42, nil, []string{
			"the migrations of " + sha + " failed on shop-pr-42: 0004.sql:3: 100%25 wrong%0A::set-env", "%0Ahint: mend it%0Areport: " + b.url + "/previews/shop-pr-42",
		}},
		"a fork":             {43, nil, []string{"this token gives access to no preview (hint: "}},
		"no permission":      {42, map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": ""}, []string{"%0Apermissions:%0A  id-token: write"}},
		"no https":           {42, map[string]string{"MAYFLY_URL": "http://mayfly.example.com"}, []string{"must begin with https://"}},
		"no time":            {42, map[string]string{"MAYFLY_TIMEOUT": "soon"}, []string{"timeout: soon is not a time"}},
		"no number":          {42, map[string]string{"MAYFLY_PULL_REQUEST": "4 2"}, []string{"pull-request: it is a number"}},
		"no commit":          {42, map[string]string{"MAYFLY_SHA": "main; true"}, []string{"no commit to wait for"}},
		"it does not come":   {42, map[string]string{"MAYFLY_SHA": strings.Repeat("e", 40), "MAYFLY_TIMEOUT": "1"}, []string{"shop-pr-42 is not ready for eee"}},
		"nobody is there":    {42, map[string]string{"MAYFLY_URL": "http://127.0.0.1:1", "MAYFLY_TIMEOUT": "1s"}, []string{"gave up after 1s"}},
		"the wrong audience": {42, map[string]string{"MAYFLY_AUDIENCE": ""}, []string{"gives access to no preview"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRunner(t, b, c.number, sha)
			r.asked.Store(1) // its own service answers
			maps.Copy(r.env, c.env)
			printed, err := r.run()
			if err == nil {
				t.Errorf("it succeeds:\n%s", printed)
			}
			for _, want := range c.want {
				if !strings.Contains(printed, want) || !strings.Contains(printed, "::error title=Mayfly::") {
					t.Errorf("it does not say %q:\n%s", want, printed)
				}
			}
			if len(r.values("env"))+len(r.values("output")) > 0 {
				t.Error("it sets something all the same")
			}
			if strings.Contains(printed, "\n::set-env") {
				t.Errorf("a command of the server's text: %s", printed)
			}
		})
	}
}

// TestActionScript keeps the script free of what shellcheck finds, where it is installed.
func TestActionScript(t *testing.T) {
	t.Parallel()
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), shellcheck, "../../action/preview.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// fixedCredentials gives everything the same password.
type fixedCredentials struct {
	Previews
	password string
}

func (f fixedCredentials) Credentials(_ context.Context, name string) (*provisioner.Credentials, error) {
	return &provisioner.Credentials{Database: name, User: "app", Password: f.password}, nil
}
