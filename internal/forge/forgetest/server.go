package forgetest

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options configure a Server. The zero value is a server that nobody may use: give it Token, AppKey or both.
type Options struct {
	// Dir is where the repositories are kept. "" means a temporary directory that Close removes.
	Dir string
	// Address to listen on. "" means a free port of 127.0.0.1.
	Address string
	Now     func() time.Time
	Logger  *slog.Logger
	// Token is a personal access token that the server takes, of the user Login ("mayfly-bot" if "").
	Token string
	Login string
	// AppID and AppKey are those of a GitHub App, with the slug AppSlug ("mayfly" if ""). It is installed on all
	// repositories, one installation per owner.
	AppID   int64
	AppKey  *rsa.PublicKey
	AppSlug string
	// TruncateTrees makes recursive listings with more entries than this truncated. 0 means 100,000, as GitHub does.
	TruncateTrees int
	// Unchecked leaves out the comparison of each call with GitHub's published description, which takes time: for measurements.
	Unchecked bool
}

// Server is a fake GitHub. It is safe for concurrent use.
type Server struct {
	options Options
	now     func() time.Time
	log     *slog.Logger
	dir     string
	ownDir  bool
	http    *http.Server
	url     string
	served  chan struct{}

	mu           sync.Mutex
	lastID       int64
	repositories map[int64]*Repo
	byName       map[string]int64 // lower-case full names, old ones too
	owners       map[string]int64 // installation ids
	tokens       map[string]installationGrant
	calls        map[string]int
	used         int // requests in all
	notModified  int
	faults       faults
	archive      []byte // answered instead of any repository's, if set
	violations   []string
	permissions  map[string]string // that the App lacks or has otherwise than by default
	suspended    map[int64]bool    // installations
	removed      map[int64]bool    // installations
	life         life
	appHook      string // where the App's deliveries go
	signIns      signIns
}

// faults are what the server does wrong on purpose.
type faults struct {
	latency   time.Duration
	failNext  int
	status    int
	limited   time.Time
	retry     time.Duration // of the secondary limit
	secondary bool
	down      bool
	denied    map[string]bool // routes
}

type installationGrant struct {
	owner   string
	expires time.Time
}

// New starts a server. Close stops it.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{
		options: o, now: o.Now, log: o.Logger, dir: o.Dir, served: make(chan struct{}),
		lastID: 1000, repositories: map[int64]*Repo{}, byName: map[string]int64{}, owners: map[string]int64{},
		tokens: map[string]installationGrant{}, calls: map[string]int{}, permissions: map[string]string{},
		suspended: map[int64]bool{}, removed: map[int64]bool{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.options.Login == "" {
		s.options.Login = "mayfly-bot"
	}
	if s.options.AppSlug == "" {
		s.options.AppSlug = "mayfly"
	}
	if s.options.TruncateTrees == 0 {
		s.options.TruncateTrees = 100_000
	}
	if s.options.Address == "" {
		s.options.Address = "127.0.0.1:0"
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.options.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for the fake GitHub: %w", err)
	}
	if s.dir == "" {
		s.ownDir = true
		if s.dir, err = os.MkdirTemp("", "mayfly-forgetest-"); err != nil {
			_ = listener.Close()
			return nil, fmt.Errorf("make a directory for repositories: %w", err)
		}
	}
	s.url = "http://" + listener.Addr().String()
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("fake github stopped", "error", err)
		}
	}()
	return s, nil
}

// URL is the address of the API, as forge.Options takes it.
func (s *Server) URL() string { return s.url }

// Close stops the server, and removes its directory if it made it. It is an error if a call was not what GitHub publishes.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	err = errors.Join(err, s.violationError())
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// Calls returns how often each route was called, by names like "GET /repositories/{id}/pulls". Calls by the name of a
// repository count under the same names as calls by its id.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := make(map[string]int, len(s.calls))
	for route, n := range s.calls {
		copied[route] = n
	}
	return copied
}

// ResetCalls sets all counts to zero.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.notModified = map[string]int{}, 0
}

// NotModified returns how many conditional requests were answered with 304.
func (s *Server) NotModified() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notModified
}

// Latency makes every answer take at least d.
func (s *Server) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.latency = d
}

// FailNext answers the next n requests with status.
func (s *Server) FailNext(n, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.failNext, s.faults.status = n, status
}

// Down makes the server hang up on everybody, or ends that.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.down = down
}

// Deny makes the server refuse a route, by its name in Calls, as GitHub does when a permission is missing; or ends that.
func (s *Server) Deny(route string, deny bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.denied == nil {
		s.faults.denied = map[string]bool{}
	}
	s.faults.denied[route] = deny
}

// RateLimit refuses all requests until then, as GitHub does when the hourly limit is used up. The zero time ends it.
func (s *Server) RateLimit(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.limited = until
}

