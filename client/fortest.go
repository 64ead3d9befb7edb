package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"os"
	"regexp"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// TB is what ForTest needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Cleanup(f func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// TestDatabase is the database of one test.
type TestDatabase struct {
	// URL connects to it, for any driver.
	URL string
	// Credentials are the same one by one, and Preview is what the server says of it.
	Credentials Credentials
	Preview     Preview
	// Client talks to the server that it is on.
	Client *Client
}

// TestOption says how ForTest makes a database.
type TestOption func(*testSettings)

type testSettings struct {
	server, token string
	request       CreatePreview
	timeout       time.Duration
	keepFailed    bool
}

// OnServer names the server and the token. Without it they are MAYFLY_SERVER (or MAYFLY_URL) and MAYFLY_TOKEN, or the file
// MAYFLY_TOKEN_FILE.
func OnServer(address, token string) TestOption {
	return func(s *testSettings) { s.server, s.token = address, token }
}

// InProject names the project. Without it that is MAYFLY_PROJECT, or the only one that the token may see.
func InProject(name string) TestOption { return func(s *testSettings) { s.request.Project = name } }

// FromPreview gives the test the data of a preview, as of now, in place of the newest template's.
func FromPreview(name string) TestOption { return func(s *testSettings) { s.request.From = name } }

// FromSnapshot gives the test the data of a snapshot.
func FromSnapshot(id string) TestOption { return func(s *testSettings) { s.request.Snapshot = id } }

// FromTemplate gives the test the data of a version of the project's templates.
func FromTemplate(version int) TestOption {
	return func(s *testSettings) { s.request.TemplateVersion = version }
}

// OfSize gives the database one of the server's size classes.
func OfSize(class string) TestOption { return func(s *testSettings) { s.request.Size = class } }

// LivesFor is after how long the server removes the database, whatever happens to the test; an hour without it.
func LivesFor(d time.Duration) TestOption {
	return func(s *testSettings) { s.request.TTL = d.String() }
}

// WithinTime bounds how long the database may take to be ready, with its time in the queue of a server that is full; two minutes without it.
func WithinTime(d time.Duration) TestOption { return func(s *testSettings) { s.timeout = d } }

// KeepIfFailed leaves the database of a test that fails to be looked at, until its time is over.
func KeepIfFailed() TestOption { return func(s *testSettings) { s.keepFailed = true } }

// ForTest gives a test a database of its own, with the project's data, and removes it when the test ends. Tests that run at the same
// time do not see each other. If the run is killed, the server removes the database when its time is over (LivesFor). Whatever goes wrong
// ends the test.
//
//	func TestOrders(t *testing.T) {
//		t.Parallel()
//		db := client.ForTest(t, client.InProject("shop"))
//		conn, err := pgx.Connect(t.Context(), db.URL)
//		…
//	}
func ForTest(t TB, opts ...TestOption) *TestDatabase {
	t.Helper()
	s := testSettings{timeout: 2 * time.Minute, request: CreatePreview{Name: testName(t.Name()), TTL: "1h", Labels: map[string]string{"test": testLabel(t.Name())}}}
	for _, opt := range opts {
		opt(&s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), s.timeout)
	defer cancel()
	c, err := s.client()
	if err != nil {
		t.Fatalf("a database for the test: %s", explained(err))
		return nil
	}
	db, err := s.make(ctx, t, c)
	if err != nil {
		t.Fatalf("a database for the test: %s", explained(err))
		return nil
	}
	return db
}

// explained is an error with its hint.
func explained(err error) string {
	if hint := mayfly.ErrorHint(err); hint != "" {
		return err.Error() + " (" + hint + ")"
	}
	return err.Error()
}

func (s *testSettings) client() (*Client, error) {
	server := cmp.Or(s.server, os.Getenv("MAYFLY_SERVER"), os.Getenv("MAYFLY_URL"))
	token := cmp.Or(s.token, os.Getenv("MAYFLY_TOKEN"))
	if file := os.Getenv("MAYFLY_TOKEN_FILE"); token == "" && file != "" {
		raw, err := os.ReadFile(file) //nolint:gosec // whoever runs the test names the file
		if err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the token: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	if server == "" || token == "" {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "which server, and with which token?").WithHint("set MAYFLY_SERVER and MAYFLY_TOKEN")
	}
	return New(server, token, nil)
}

func (s *testSettings) make(ctx context.Context, t TB, c *Client) (*TestDatabase, error) {
	t.Helper()
	project, err := s.project(ctx, c)
	if err != nil {
		return nil, err
	}
	s.request.Project = project
	p, err := c.CreatePreview(ctx, s.request)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { s.drop(t, c, p.Name) }) //nolint:contextcheck // the test's context has ended by then
	if p, err = c.WaitReady(ctx, p.Name, ""); err != nil {
		return nil, err
	}
	if p.Failure != nil && p.State == string(mayfly.PreviewFailed) {
		return nil, &mayfly.Error{Code: mayfly.Code(p.Failure.Code), Message: p.Name + ": " + p.Failure.Message, Hint: p.Failure.Hint}
	}
	credentials, err := c.Credentials(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	return &TestDatabase{URL: credentials.URL, Credentials: *credentials, Preview: *p, Client: c}, nil
}

func (s *testSettings) project(ctx context.Context, c *Client) (string, error) {
	if name := cmp.Or(s.request.Project, os.Getenv("MAYFLY_PROJECT")); name != "" {
		return name, nil
	}
	all, err := c.Projects(ctx)
	if err != nil {
		return "", err
	}
	if len(all) != 1 {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "which project? There are %d", len(all)).WithHint("client.InProject, or MAYFLY_PROJECT")
	}
	return all[0].Name, nil
}

// drop removes the database; it does not wait until it is gone.
func (s *testSettings) drop(t TB, c *Client, name string) {
	t.Helper()
	if s.keepFailed && t.Failed() {
		t.Logf("the test's database is kept for %s: mayfly psql %s", s.request.TTL, name)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
	defer cancel()
	if _, err := c.DeletePreview(ctx, name); err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Logf("the test's database %s is not removed, and lives until its time is over: %v", name, err)
	}
}

// testName is a sandbox's name for a test: something to recognise it by, and something that no other has.
func testName(test string) string {
	const readable = 16 // a project's name may have 30 bytes, and all of it 63
	slug := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(strings.TrimPrefix(test, "Test")), "-"), "-")
	return strings.Trim("t-"+slug[:min(len(slug), readable)], "-") + "-" + strings.ToLower(rand.Text()[:10])
}

func testLabel(test string) string {
	const longest = 255
	return strings.ToValidUTF8(test[:min(len(test), longest)], "")
}
