package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
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
	root, begun := newRootCommand(s, h) //nolint:contextcheck // cobra hands the context on
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return int(exit)
	case !begun(): // cobra's own: flags that exclude each other, and the like
		err = usageError{err}
	}
	screen := newScreen(s.err)
	for _, one := range split(err) {
		fmt.Fprintln(screen, screen.paint(red, "mayfly:")+" "+clean(one.Error()))
		if hint := mayfly.ErrorHint(one); hint != "" {
			fmt.Fprintln(screen, screen.paint(bold, "hint:")+" "+clean(hint)) // not indented: some hints are lines to paste
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
	var coded *mayfly.Error
	if errors.As(err, &coded) && coded.Code == mayfly.CodeInvalid && len(coded.Fields) > 0 {
		return exitUsage // the server does not take what a flag or an argument says
	}
	switch mayfly.ErrorCode(err) {
	case mayfly.CodeNotFound:
		return exitNotFound
	case mayfly.CodeUnauthenticated, mayfly.CodeForbidden, mayfly.CodeForkDenied:
		return exitDenied
	case mayfly.CodeTimeout:
		return exitTimeout
	case mayfly.CodeQuotaExceeded, mayfly.CodePoolFull, mayfly.CodeRateLimited:
		return exitQuota
	}
	return exitFailed
}

// newRootCommand makes all commands. begun reports whether one was called as it should be, and begun.
func newRootCommand(s streams, h hooks) (root *cobra.Command, begun func() bool) {
	ran := false
	sh := &shell{streams: s, conn: &connection{}, hooks: h}
	root = &cobra.Command{
		Use:   "mayfly",
		Short: "Preview databases: a sanitized, migrated Postgres for every pull request",
		Long: "Mayfly gives every pull request its own Postgres, cloned copy-on-write from a sanitized production snapshot,\n" +
			"with the pull request's migrations applied, and removes it on merge. Developers get the same on request.",
		Example:       "  mayfly login https://mayfly.example.com\n  mayfly create --project shop --wait\n  mayfly psql shop-pr-42",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage("%w (see %s --help)", err, cmd.CommandPath()) })
	sh.addGlobalFlags(root)
	root.AddGroup(&cobra.Group{ID: "previews", Title: "Previews:"}, &cobra.Group{ID: "connect", Title: "Connect:"},
		&cobra.Group{ID: "projects", Title: "Projects:"}, &cobra.Group{ID: "access", Title: "Servers and access:"}, &cobra.Group{ID: "server", Title: "On the server:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add("previews", newCreateCommand(sh), newBranchCommand(sh), newListCommand(sh), newGetCommand(sh), newResetCommand(sh), newExtendCommand(sh), newSuspendCommand(sh),
		newWakeCommand(sh), newProtectCommand(sh), newSnapshotCommand(sh), newRemoveCommand(sh), newReportCommand(sh), newDiffCommand(sh), newLogsCommand(sh))
	add("connect", newURLCommand(sh), newCredentialsCommand(sh), newRotateCommand(sh), newEnvCommand(sh), newPsqlCommand(sh), newRunCommand(sh), newProxyCommand(sh))
	add("projects", newTemplateCommand(sh), newSanitizeCommand(sh), newMigrateCommand(sh))
	add("access", newLoginCommand(sh), newLogoutCommand(sh), newWhoamiCommand(sh), newContextCommand(sh), newTokenCommand(sh), newAuditCommand(sh))
	add("server", newServeCommand(sh.streams, h), newDoctorCommand(sh), newBackupCommand(sh), newRestoreCommand(sh), newVersionCommand(sh))
	root.SetHelpCommandGroupID("server")
	root.SetCompletionCommandGroupID("server")
	group(root)
	wrapArgs(root, &ran)
	return root, func() bool { return ran }
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

// wrapArgs makes wrong arguments usage errors, for the exit code, and notes when a command begins.
func wrapArgs(cmd *cobra.Command, ran *bool) {
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
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			*ran = true
			return run(c, args)
		}
	}
	for _, child := range cmd.Commands() {
		wrapArgs(child, ran)
	}
}

// addGlobalFlags adds the flags of all commands.
func (s *shell) addGlobalFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&s.conn.server, "server", "", "the server's address (MAYFLY_SERVER); the current context's, or "+defaultServer)
	flags.StringVar(&s.conn.context, "context", "", "the context to use (MAYFLY_CONTEXT); the current one if left out")
	flags.StringVar(&s.conn.tokenFile, "token-file", "", "file with the access token (MAYFLY_TOKEN_FILE; or the token itself in MAYFLY_TOKEN)")
	flags.BoolVarP(&s.quiet, "quiet", "q", false, "no progress and no notes, and of what is made, changed or listed the names alone")
	_ = root.RegisterFlagCompletionFunc("context", s.completeContext)
}

func newVersionCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Example: "  mayfly version", Args: cobra.NoArgs}
	return s.local(cmd, plainFormats, func(*cobra.Command, []string) (*answer, error) {
		value := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		return said(value, version, "mayfly %s", version), nil
	})
}
