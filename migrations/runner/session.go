package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/runner/relay"
)

// The defaults of what RunnerSettings leave at zero.
const (
	defaultMemoryBytes = 2 << 30
	defaultCPUs        = 2
	defaultPids        = 512
	defaultDiskBytes   = 2 << 30
	defaultOutputBytes = 16 << 20
	defaultTmpBytes    = 256 << 20
	// The defaults of what is cut, as for tools that are applied natively.
	defaultStatementTimeout = 10 * time.Minute
	defaultLockTimeout      = time.Minute
)

// Limits are the bounds of a run, with the defaults filled in.
type Limits struct {
	MemoryBytes int64
	CPUs        float64
	Pids        int64
	DiskBytes   int64
	OutputBytes int64
	TmpBytes    int64
}

// LimitsOf fills in the defaults.
func LimitsOf(s mayfly.RunnerSettings) Limits {
	return Limits{
		MemoryBytes: or(s.MemoryBytes, defaultMemoryBytes), CPUs: or(s.CPUs, defaultCPUs), Pids: or(s.Pids, defaultPids),
		DiskBytes: or(s.DiskBytes, defaultDiskBytes), OutputBytes: or(s.OutputBytes, defaultOutputBytes), TmpBytes: or(s.TmpBytes, defaultTmpBytes),
	}
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Options are what a Session is made of.
type Options struct {
	Settings mayfly.MigrationSettings
	Login    Login
	// Dial opens a connection to the preview's Postgres.
	Dial func(ctx context.Context) (net.Conn, error)
	// Archive opens the repository's archive at the head commit: tar, gzip.
	Archive func(ctx context.Context) (io.ReadCloser, error)
}

// Session serves one run: give Sockets and Output to the engine, run, and ask for the Report and the outcome.
type Session struct {
	opts   Options
	preset Preset
	limits Limits
	gate   *Gate
	proxy  *Proxy
	output *Output

	mu       sync.Mutex
	begun    bool
	checkout Checkout
	exit     *relay.Exit
	failed   error  // of ours: the archive, the connection with the relay
	refused  string // by the relay, in its words
}

// New makes a session.
func New(opts Options) (*Session, error) {
	preset, ok := PresetOf(opts.Settings.Tool)
	if !ok {
		return nil, mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s does not run as a command of the project", opts.Settings.Tool)
	}
	s := &Session{opts: opts, preset: preset, limits: LimitsOf(opts.Settings.Runner)}
	if len(s.Argv()) == 0 {
		return nil, mayfly.Errorf(mayfly.CodeMigrationInvalid, "migrations.runner.command is missing").
			WithHint("say which command migrates the database, such as [bin/migrate]")
	}
	s.gate = &Gate{Dial: opts.Dial, User: opts.Login.User, Database: opts.Login.Database, Parameters: timeouts(opts.Settings)}
	s.proxy = &Proxy{Allow: opts.Settings.Runner.Allow}
	secrets := opts.Login.secrets()
	for _, value := range opts.Settings.Runner.Secrets {
		secrets = append(secrets, value)
	}
	s.output = newOutput(s.limits.OutputBytes, secrets)
	return s, nil
}

// timeouts cut what hangs: set by the gate at the start of each session, whatever the command's own settings are. A migration
// may set its own.
func timeouts(settings mayfly.MigrationSettings) map[string]string {
	set := map[string]string{}
	for name, limit := range map[string]time.Duration{
		"statement_timeout": or(settings.StatementTimeout, defaultStatementTimeout), "lock_timeout": or(settings.LockTimeout, defaultLockTimeout),
	} {
		if limit > 0 {
			set[name] = strconv.FormatInt(max(1, limit.Milliseconds()), 10)
		}
	}
	return set
}

// Argv is the command.
func (s *Session) Argv() []string {
	if len(s.opts.Settings.Runner.Command) > 0 {
		return s.opts.Settings.Runner.Command
	}
	return s.preset.Argv
}

// Dir is where the checkout is.
func (s *Session) Dir() string { return or(s.opts.Settings.Runner.Dir, DefaultDir) }

// Backends are the process ids of the sessions that the command opened.
func (s *Session) Backends() []int32 { return s.gate.Backends() }

// Limits are the bounds of the run.
func (s *Session) Limits() Limits { return s.limits }

// Output is where the engine writes what the command prints.
func (s *Session) Output() *Output { return s.output }

// Args are the arguments with which Mayfly's program is the relay.
func Args() []string { return []string{"relay", SocketDir} }

// Sockets are what the engine serves: connections to them until ctx ends.
func (s *Session) Sockets(ctx context.Context) map[string]func(net.Conn) {
	sockets := map[string]func(net.Conn){
		relay.ControlSocket:  func(conn net.Conn) { s.control(ctx, conn) },
		relay.PostgresSocket: func(conn net.Conn) { s.gate.Serve(ctx, conn) },
	}
	if len(s.opts.Settings.Runner.Allow) > 0 {
		sockets[relay.ProxySocket] = func(conn net.Conn) { s.proxy.Serve(ctx, conn) }
	}
	return sockets
}

// control serves the relay. Only the first connection is answered: the command could make others.
func (s *Session) control(ctx context.Context, conn net.Conn) {
	s.mu.Lock()
	first := !s.begun
	s.begun = true
	s.mu.Unlock()
	if !first {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	err := s.converse(ctx, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.failed == nil && s.exit == nil && s.refused == "" {
		s.failed = err
	}
}

func (s *Session) converse(ctx context.Context, conn net.Conn) error {
	events := bufio.NewReader(conn)
	if first, err := relay.ReadEvent(events); err != nil || first.Kind != relay.EventReady {
		return fmt.Errorf("wait for the relay: %w", errors.Join(err, errRelay))
	}
	// An error with a code is one of the archive. Any other is one of sending it: the relay refused or died, and may say why.
	sendErr := s.send(ctx, conn)
	if sendErr != nil && mayfly.ErrorCode(sendErr) != mayfly.CodeInternal {
		return sendErr
	}
	for {
		event, err := relay.ReadEvent(events)
		if err != nil {
			if sendErr != nil {
				return sendErr
			}
			return errRelay // the container ended before the relay could say anything: the engine knows more
		}
		s.mu.Lock()
		switch event.Kind {
		case relay.EventRefused:
			s.refused = clipLine(event.Error)
		case relay.EventExited:
			if s.exit = event.Exit; s.exit != nil {
				s.exit.Signal = clipLine(s.exit.Signal)
			}
		}
		ended := s.refused != "" || s.exit != nil
		s.mu.Unlock()
		if ended {
			return nil
		}
	}
}

// errRelay is what is known when the relay said nothing.
var errRelay = errors.New("the container ended without saying how")

// send tells the relay what to run, and sends the checkout.
func (s *Session) send(ctx context.Context, conn net.Conn) error {
	start := relay.Start{
		Argv: s.Argv(), Env: environment(s.preset, s.opts.Settings.Runner, s.opts.Login), Dir: s.Dir(), Link: s.opts.Settings.Runner.Link,
		Forward: map[string]string{net.JoinHostPort(loopback, strconv.Itoa(postgresPort)): path.Join(SocketDir, relay.PostgresSocket)},
		Scratch: []string{s.Dir(), "/tmp"},
	}
	if len(s.opts.Settings.Runner.Allow) > 0 {
		start.Forward[net.JoinHostPort(loopback, strconv.Itoa(proxyPort))] = path.Join(SocketDir, relay.ProxySocket)
	}
	archive, err := s.opts.Archive(ctx)
	if err != nil {
		return fmt.Errorf("fetch the repository's archive: %w", err)
	}
	defer func() { _ = archive.Close() }()
	if err := relay.WriteLine(conn, start); err != nil {
		return err
	}
	made, err := Repack(archive, conn, CheckoutLimits{Bytes: s.limits.DiskBytes})
	s.mu.Lock()
	s.checkout = made
	s.mu.Unlock()
	return err
}

func clipLine(text string) string {
	text = strings.Join(strings.Fields(plain(text)), " ")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	return text
}

// Report returns what is known of the run.
func (s *Session) Report(image string, took time.Duration) *Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Report{
		Command: s.Argv(), Image: image, ExitCode: -1, DurationMS: float64(took) / float64(time.Millisecond),
		Errors: s.gate.Errors(), Refused: append(s.gate.Refused(), s.proxy.Refused()...), LeftOut: s.checkout.LeftOut,
	}
	for i := range r.Errors {
		r.Errors[i].Message = s.output.hide(r.Errors[i].Message)
	}
	r.Log, r.Truncated = s.output.Text()
	if s.exit != nil {
		r.ExitCode, r.Signal, r.CPUMS, r.MaxRSSBytes = s.exit.Code, s.exit.Signal, s.exit.CPUMS, s.exit.MaxRSSBytes
	}
	return r
}
