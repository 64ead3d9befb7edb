package forge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

const (
	defaultBaseURL = "https://api.github.com/"
	// requestTimeout bounds one request. GitHub itself gives up on a request after 10 seconds; blobs take longer.
	requestTimeout = 30 * time.Second
	// maxResponse bounds what is read of one JSON response. A full page of pull requests is about 3 MiB, and a tree
	// listing is cut by GitHub at 7 MiB.
	maxResponse = 32 << 20
)

// Options configure a Client. Exactly one of Token and App is required.
type Options struct {
	// BaseURL is the address of the REST API. "" means https://api.github.com; GitHub Enterprise Server has it at
	// https://<host>/api/v3.
	BaseURL string
	// Token is a personal access token, for small installations. A secret.
	Token string
	// App makes the client authenticate as a GitHub App instead.
	App *App
	// HTTP makes the requests. nil means a client of its own. Redirects to another host never carry credentials.
	HTTP   *http.Client
	Logger *slog.Logger
	Now    func() time.Time
	// Version of Mayfly, for the User-Agent.
	Version string
	// Limits bound what Files reads. Zero fields mean the defaults.
	Limits Limits
}

// Client is a GitHub client. It is safe for concurrent use.
type Client struct {
	requests *github.Client // builds requests; never sends them (see do)
	http     *http.Client
	log      *slog.Logger
	now      func() time.Time
	auth     authenticator
	limits   Limits
	objects  *objectCache
	pages    *pageCache

	mu      sync.Mutex
	blocked map[account]time.Time // until when GitHub refuses requests
	self    string                // login that comments are written as; "" until asked
	queries queries
	ours    map[int64][sha256.Size]byte // the text of comments that are known to be ours, as last seen
	silent  map[pull]bool               // pull requests that had no comment when they were read
	lacking map[lack]time.Time          // until when a permission that is missing is not tried again
}

// New returns a client. It makes no request: a wrong token is found out by the first call.
func New(o Options) (*Client, error) {
	c := &Client{
		http: o.HTTP, log: o.Logger, now: o.Now, limits: o.Limits.withDefaults(),
		objects: newObjectCache(objectCacheBytes), pages: newPageCache(pageCacheEntries),
		blocked: map[account]time.Time{}, lacking: map[lack]time.Time{}, silent: map[pull]bool{}, ours: map[int64][sha256.Size]byte{}, queries: queries{nodes: map[int64]string{}, sizes: map[string]int64{}},
	}
	if c.http == nil {
		c.http = &http.Client{}
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.requests = github.NewClient(c.http)
	c.requests.UserAgent = "mayfly/" + o.Version
	if o.Version == "" {
		c.requests.UserAgent = "mayfly"
	}
	base, err := baseURL(o.BaseURL)
	if err != nil {
		return nil, err
	}
	c.requests.BaseURL = base
	switch {
	case o.Token != "" && o.App != nil:
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "both a GitHub token and a GitHub App are configured").
			WithHint("configure one of the two; docs/github.md says which")
	case o.Token != "":
		c.auth = tokenAuth{conceal(o.Token)}
	case o.App != nil:
		if c.auth, err = newAppAuth(c, *o.App); err != nil {
			return nil, err
		}
	default:
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "neither a GitHub token nor a GitHub App is configured").
			WithHint("docs/github.md shows how to set up either")
	}
	return c, nil
}