// SecondaryLimit refuses the next request as GitHub does when requests come too fast, naming retry in the answer, or
// nothing if it is 0.
func (s *Server) SecondaryLimit(retry time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.secondary, s.faults.retry = true, retry
}

// RevokeTokens makes the server refuse all installation tokens that it has given out.
func (s *Server) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = map[string]installationGrant{}
}

// CreateRepository makes a repository with a first commit, a README, on the branch main.
func (s *Server) CreateRepository(ctx context.Context, fullName string) (*Repo, error) {
	owner, name, ok := strings.Cut(fullName, "/")
	if !ok || owner == "" || name == "" || strings.ContainsAny(name, "/\\") {
		return nil, fmt.Errorf("%q is not owner/name", fullName)
	}
	s.mu.Lock()
	if _, taken := s.byName[strings.ToLower(fullName)]; taken {
		s.mu.Unlock()
		return nil, fmt.Errorf("repository %s exists", fullName)
	}
	id := s.nextID()
	s.installation(owner)
	s.byName[strings.ToLower(fullName)] = id
	s.mu.Unlock()

	git, err := initGit(ctx, filepath.Join(s.dir, strconv.FormatInt(id, 10)+".git"), s.now)
	if err != nil {
		return nil, err
	}
	r := &Repo{
		server: s, git: git, id: id, owner: owner, name: name, created: s.now(),
		pulls: map[int]*PR{}, comments: map[int64]*Comment{}, statuses: map[string][]Status{},
		checks: map[int64]*CheckRun{}, deployments: map[int64]*Deployment{}, roles: map[string]string{}, reactions: map[int64][]Reaction{},
	}
	if _, err := r.git.commit(ctx, "refs/heads/main", "", edit{write: map[string]string{"README.md": "# " + name + "\n"}}, "First commit"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.repositories[id] = r
	s.mu.Unlock()
	return r, nil
}

// nextID returns an id that nothing has. The caller holds mu.
func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}

// installation returns the id of the App's installation for owner. The caller holds mu.
func (s *Server) installation(owner string) int64 {
	id, ok := s.owners[strings.ToLower(owner)]
	if !ok {
		id = s.nextID()
		s.owners[strings.ToLower(owner)] = id
	}
	return id
}

// handler serves the API at / and at /api/v3/, where GitHub Enterprise Server has it. http.ServeMux would not take the
// routes: issues/{number}/comments and issues/comments/{comment} overlap.
func (s *Server) handler() http.Handler {
	routes := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.serveSignIn(w, r) {
			return
		}
		segments := strings.Split(strings.Trim(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v3"), "/api"), "/"), "/")
		if segments[0] == "codeload" && len(segments) == 3 {
			s.codeload(w, r, segments)
			return
		}
		if segments[0] == "repos" && len(segments) >= 3 {
			r.SetPathValue("owner", segments[1])
			r.SetPathValue("repo", segments[2])
			segments = append([]string{"repositories", "0"}, segments[3:]...)
		}
		for _, candidate := range routes {
			if candidate.match(r, segments) {
				s.serve(w, r, candidate, strings.Join(segments, "/"))
				return
			}
		}
		if !s.options.Unchecked {
			s.violated(r, "request", errors.New("the fake has no such operation"))
		}
		fail(w, http.StatusNotFound, "Not Found")
	})
}

// route is one operation of the API. handle gets the repository that the path names, or nil if it names none.
type route struct {
	pattern string
	asApp   bool // takes the App's own token only
	handle  func(w http.ResponseWriter, r *http.Request, who caller, repo *Repo)
}

// match reports whether the request is for the route, and sets the values of the path.
func (rt route) match(r *http.Request, segments []string) bool {
	method, path, _ := strings.Cut(rt.pattern, " ")
	want := strings.Split(strings.Trim(path, "/"), "/")
	if last := want[len(want)-1]; strings.HasSuffix(last, "...}") && len(segments) > len(want) { // the path of a file
		segments = append(segments[:len(want)-1:len(want)-1], strings.Join(segments[len(want)-1:], "/"))
	}
	if method != r.Method || len(want) != len(segments) {
		return false
	}
	for i, w := range want {
		if !strings.HasPrefix(w, "{") && w != segments[i] {
			return false
		}
	}
	for i, w := range want {
		if name, ok := strings.CutPrefix(w, "{"); ok {
			r.SetPathValue(strings.TrimSuffix(strings.TrimSuffix(name, "}"), "..."), segments[i])
		}
	}
	return true
}

// caller is who makes a request.
type caller struct {
	app   bool   // the App itself
	owner string // of the installation, or "" for a user
	login string
	bot   bool
}

