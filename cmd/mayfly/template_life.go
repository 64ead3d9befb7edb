package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newTemplateCancelCommand(s streams, conn *connection) *cobra.Command {
	var reason string
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use: "cancel ID", Short: "Stop a template's build and remove what it made", Example: "  mayfly template cancel t4k2… --wait --reason 'wrong rules'", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			t, err := c.CancelBuild(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			if w.wait {
				if t, err = followCancel(cmd.Context(), c, t, time.Duration(w.timeout)); err != nil {
					return err
				}
			}
			return printTemplate(s, out, t)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	addFormat(cmd, &out)
	w.add(cmd, defaultTimeout)
	return cmd
}

// followCancel waits until a build that was cancelled has ended.
func followCancel(ctx context.Context, c *client.Client, was *client.Template, timeout time.Duration) (*client.Template, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := was
	err := c.FollowTemplate(ctx, was.ID, func(t *client.Template) bool {
		last = t
		return t.State == string(mayfly.TemplateBuilding)
	})
	if code := mayfly.ErrorCode(err); code == mayfly.CodeTimeout || code == mayfly.CodeCancelled {
		return last, mayfly.Errorf(code, "stopped waiting; the build of template %s is still being cancelled", was.ID).WithHint("see it with: mayfly template show %s", was.ID)
	}
	if err == nil && last.State != string(mayfly.TemplateFailed) {
		return last, mayfly.Errorf(mayfly.CodeConflict, "template %s is %s: its build was over before it could be stopped", last.ID, last.State)
	}
	return last, err
}

func newTemplateRollbackCommand(s streams, conn *connection) *cobra.Command {
	var name, to, reason string
	out := format("table")
	cmd := &cobra.Command{
		Use: "rollback", Short: "Go back to the template before, or to an older one",
		Long: "Go back to the template before, or to the one of --to. New previews use it at once; existing ones keep theirs until they are reset.\n" +
			"What was rolled back is marked with --reason, and deleted when no preview uses it any more. A later build is used as always.",
		Example: "  mayfly template rollback --project shop --reason 'orders are missing'\n  mayfly template rollback --project shop --to v3", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			version, err := parseVersion(to)
			if err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			name, err := project(cmd.Context(), c, name)
			if err != nil {
				return err
			}
			done, err := c.RollBackTemplates(cmd.Context(), name, client.RollBack{ToVersion: version, Reason: reason})
			if err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, done)
			}
			return printTemplates(s.out, append([]client.Template{done.Current}, done.Replaced...))
		},
	}
	addProject(cmd, &name)
	cmd.Flags().StringVar(&to, "to", "", "version to go back to, such as v3; the one before the current if left out")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	addFormat(cmd, &out)
	return cmd
}

// parseVersion reads "v3" or "3"; "" is 0.
func parseVersion(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(text, "v"))
	if err != nil || n < 1 {
		return 0, usage("--to %s: a version looks like v3", text)
	}
	return n, nil
}

func newTemplateRemoveCommand(s streams, conn *connection) *cobra.Command {
	var force bool
	out := format("table")
	cmd := &cobra.Command{
		Use: "rm ID…", Aliases: []string{"remove", "delete"}, Short: "Delete templates that no preview uses", Example: "  mayfly template rm t4k2…", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			removed := []client.Template{}
			for _, id := range args {
				t, err := c.RemoveTemplate(cmd.Context(), id, force)
				if err != nil {
					return err
				}
				removed = append(removed, *t)
				if out != "json" {
					fmt.Fprintf(s.out, "%s v%d removed\n", t.Project, t.Version)
				}
			}
			if out == "json" {
				return printJSON(s.out, removed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also the one that new previews use")
	addFormat(cmd, &out)
	return cmd
}

func printTemplate(s streams, out format, t *client.Template) error {
	if out == "json" {
		return printJSON(s.out, t)
	}
	return printTemplates(s.out, []client.Template{*t})
}
