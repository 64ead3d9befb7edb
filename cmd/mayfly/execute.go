package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newPsqlCommand(s *shell) *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use: "psql NAME [-- PSQL-ARGUMENTS]", Short: "Open psql on a preview",
		Example: "  mayfly psql shop-pr-42\n  mayfly psql shop-pr-42 --read-only -- -c 'select count(*) from orders'", Args: cobra.MinimumNArgs(1), ValidArgsFunction: s.completePreview,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.execute(cmd.Context(), &a, args[0], append([]string{"psql"}, args[1:]...), "apt-get install postgresql-client, or brew install libpq")
		},
	}
	a.add(cmd)
	return cmd
}

func newRunCommand(s *shell) *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use: "run NAME -- COMMAND [ARGUMENTS]", Short: "Run a command with DATABASE_URL and PG* set for a preview",
		Long: "Run one command with DATABASE_URL and the PG* variables set for a preview. It takes the place of mayfly: signals go to it, and its\n" +
			"exit code is the result. The password is in its environment and nowhere else.",
		Example: "  mayfly run shop-pr-42 -- npm test\n  mayfly run shop-trial --wait -- pg_dump --schema-only", Args: cobra.MinimumNArgs(2),
		ValidArgsFunction: s.completePreview,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 {
				return usage("write -- before the command: mayfly run %s -- COMMAND", args[0])
			}
			return s.execute(cmd.Context(), &a, args[0], args[1:], "is it installed, and in PATH?")
		},
	}
	a.add(cmd)
	return cmd
}

// execute runs a program with the environment of a preview.
func (s *shell) execute(ctx context.Context, a *access, name string, argv []string, hint string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "%s cannot be run: %w", argv[0], err).WithHint("%s", hint)
	}
	c, err := s.conn.client()
	if err != nil {
		return err
	}
	credentials, err := a.credentials(ctx, s, c, name)
	if err != nil {
		return err
	}
	return s.become(ctx, path, argv, append(withoutPG(os.Environ()), connectionVariables(credentials).environ()...))
}

// become replaces this process by a program, so that its signals and its exit code are that program's. Where the streams are not this
// process's own, it is a child.
func (s *shell) become(ctx context.Context, path string, argv, environ []string) error {
	if s.in == os.Stdin && s.out == os.Stdout && s.err == os.Stderr {
		return fmt.Errorf("run %s: %w", path, syscall.Exec(path, argv, environ))
	}
	child := exec.CommandContext(ctx, path, argv[1:]...)
	child.Env, child.Stdin, child.Stdout, child.Stderr = environ, s.in, s.out, s.err
	err := child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitError(exit.ExitCode())
	}
	return err
}

// exitError is the exit code of a program that was run, passed on without a word.
type exitError int

// Error returns what is not shown.
func (e exitError) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// variable is one of an environment.
type variable struct{ name, value string }

type variables []variable

// connectionVariables are what frameworks and libpq read (PostgreSQL docs, "Environment Variables"). The password goes this way: arguments
// can be seen by every user of the machine.
func connectionVariables(c *client.Credentials) variables {
	return variables{
		{"DATABASE_URL", c.URL},
		{"PGHOST", c.Host}, {"PGPORT", strconv.Itoa(c.Port)}, {"PGDATABASE", c.Database}, {"PGUSER", c.User}, {"PGPASSWORD", c.Password}, {"PGSSLMODE", c.SSLMode},
	}
}

func (v variables) environ() []string {
	out := make([]string, len(v))
	for i, one := range v {
		out[i] = one.name + "=" + one.value
	}
	return out
}

// withoutPG removes what of libpq's environment says where to connect to, and how: what the user has set for another server must
// not lead this session, or this password, there. A service file would even go before PGHOST.
func withoutPG(environment []string) []string {
	kept := []string{"PGAPPNAME", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGDATESTYLE", "PGOPTIONS", "PGSSLROOTCERT", "PGTZ"}
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == "DATABASE_URL" || strings.HasPrefix(name, "PG") && !slices.Contains(kept, name)
	})
}

func newEnvCommand(s *shell) *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use: "env NAME", Short: "Print DATABASE_URL and PG* for eval, or for a dotenv file", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Long: "Print DATABASE_URL and the PG* variables of a preview: as shell commands for eval, as lines of a dotenv file, or as JSON or YAML.\n" +
			"Values are quoted: nothing in them is run.",
		Example: "  eval \"$(mayfly env shop-pr-42)\"\n  (umask 077; mayfly env shop-pr-42 -o dotenv > .env)\n  mayfly env shop-pr-42 -o json",
	}
	s.remote(cmd, "shell dotenv json yaml url", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		credentials, err := a.credentials(ctx, s, c, args[0])
		if err != nil {
			return nil, err
		}
		all := connectionVariables(credentials)
		object := map[string]string{}
		for _, v := range all {
			object[v.name] = v.value
		}
		return &answer{value: object, urls: fixed(credentials.URL), other: map[string]func(*screen) error{
			"shell":  all.lines(func(v variable) string { return "export " + v.name + "=" + shellQuote(v.value) }),
			"dotenv": all.lines(func(v variable) string { return v.name + "=" + dotenvQuote(v.value) }),
		}}, nil
	})
	a.add(cmd)
	return cmd
}

func (v variables) lines(line func(variable) string) func(*screen) error {
	return func(w *screen) error {
		for _, one := range v {
			if _, err := fmt.Fprintln(w, line(one)); err != nil {
				return err
			}
		}
		return nil
	}
}

// shellQuote makes one word of POSIX shells (XCU 2.2.2): nothing is special between single quotes.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// dotenvQuote makes a value that dotenv's readers take as it is: between single quotes nothing is expanded. Some have no way to write a
// single quote there, and read escapes between double quotes; some of those expand $.
func dotenvQuote(text string) string {
	if !strings.ContainsAny(text, "'\n\r") {
		return "'" + text + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "\n", `\n`, "\r", `\r`).Replace(text) + `"`
}
