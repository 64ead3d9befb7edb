package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

// The fake GitHub runs in a process of its own, so that it can outlive the demo. People act on it (commit, open, merge)
// through a small control interface; Mayfly sees nothing but GitHub's API and the signed deliveries.

const (
	repository    = "acme/shop"
	migrationsDir = "db/migrations"
)

// pullRequest is what the control interface answers: the pull request, and how the delivery about it was taken.
type pullRequest struct {
	Number   int       `json:"number"`
	SHA      string    `json:"sha"`
	Clone    string    `json:"clone"` // the repository, for git clone
	Delivery *delivery `json:"delivery,omitempty"`
	Comments []comment `json:"comments,omitempty"`
	Statuses []status  `json:"statuses,omitempty"` // of SHA, oldest first
}

type status struct {
	State       string `json:"state"`
	Context     string `json:"context"`
	Description string `json:"description"`
}

type delivery struct {
	Event  string        `json:"event"`
	Began  time.Time     `json:"began"`
	Status int           `json:"status"`
	Took   time.Duration `json:"took"`
}

type comment struct {
	Author string `json:"author"`
	Body   string `json:"body"`
	Edited bool   `json:"edited"`
}

type commit struct {
	Branch  string            `json:"branch"`
	Files   map[string]string `json:"files"`
	Message string            `json:"message"`
}

// hub is the fake GitHub's process.
type hub struct {
	server  *forgetest.Server
	repo    *forgetest.Repo
	webhook string
	secret  []byte
}

func githubCommand(ctx context.Context, args []string) error {
	var listen, control, dir, webhook, tokenFile, secretFile string
	flags := flag.NewFlagSet("demo github", flag.ContinueOnError)
	flags.StringVar(&listen, "listen", "", "address of GitHub's API")
	flags.StringVar(&control, "control", "", "address of the control interface")
	flags.StringVar(&dir, "dir", "", "directory of the repositories")
	flags.StringVar(&webhook, "webhook", "", "where deliveries go")
	flags.StringVar(&tokenFile, "token-file", "", "the token that Mayfly uses")
	flags.StringVar(&secretFile, "secret-file", "", "the webhook's secret")
	if err := flags.Parse(args); err != nil {
		return err
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return err
	}
	h := &hub{webhook: webhook, secret: bytes.TrimSpace(secret)}
	h.server, err = forgetest.New(ctx, forgetest.Options{Dir: dir, Address: listen, Token: string(bytes.TrimSpace(token)), Login: "mayfly"})
	if err != nil {
		return err
	}
	defer func() { _ = h.server.Close() }()
	if h.repo, err = h.server.CreateRepository(ctx, repository); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", control)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h.routes(), ReadHeaderTimeout: 10 * time.Second} //nolint:contextcheck // a request has a context of its own
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h *hub) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (*pullRequest, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			result, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(result) // the caller may be gone
		})
	}
	handle("GET /{$}", func(*http.Request) (*pullRequest, error) { return &pullRequest{Clone: h.repo.Dir()}, nil })
	handle("POST /commits", h.commit)
	handle("POST /pulls", h.open)
	handle("GET /pulls/{number}", func(r *http.Request) (*pullRequest, error) {
		p, err := h.find(r)
		if err != nil {
			return nil, err
		}
		return h.show(r.Context(), p), nil
	})
	handle("POST /pulls/{number}/sync", func(r *http.Request) (*pullRequest, error) { return h.after(r, "synchronize", nil) })
	handle("POST /pulls/{number}/merge", func(r *http.Request) (*pullRequest, error) {
		return h.after(r, "closed", func(p *forgetest.PR) error { return p.Close(r.Context(), true) })
	})
	return mux
}

func (h *hub) commit(r *http.Request) (*pullRequest, error) {
	var c commit
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		return nil, err
	}
	sha, err := h.repo.Commit(r.Context(), c.Branch, c.Files, c.Message)
	return &pullRequest{SHA: sha}, err
}

func (h *hub) open(r *http.Request) (*pullRequest, error) {
	branch, title := r.URL.Query().Get("branch"), r.URL.Query().Get("title")
	p, err := h.repo.OpenPullRequest(r.Context(), branch, "main", title, forgetest.PROptions{Author: "robin"})
	if err != nil {
		return nil, err
	}
	return h.deliver(r.Context(), p, "opened")
}

