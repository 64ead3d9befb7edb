package quarantine

import (
	"errors"
	"io"
	"regexp"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

var (
	commandLine = regexp.MustCompile(`^\\([A-Za-z.;!?]+)[ \t]*(.*?)[ \t\r]*$`)
	// connectDump matches what pg_dump writes for a database whose name is not plain.
	connectDump  = regexp.MustCompile(`^-reuse-previous=on "dbname='((?:[^'\\"]|\\.|"")*)'"$`)
	connectPlain = regexp.MustCompile(`^("(?:[^"]|"")+"|[A-Za-z0-9_.$-]+)(?:[ \t].*)?$`)
	plainName    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	variable     = regexp.MustCompile("^[a-z][a-z0-9_]*(?:[ \t]+[^`]*)?$")
)

// command handles a psql command, which takes the rest of its line. What dumps use is passed on or left out; everything
// else is refused, above all what runs programs or opens files.
func (s *scanner) command() error {
	line := []byte{'\\'}
	for {
		peeked, err := s.in.Peek(1)
		if errors.Is(err, io.EOF) || err == nil && peeked[0] == '\n' {
			break
		}
		if err != nil {
			return err
		}
		_, _ = s.in.Discard(1)
		if line = append(line, peeked[0]); len(line) > 64<<10 {
			return s.refuse("a backslash")
		}
	}
	if s.hold {
		s.release()
	}
	m := commandLine.FindSubmatch(line)
	if m == nil {
		return s.refuse("a backslash")
	}
	name, args := string(m[1]), string(m[2])
	passed, ok := s.permit(name, args)
	if !ok {
		return s.refuse("the command \\" + name)
	}
	_, err := s.out.WriteString(passed)
	return err
}

// permit returns what psql gets instead of a command.
func (s *scanner) permit(name, args string) (passed string, ok bool) {
	switch name {
	case "connect", "c":
		return s.connect(args)
	case "restrict", "unrestrict": // not every psql knows it, and it only narrows what psql permits
		return "", true
	case "echo", "qecho", "warn", "timing", "pset", "x", "a", "t", ".":
		return "", true
	case "encoding":
		return `\encoding ` + args, plainName.MatchString(args)
	case "set", "unset":
		if args == "" || args[0] >= 'A' && args[0] <= 'Z' { // psql's own variables: they decide how errors are handled
			return "", true
		}
		return `\` + name + " " + args, variable.MatchString(args)
	}
	return "", false
}

// connect keeps of a \connect the database alone: there is one user and one server here.
func (s *scanner) connect(args string) (passed string, ok bool) {
	s.nonStandard = false
	if m := connectDump.FindStringSubmatch(args); m != nil {
		// Escaped for the connection string (\), and that for psql ("").
		name := strings.ReplaceAll(m[1], `""`, `"`)
		s.database = regexp.MustCompile(`\\(.)`).ReplaceAllString(name, "$1")
		return `\connect ` + args, true
	}
	m := connectPlain.FindStringSubmatch(args)
	if m == nil || strings.Contains(args, "=") || strings.Contains(args, "://") || strings.Contains(args, "`") {
		return "", false
	}
	if m[1] == "-" {
		return "", true // the same database as another user
	}
	s.database = m[1]
	if inner, quoted := strings.CutPrefix(m[1], `"`); quoted {
		s.database = strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return `\connect "` + strings.ReplaceAll(s.database, `"`, `""`) + `"`, true
}

func (s *scanner) refuse(what string) error {
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "line %d of the script has %s of psql, which is not run here", s.line, what).
		WithHint("give a script of SQL alone; of psql's commands those are run that pg_dump and pg_dumpall write")
}