// serve does what all operations have in common: faults, credentials, rate-limit headers, the repository.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt route, path string) {
	s.mu.Lock()
	s.calls[rt.pattern]++
	s.used++
	remaining, wait := max(1, 5000-s.used), s.faults.latency
	s.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
	}
	s.rateHeaders(w, remaining, s.now().Add(time.Hour))
	if s.injected(w, rt) {
		return
	}
	who, ok := s.authenticate(r)
	if !ok || rt.asApp != who.app {
		fail(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	var repo *Repo
	if strings.Contains(rt.pattern, "/repositories/{id}") {
		if repo, ok = s.find(w, r, who); !ok {
			return
		}
	}
	s.checked(w, r, path, repo, func(w http.ResponseWriter, r *http.Request) { rt.handle(w, r, who, repo) })
}

func (s *Server) rateHeaders(w http.ResponseWriter, remaining int, reset time.Time) {
	h := w.Header()
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	h.Set("X-RateLimit-Limit", "5000")
	h.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
	h.Set("X-RateLimit-Used", strconv.Itoa(5000-remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
}

// injected answers instead of the operation if a fault says so.
func (s *Server) injected(w http.ResponseWriter, rt route) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f := &s.faults; {
	case f.down:
		panic(http.ErrAbortHandler) // the connection ends without an answer
	case f.denied[rt.pattern]:
		fail(w, http.StatusForbidden, "Resource not accessible by integration")
	case f.failNext > 0:
		f.failNext--
		fail(w, f.status, http.StatusText(f.status))
	case s.now().Before(f.limited):
		s.rateHeaders(w, 0, f.limited)
		answer(w, http.StatusForbidden, object{
			"message":           "API rate limit exceeded for installation ID 1.",
			"documentation_url": "https://docs.github.com/rest/overview/resources-in-the-rest-api#rate-limiting",
		})
	case f.secondary:
		f.secondary = false
		if f.retry > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(f.retry.Seconds())))
		}
		answer(w, http.StatusForbidden, object{
			"message":           "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
			"documentation_url": "https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
		})
	default:
		return false
	}
	return true
}

// find returns the repository that the path names, if the caller may see it. An old name is redirected, as GitHub does.
func (s *Server) find(w http.ResponseWriter, r *http.Request, who caller) (*Repo, bool) {
	name := strings.ToLower(r.PathValue("owner") + "/" + r.PathValue("repo"))
	s.mu.Lock()
	byName := r.PathValue("owner") != ""
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if byName {
		id = s.byName[name]
	} else if err != nil {
		id = 0
	}
	repo := s.repositories[id]
	s.mu.Unlock()
	if repo == nil || !repo.visible(who) {
		fail(w, http.StatusNotFound, "Not Found")
		return nil, false
	}
	if byName && name != strings.ToLower(repo.FullName()) {
		_, rest, _ := strings.Cut(r.URL.Path, "/repos/"+r.PathValue("owner")+"/"+r.PathValue("repo"))
		target := fmt.Sprintf("%s/repositories/%d%s", s.url, id, rest)
		w.Header().Set("Location", target)
		answer(w, http.StatusMovedPermanently, object{"message": "Moved Permanently", "url": target})
		return nil, false
	}
	return repo, true
}

// object is a JSON object.
type object = map[string]any

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // made of JSON's own types; the client may be gone
}

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, object{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status)})
}

// conditional answers with body and its ETag, or with 304 if the client has it already.
func (s *Server) conditional(w http.ResponseWriter, r *http.Request, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		fail(w, http.StatusInternalServerError, "Server Error")
		return
	}
	sum := sha256.Sum256(encoded)
	etag := `W/"` + hex.EncodeToString(sum[:]) + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		s.mu.Lock()
		s.notModified++
		s.mu.Unlock()
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(encoded)
}

// paginate answers with the page of items that the query asks for, with links to the others.
func paginate[T any](s *Server, w http.ResponseWriter, r *http.Request, items []T, render func(T) object) {
	query := r.URL.Query()
	perPage, page := number(query.Get("per_page"), 30), number(query.Get("page"), 1)
	perPage = min(perPage, 100)
	last := max(1, (len(items)+perPage-1)/perPage)
	link := func(n int, rel string) string {
		query.Set("page", strconv.Itoa(n))
		return fmt.Sprintf(`<%s%s?%s>; rel="%s"`, s.url, r.URL.Path, query.Encode(), rel)
	}
	var links []string
	if page > 1 {
		links = append(links, link(page-1, "prev"), link(1, "first"))
	}
	if page < last {
		links = append(links, link(page+1, "next"), link(last, "last"))
	}
	if len(links) > 0 {
		w.Header().Set("Link", strings.Join(links, ", "))
	}
	rendered := []object{}
	for i := (page - 1) * perPage; i < min(page*perPage, len(items)); i++ {
		rendered = append(rendered, render(items[i]))
	}
	s.conditional(w, r, rendered)
}

func number(text string, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

// sortedKeys returns the keys of m in order.
func sortedKeys[K int | int64, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}