func baseURL(address string) (*url.URL, error) {
	if address == "" {
		address = defaultBaseURL
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the GitHub API address is not an http(s) URL without credentials and query").
			WithHint("leave it empty for github.com; GitHub Enterprise Server has it at https://<host>/api/v3")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

// call is one request to the API.
type call struct {
	method string
	path   string // relative to the base URL
	body   any    // JSON, or nil
	accept string // media type, or "" for JSON
	// conditional makes a GET cheap when nothing changed: the last response is kept and asked for by ETag, and an
	// answer of 304 does not count against the rate limit.
	conditional bool
}

// response is what came back, with a 2xx status.
type response struct {
	body []byte
	next int // number of the next page, or 0
	// cursor of the next page, or "", for listings without numbers
	cursor string
}

// get asks for path as account and decodes the answer into v.
func (c *Client) get(ctx context.Context, who account, path string, v any) error {
	return c.exchange(ctx, who, call{method: http.MethodGet, path: path}, v)
}

// exchange makes the call and decodes the answer into v.
func (c *Client) exchange(ctx context.Context, who account, in call, v any) error {
	out, err := c.do(ctx, who, in)
	if err != nil {
		return err
	}
	return decode(in, out, v)
}

func decode(in call, out response, v any) error {
	if err := json.Unmarshal(out.body, v); err != nil {
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's answer to %s %s cannot be read: %w", in.method, in.path, err)
	}
	return nil
}

// do makes the call as who. An installation token that GitHub no longer takes is replaced once.
//
// The requests are built by go-github and its errors are used, but it does not send them: its own gate for rate limits
// knows one account and the wall clock, and Mayfly has one account per installation, a clock that tests control, and
// jobs that want to know until when to sleep.
func (c *Client) do(ctx context.Context, who account, in call) (response, error) {
	out, err := c.doOnce(ctx, who, in)
	if refused := (*Refused)(nil); errors.As(err, &refused) && refused.Status == http.StatusUnauthorized && c.auth.forget(who) {
		return c.doOnce(ctx, who, in)
	}
	return out, err
}

func (c *Client) doOnce(ctx context.Context, who account, in call) (response, error) {
	if until := c.blockedUntil(who); !until.IsZero() {
		return response{}, rateLimited(until)
	}
	bearer, err := c.auth.bearer(ctx, who)
	if err != nil {
		return response{}, err
	}
	return c.send(ctx, who, in, bearer)
}

// send makes one HTTP exchange with the credential given.
func (c *Client) send(ctx context.Context, who account, in call, bearer secret) (response, error) {
	request, err := c.requests.NewRequest(in.method, in.path, in.body)
	if err != nil {
		return response{}, fmt.Errorf("build request %s %s: %w", in.method, in.path, err)
	}
	if in.accept != "" {
		request.Header.Set("Accept", in.accept)
	}
	request.Header.Set("Authorization", "Bearer "+bearer())
	var cached *page
	if in.conditional {
		if cached = c.pages.get(in.path); cached != nil {
			request.Header.Set("If-None-Match", cached.etag)
		}
	}
	requestCtx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	reply, err := c.http.Do(request.WithContext(requestCtx))
	if err != nil {
		return response{}, unreachable(ctx, in, err)
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxResponse+1))
	if err != nil {
		return response{}, unreachable(ctx, in, err)
	}
	if len(body) > maxResponse {
		return response{}, mayfly.Errorf(mayfly.CodeTooLarge, "GitHub's answer to %s %s is larger than %d bytes", in.method, in.path, maxResponse)
	}
	c.log.Debug("github request", "method", in.method, "path", in.path, "status", reply.StatusCode,
		"remaining", reply.Header.Get("X-RateLimit-Remaining"))
	if reply.StatusCode == http.StatusNotModified && cached != nil {
		return cached.response, nil
	}
	if reply.StatusCode < 200 || reply.StatusCode > 299 {
		return response{}, c.failed(who, in, reply, body)
	}
	out := response{body: body, next: nextPage(reply.Header), cursor: nextCursor(reply.Header)}
	if in.conditional {
		c.pages.put(in.path, reply.Header.Get("ETag"), out)
	}
	return out, nil
}

// failed turns an answer that is not 2xx into an error, and remembers for how long GitHub refuses who.
func (c *Client) failed(who account, in call, reply *http.Response, body []byte) error {
	if until, ok := rateLimit(reply, body, c.now()); ok {
		if reply.Header.Get("X-RateLimit-Resource") == "graphql" && reply.Header.Get("Retry-After") == "" {
			return rateLimited(until) // the limit of queries is one of its own
		}
		c.mu.Lock()
		c.blocked[who] = until
		c.mu.Unlock()
		c.log.Warn("github rate limit", "account", who, "until", until)
		return rateLimited(until)
	}
	reply.Body = io.NopCloser(bytes.NewReader(body))
	return refusal(in, reply)
}

// blockedUntil returns until when GitHub refuses requests by who, or the zero time.
func (c *Client) blockedUntil(who account) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.blocked[who]
	if ok && !c.now().Before(until) {
		delete(c.blocked, who)
		return time.Time{}
	}
	return until
}

// maxPages ends a listing whose links never do.
const maxPages = 1000

// list calls each with every page at path, 100 items a page, until there are no more or each returns false.
func (c *Client) list(ctx context.Context, who account, path string, conditional bool, each func(page []byte) (more bool, err error)) error {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	next := 1
	for range maxPages {
		in := call{method: http.MethodGet, path: fmt.Sprintf("%s%sper_page=100&page=%d", path, separator, next), conditional: conditional}
		out, err := c.do(ctx, who, in)
		if err != nil {
			return err
		}
		more, err := each(out.body)
		if err != nil || !more || out.next == 0 {
			return err
		}
		next = out.next
	}
	return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's listing of %s does not end", path)
}

// nextPage reads the number of the next page from the Link header (GitHub docs, "Using pagination in the REST API").
func nextPage(header http.Header) int {
	// go-github parses it when it wraps a response; it has no exported function that does only that.
	for link := range strings.SplitSeq(header.Get("Link"), ",") {
		address, rest, ok := strings.Cut(strings.TrimSpace(link), ">")
		if !ok || !strings.Contains(rest, `rel="next"`) {
			continue
		}
		u, err := url.Parse(strings.TrimPrefix(address, "<"))
		if err != nil {
			return 0
		}
		var n int
		if _, err := fmt.Sscanf(u.Query().Get("page"), "%d", &n); err != nil || n < 1 {
			return 0
		}
		return n
	}
	return 0
}
