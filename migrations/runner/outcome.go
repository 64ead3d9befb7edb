package runner

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// Ended is what the engine knows of the end of a run.
type Ended struct {
	// Err is the engine's: nil if the container ran to its end.
	Err       error
	ExitCode  int
	OOMKilled bool
	// OverDisk is set if the run was ended because its files outgrew their limit, where the pool does not enforce that itself.
	OverDisk bool
	// OverDatabase is the same for the preview's own files.
	OverDatabase bool
	// Waited says for what a session of the command was last seen waiting; "" for nothing.
	Waited string
}

// Outcome says in words how the run ended: nil if the command succeeded. Each limit has words of its own, and comes before
// what the command itself had to say about it.
func (s *Session) Outcome(ctx context.Context, ended Ended) error {
	s.mu.Lock()
	exit, failed, refused := s.exit, s.failed, s.refused
	s.mu.Unlock()
	switch {
	case s.output.Exceeded():
		return s.fails("it printed more than %s", size(s.limits.OutputBytes)).
			WithHint("a migration should not print rows; migrations.runner.output raises the limit")
	case ended.OverDisk:
		return s.diskFull()
	case ended.OverDatabase:
		return s.noRoom()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return s.fails("it did not end in time and was killed%s%s", waited(ended.Waited), s.last()).
			WithHint("split the migrations, or raise migrations.timeout in the server's configuration")
	case ctx.Err() != nil:
		return ctx.Err()
	case exit != nil && exit.Code == 0 && ended.Err == nil:
		return nil
	case exit != nil:
		return s.failedCommand(ended)
	case refused != "":
		return s.notStarted(refused)
	case mayfly.ErrorCode(ended.Err) != "" && mayfly.ErrorCode(ended.Err) != mayfly.CodeInternal:
		return ended.Err
	case ended.OOMKilled:
		return s.outOfMemory()
	case failed != nil && !errors.Is(failed, errRelay):
		return failed
	case ended.Err != nil:
		return ended.Err
	}
	return s.fails("its container ended with code %d before it said how%s", ended.ExitCode, s.last()).
		WithHint("it may have met the limit of processes (migrations.runner.pids, now %d) or of memory (now %s)", s.limits.Pids, size(s.limits.MemoryBytes))
}

func (s *Session) fails(format string, args ...any) *mayfly.Error {
	return mayfly.Errorf(mayfly.CodeMigrationFailed, "%s failed: %s", s.name(), fmt.Sprintf(format, args...))
}

// name is the command, short enough for a sentence.
func (s *Session) name() string {
	name := s.output.hide(strings.Join(s.Argv(), " "))
	if len(name) > 80 {
		name = strings.ToValidUTF8(name[:80], "") + "…"
	}
	return "`" + plain(name) + "`"
}

// last is the end of the output, as the end of a sentence.
func (s *Session) last() string {
	text, _ := s.output.Text()
	if end := lastLines(text, 12, 1500); end != "" {
		return ":\n" + end
	}
	return ""
}

func waited(on string) string {
	if on == "" {
		return ""
	}
	return "; " + on
}

func (s *Session) outOfMemory() error {
	return s.fails("it ran out of memory: its limit is %s%s", size(s.limits.MemoryBytes), s.last()).
		WithHint("work in batches, or raise migrations.runner.memory in the server's configuration")
}

func (s *Session) noRoom() error {
	return s.fails("the preview's Postgres ran out of room%s", s.last()).
		WithHint("the migrations write more than previews.disk allows on top of the template; raise it, or write less")
}

func (s *Session) diskFull() error {
	return s.fails("its disk is full: it may write %s, the checkout included%s", size(s.limits.DiskBytes), s.last()).
		WithHint("write less, or raise migrations.runner.disk in the server's configuration")
}

// notStarted is for a command that never ran.
func (s *Session) notStarted(why string) error {
	if strings.Contains(why, "no space left") || strings.Contains(why, "quota exceeded") {
		return s.diskFull()
	}
	return mayfly.Errorf(mayfly.CodeMigrationFailed, "%s could not be started: %s", s.name(), why).
		WithHint("the command runs in image %s, in a checkout of the head commit at %s: set migrations.runner.image, .command or .link",
			s.opts.Settings.Runner.Image, s.Dir())
}

