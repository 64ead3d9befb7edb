package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams, h hooks) int {
	root := newRootCommand(s, h)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(s.err, "mayfly: "+err.Error())
	if hint := mayfly.ErrorHint(err); hint != "" {
		fmt.Fprintln(s.err, "hint: "+strings.ReplaceAll(hint, "\n", "\n      "))
	}
	return exitCode(err)
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

func (c *connection) client() (*client.Client, error) {
	token := os.Getenv("MAYFLY_TOKEN")
	if c.tokenFile != "" {
		raw, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the token: %w", err)
		}
		token = strings.TrimSpace(string(raw))
	}
	if token == "" {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "there is no token").
			WithHint("set MAYFLY_TOKEN, or give --token-file; make a token on the server with: mayfly token create")
	}
	return client.New(c.server, token, nil)
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&conn.server, "server", envOr("MAYFLY_URL", "http://127.0.0.1:8080"), "the server's address (MAYFLY_URL)")
	root.PersistentFlags().StringVar(&conn.tokenFile, "token-file", os.Getenv("MAYFLY_TOKEN_FILE"), "file with the access token (MAYFLY_TOKEN_FILE; or the token itself in MAYFLY_TOKEN)")
	root.AddGroup(&cobra.Group{ID: "previews", Title: "Previews:"}, &cobra.Group{ID: "server", Title: "Server:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("previews", newCreateCommand(s, conn), newListCommand(s, conn), newGetCommand(s, conn), newURLCommand(s, conn), newPsqlCommand(s, conn),
		newResetCommand(s, conn), newExtendCommand(s, conn), newSuspendCommand(s, conn), newRemoveCommand(s, conn), newReportCommand(s, conn))
	add("server", newServeCommand(s, h), newDoctorCommand(s), newTemplateCommand(s, conn), newSanitizeCommand(s), newTokenCommand(s), newVersionCommand(s))
	wrapArgs(root)
	return root
}

// wrapArgs makes wrong arguments usage errors, for the exit code.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		wrapArgs(child)
	}
}

func newVersionCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  mayfly version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.out, "mayfly "+version)
			return err
		},
	}
}
