package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newTemplateCancelCommand(s *shell) *cobra.Command {
	var reason string
	var w waiting
	cmd := &cobra.Command{
		Use: "cancel ID", Short: "Stop a template's build and remove what it made", Example: "  mayfly template cancel t4k2… --wait --reason 'wrong rules'", Args: cobra.ExactArgs(1),
		ValidArgsFunction: s.completeTemplate,
	}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		t, err := c.CancelBuild(ctx, args[0], reason)
		if err != nil {
			return nil, interrupted(err, "cancelling the build of "+args[0], "mayfly template show "+args[0])
		}
		if w.wait {
			if t, err = followCancel(ctx, c, t, time.Duration(w.timeout)); err != nil {
				return nil, err
			}
		}
		return s.templatesAnswer(t, *t), nil
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
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

func newTemplateRollbackCommand(s *shell) *cobra.Command {
	var name, to, reason string
	cmd := &cobra.Command{
		Use: "rollback", Short: "Go back to the template before, or to an older one",
		Long: "Go back to the template before, or to the one of --to. New previews use it at once; existing ones keep theirs until they are reset.\n" +
			"What was rolled back is marked with --reason, and deleted when no preview uses it any more. A later build is used as always.",
		Example: "  mayfly template rollback --project shop --reason 'orders are missing'\n  mayfly template rollback --project shop --to v3", Args: cobra.NoArgs,
	}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		version, err := parseVersion("--to", to)
		if err != nil {
			return nil, err
		}
		name, err := s.project(ctx, c, name)
		if err != nil {
			return nil, err
		}
		done, err := c.RollBackTemplates(ctx, name, client.RollBack{ToVersion: version, Reason: reason})
		if err != nil {
			return nil, interrupted(err, "rolling back", "mayfly template ls --project "+name)
		}
		return s.templatesAnswer(done, append([]client.Template{done.Current}, done.Replaced...)...), nil
	})
	s.addProject(cmd, &name)
	cmd.Flags().StringVar(&to, "to", "", "version to go back to, such as v3; the one before the current if left out")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

// parseVersion reads "v3" or "3"; "" is 0.
func parseVersion(flag, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(text, "v"))
	if err != nil || n < 1 {
		return 0, usage("%s %s: a version looks like v3", flag, text)
	}
	return n, nil
}

func newTemplateRemoveCommand(s *shell) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm ID…", Aliases: []string{"remove", "delete"}, Short: "Delete templates that no preview uses", Example: "  mayfly template rm t4k2…", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: s.completeTemplate,
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		removed, ids := []client.Template{}, []string{}
		var failures []error
		for _, id := range args {
			t, err := c.RemoveTemplate(ctx, id, force)
			if err != nil {
				failures = append(failures, interrupted(err, "removing "+id, "mayfly template show "+id))
				continue
			}
			removed, ids = append(removed, *t), append(ids, t.ID)
		}
		return &answer{value: removed, names: ids, problem: errors.Join(failures...), table: func(w *screen) error {
			for _, t := range removed {
				fmt.Fprintf(w, "%s v%d removed\n", t.Project, t.Version)
			}
			return nil
		}}, nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "also the one that new previews use")
	return cmd
}