func (h *hub) find(r *http.Request) (*forgetest.PR, error) {
	for _, p := range h.repo.PullRequests() {
		if strconv.Itoa(p.Number()) == r.PathValue("number") {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no pull request %s", r.PathValue("number"))
}

// after does something to a pull request and sends the delivery about it.
func (h *hub) after(r *http.Request, action string, do func(*forgetest.PR) error) (*pullRequest, error) {
	p, err := h.find(r)
	if err != nil {
		return nil, err
	}
	if do != nil {
		if err := do(p); err != nil {
			return nil, err
		}
	}
	return h.deliver(r.Context(), p, action)
}

func (h *hub) deliver(ctx context.Context, p *forgetest.PR, action string) (*pullRequest, error) {
	d := &delivery{Event: "pull_request." + action, Began: time.Now()}
	answer, err := h.server.Deliver(ctx, forgetest.Delivery{URL: h.webhook, Secret: h.secret, Action: action, PR: p})
	if err != nil {
		return nil, err
	}
	d.Status, d.Took = answer.Status, answer.Took
	shown := h.show(ctx, p)
	shown.Delivery = d
	return shown, nil
}

func (h *hub) show(ctx context.Context, p *forgetest.PR) *pullRequest {
	out := &pullRequest{Number: p.Number(), SHA: p.HeadSHA(ctx), Clone: h.repo.Dir()}
	for _, s := range h.repo.Statuses(out.SHA) {
		out.Statuses = append(out.Statuses, status{State: s.State, Context: s.Context, Description: s.Description})
	}
	for _, c := range p.Comments() {
		out.Comments = append(out.Comments, comment{Author: c.Author, Body: c.Body, Edited: c.UpdatedAt.After(c.CreatedAt)})
	}
	return out
}

// github is the demo's side of the control interface.
type github struct{ control string }

func (g *github) call(ctx context.Context, method, path string, body any) (*pullRequest, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+g.control+path, bytes.NewReader(encoded)) //nolint:gosec // the demo's own process on the loopback
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request) //nolint:gosec // see above
	if err != nil {
		return nil, fmt.Errorf("talk to the fake GitHub: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		return nil, fmt.Errorf("the fake GitHub: %s", strings.TrimSpace(string(text)))
	}
	result := &pullRequest{}
	if err := json.NewDecoder(response.Body).Decode(result); err != nil {
		return nil, fmt.Errorf("read the fake GitHub's answer: %w", err)
	}
	if d := result.Delivery; d != nil && (d.Status < 200 || d.Status > 299) {
		return nil, fmt.Errorf("the service refused the delivery with status %d", d.Status)
	}
	return result, nil
}

// commitFiles commits embedded migrations, by their names below this directory, to a branch of the repository.
func (g *github) commitFiles(ctx context.Context, branch, message string, names ...string) error {
	c := commit{Branch: branch, Message: message, Files: map[string]string{}}
	for _, name := range names {
		for _, direction := range []string{".up.sql", ".down.sql"} {
			content, err := files.ReadFile(name + direction)
			if err != nil {
				return err
			}
			c.Files[migrationsDir+"/"+path.Base(name)+direction] = string(content)
		}
	}
	_, err := g.call(ctx, http.MethodPost, "/commits", c)
	return err
}

func (g *github) open(ctx context.Context, branch, title string) (*pullRequest, error) {
	query := strings.NewReplacer("%", "%25", " ", "%20", "&", "%26", "#", "%23", "+", "%2B")
	return g.call(ctx, http.MethodPost, "/pulls?branch="+query.Replace(branch)+"&title="+query.Replace(title), nil)
}

func (g *github) sync(ctx context.Context, number int) (*pullRequest, error) {
	return g.call(ctx, http.MethodPost, fmt.Sprintf("/pulls/%d/sync", number), nil)
}

func (g *github) merge(ctx context.Context, number int) (*pullRequest, error) {
	return g.call(ctx, http.MethodPost, fmt.Sprintf("/pulls/%d/merge", number), nil)
}

func (g *github) pull(ctx context.Context, number int) (*pullRequest, error) {
	return g.call(ctx, http.MethodGet, fmt.Sprintf("/pulls/%d", number), nil)
}

// startGitHub starts the fake GitHub with what production runs on the branch main.
func (d *demo) startGitHub(ctx context.Context, listen string) error {
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return err
	}
	d.GitHubURL = "http://" + net.JoinHostPort(listen, strconv.Itoa(ports[0]))
	d.GitHubControl = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[1]))
	self, err := os.Executable()
	if err != nil {
		return err
	}
	repositories := filepath.Join(d.Dir, "github")
	if err := os.Mkdir(repositories, 0o700); err != nil {
		return err
	}
	err = d.spawn(&d.GitHubPID, "github", self, "github", "--dir", repositories, "--listen", strings.TrimPrefix(d.GitHubURL, "http://"),
		"--control", d.GitHubControl, "--webhook", d.URL+"/webhooks/github",
		"--token-file", filepath.Join(d.config(), "github.token"), "--secret-file", filepath.Join(d.config(), "webhook.secret"))
	if err != nil {
		return err
	}
	d.github = &github{control: d.GitHubControl}
	err = poll(ctx, 10*time.Second, func() (bool, error) {
		answer, err := d.github.call(ctx, http.MethodGet, "/", nil)
		if err == nil {
			d.Clone = answer.Clone
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return d.github.commitFiles(ctx, "main", "What production runs", "migrations/0001_shop", "migrations/0002_support")
}

// spawn starts a process that survives this one, with its output in a log of that name, and records its id.
func (d *demo) spawn(pid *int, name, program string, args ...string) error {
	logFile, err := os.OpenFile(filepath.Join(d.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	cmd := exec.Command(program, args...) //nolint:noctx // it is ended by clean-up, in order, and not by the context
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the demo, which stops it in order
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() { _ = cmd.Wait() }() // or else it would stay a zombie until the demo ends
	*pid = cmd.Process.Pid
	return d.save()
}

// poll asks until the answer is yes, or the time is over: then the last error says why.
func poll(ctx context.Context, patience time.Duration, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}