// saysFull reports whether the command said that there is no room for a file.
func (s *Session) saysFull() bool {
	text, _ := s.output.Text()
	return slices.ContainsFunc([]string{"No space left on device", "Disk quota exceeded", "ENOSPC", "EDQUOT"}, func(sign string) bool {
		return strings.Contains(text, sign)
	})
}

// failedCommand is for a command that ran and failed.
func (s *Session) failedCommand(ended Ended) error {
	exit, errs := s.exit, s.gate.Errors()
	code := func(states ...string) bool {
		return slices.ContainsFunc(errs, func(e ServerError) bool { return slices.Contains(states, e.SQLState) })
	}
	switch {
	case exit.ForkBomb:
		return s.fails("it kept on making processes beyond its limit of %d, and was killed", s.limits.Pids).
			WithHint("migrations.runner.pids raises the limit; a command that makes processes without end does not get far with any")
	case exit.OutOfMemory > 0 || ended.OOMKilled:
		return s.outOfMemory()
	case code("53100"):
		return s.noRoom()
	case slices.Contains(exit.Full, s.Dir()):
		return s.diskFull()
	case slices.Contains(exit.Full, "/tmp"):
		return s.fails("/tmp is full: it holds %s%s", size(s.limits.TmpBytes), s.last()).
			WithHint("raise migrations.runner.tmp (and .memory: it is memory), or set TMPDIR to a directory of the checkout")
	case s.saysFull(): // and has room again since: what it wrote is closed or gone
		return s.diskFull()
	case exit.ProcessLimit > 0:
		return s.fails("it met its limit of %d processes and threads%s", s.limits.Pids, s.last()).
			WithHint("raise migrations.runner.pids in the server's configuration")
	case code("55P03"):
		return s.fails("a statement waited longer than migrations.lock_timeout for a lock%s%s", waited(ended.Waited), s.last()).
			WithHint("another session holds what the migration needs: often one that the same command opened and left in a transaction")
	case code("57014"):
		return s.fails("a statement ran longer than migrations.statement_timeout%s%s", waited(ended.Waited), s.last()).
			WithHint("work in batches, or raise migrations.statement_timeout in the server's configuration")
	}
	err := s.fails("it ended with %s%s", ending(exit.Code, exit.Signal), s.last())
	if hint := s.hint(errs); hint != "" {
		return err.WithHint("%s", hint)
	}
	return err.WithHint("the whole of its output is in the report")
}

func ending(code int, signal string) string {
	if signal != "" {
		return "signal: " + signal
	}
	return fmt.Sprintf("exit code %d", code)
}

// hint guesses from what was refused.
func (s *Session) hint(errs []ServerError) string {
	if refused := append(s.gate.Refused(), s.proxy.Refused()...); len(refused) > 0 {
		return "refused: " + strings.Join(refused[:min(3, len(refused))], "; ")
	}
	text, _ := s.output.Text()
	for _, sign := range []string{
		"Temporary failure in name resolution", "getaddrinfo", "Could not resolve host", "Network is unreachable", "ENETUNREACH", "EAI_AGAIN", "ENOTFOUND",
	} {
		if strings.Contains(text, sign) {
			return "the command has no network: what it needs must be in its image, or allowed by migrations.runner.allow"
		}
	}
	if strings.Contains(text, "does not support SSL") || strings.Contains(text, "SSL was required") {
		return "the way to the preview is inside the container and has no TLS: let the application follow PGSSLMODE, or leave sslmode out"
	}
	if strings.Contains(text, "Read-only file system") || strings.Contains(text, "EROFS") {
		return "only the checkout, $HOME and /tmp can be written to"
	}
	if len(errs) > 0 {
		return "PostgreSQL said last: " + clipLine(s.output.hide(errs[len(errs)-1].Message)) + " (SQLSTATE " + clip(errs[len(errs)-1].SQLState) + ")"
	}
	return ""
}

// size writes a number of bytes as the configuration does.
func size(bytes int64) string {
	names := []string{"bytes", "KiB", "MiB", "GiB"}
	value, unit := float64(bytes), 0
	for ; value >= 1024 && unit < len(names)-1; unit++ {
		value /= 1024
	}
	return strconv.FormatFloat(math.Round(value*10)/10, 'f', -1, 64) + " " + names[unit]
}
