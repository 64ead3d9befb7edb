package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// The exit codes. docs/cli.md lists them.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitDenied   = 4
	exitTimeout  = 5
	exitQuota    = 6
)

// usageError marks an error in how the command was called.
type usageError struct{ error }

// Unwrap returns the error itself.
func (u usageError) Unwrap() error { return u.error }

func usage(format string, args ...any) error {
	return usageError{mayfly.Errorf(mayfly.CodeInvalid, format, args...)}
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams, h hooks) int {
	root := newRootCommand(s, h) //nolint:contextcheck // cobra hands the context on
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	for _, one := range split(err) {
		fmt.Fprintln(s.err, "mayfly: "+one.Error())
		if hint := mayfly.ErrorHint(one); hint != "" {
			fmt.Fprintln(s.err, "hint: "+hint) // not indented: some hints are lines to paste
		}
	}
	return exitCode(err)
}

// split returns the errors of a command that did several things.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // one that is wrapped is one error, with its context
		return joined.Unwrap()
	}
	return []error{err}
}

func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	switch mayfly.ErrorCode(err) {
	case mayfly.CodeNotFound:
		return exitNotFound
	case mayfly.CodeUnauthenticated, mayfly.CodeForbidden:
		return exitDenied
	case mayfly.CodeTimeout:
		return exitTimeout
	case mayfly.CodeQuotaExceeded, mayfly.CodePoolFull:
		return exitQuota
	}
	return exitFailed
}

// connection is how client commands reach the server.
type connection struct {
	server    string
	tokenFile string
}

const defaultServer = "http://127.0.0.1:8080"

// client makes the client. A flag goes before the environment, and of that the token itself before a file with it. Environment
// variables are no defaults of flags: --help would show what is in them.
func (c *connection) client() (*client.Client, error) {
	token, file := os.Getenv("MAYFLY_TOKEN"), c.tokenFile
	if file == "" && token == "" {
		file = os.Getenv("MAYFLY_TOKEN_FILE")
	}
	if file != "" {
		raw, err := os.ReadFile(file) //nolint:gosec // the user names the file
		if err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the token: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	if token == "" {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "there is no token").
			WithHint("set MAYFLY_TOKEN, or give --token-file; make a token on the server with: mayfly token create")
	}
	return client.New(cmp.Or(c.server, os.Getenv("MAYFLY_URL"), defaultServer), token, nil)
}

// project returns the project to work on: the flag's, MAYFLY_PROJECT, or the only one there is.
func project(ctx context.Context, c *client.Client, flag string) (string, error) {
	if name := cmp.Or(flag, os.Getenv("MAYFLY_PROJECT")); name != "" {
		return name, nil
	}
	all, err := c.Projects(ctx)
	if code := mayfly.ErrorCode(err); err != nil && code != mayfly.CodeForbidden && code != mayfly.CodeNotFound {
		return "", err
	}
	if len(all) == 1 {
		return all[0].Name, nil
	}
	missing := mayfly.Errorf(mayfly.CodeInvalid, "which project?")
	if len(all) == 0 {
		return "", usageError{missing.WithHint("give --project, or set MAYFLY_PROJECT")}
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return "", usageError{missing.WithHint("give --project, or set MAYFLY_PROJECT, to one of: %s", strings.Join(names, ", "))}
}

func addProject(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "project", "p", "", "project (MAYFLY_PROJECT); may be left out if the server has one only")
}

func newRootCommand(s streams, h hooks) *cobra.Command {
	conn := &connection{}
	root := &cobra.Command{
		Use:   "mayfly",
		Short: "Preview databases: a sanitized, migrated Postgres for every pull request",
		Long: "Mayfly gives every pull request its own Postgres, cloned copy-on-write from a sanitized production snapshot,\n" +
			"with the pull request's migrations applied, and removes it on merge. Developers get the same on request.",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage("%w (see %s --help)", err, cmd.CommandPath()) })
	root.PersistentFlags().StringVar(&conn.server, "server", "", "the server's address (MAYFLY_URL; "+defaultServer+" if neither is given)")
	root.PersistentFlags().StringVar(&conn.tokenFile, "token-file", "", "file with the access token (MAYFLY_TOKEN_FILE; or the token itself in MAYFLY_TOKEN)")
	root.AddGroup(&cobra.Group{ID: "previews", Title: "Previews:"}, &cobra.Group{ID: "server", Title: "Server:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("previews", newCreateCommand(s, conn), newListCommand(s, conn), newGetCommand(s, conn), newURLCommand(s, conn), newPsqlCommand(s, conn),
		newResetCommand(s, conn), newExtendCommand(s, conn), newSuspendCommand(s, conn), newWakeCommand(s, conn), newRemoveCommand(s, conn), newReportCommand(s, conn),
		newMigrateCommand(s, conn))
	add("server", newServeCommand(s, h), newDoctorCommand(s), newTemplateCommand(s, conn), newSanitizeCommand(s), newTokenCommand(s, conn), newVersionCommand(s))
	group(root)
	wrapArgs(root)
	return root
}

// group makes a command that only holds others show its help when called alone, and refuse what it does not have: cobra
// itself answers a misspelt subcommand with help and exit code 0.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		err := mayfly.Errorf(mayfly.CodeInvalid, "there is no command %q", cmd.CommandPath()+" "+args[0])
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			return err.WithHint("did you mean: %s %s", cmd.CommandPath(), strings.Join(similar, ", "))
		}
		return err
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// wrapArgs makes wrong arguments usage errors, for the exit code.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{(&mayfly.Error{
					Code: mayfly.CodeInvalid, Message: fmt.Sprintf("%v (see %s --help)", err, c.CommandPath()), Hint: mayfly.ErrorHint(err),
				})}
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		wrapArgs(child)
	}
}

func newVersionCommand(s streams) *cobra.Command {
	out := format("table")
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  mayfly version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintln(s.out, "mayfly "+version)
			return err
		},
	}
	addFormat(cmd, &out)
	return cmd
}
