package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// changes makes a command that changes one preview, whose name is the first argument, and can wait for the result.
func (s *shell) changes(cmd *cobra.Command, doing string, w *waiting, do func(ctx context.Context, c *client.Client, args []string) (*client.Preview, error)) *cobra.Command {
	if cmd.Args == nil {
		cmd.Args = cobra.ExactArgs(1)
	}
	cmd.ValidArgsFunction = s.completePreview
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		p, err := do(ctx, c, args)
		if err != nil {
			return nil, interrupted(err, doing+" "+args[0], "mayfly get "+args[0])
		}
		if w.wait {
			if p, err = w.followReady(ctx, c, p, s.progress()); err != nil {
				return nil, err
			}
		}
		return previewAnswer(c, p), nil
	})
	w.add(cmd, defaultTimeout)
	return cmd
}

func newResetCommand(s *shell) *cobra.Command {
	var template string
	cmd := s.changes(&cobra.Command{
		Use: "reset NAME", Short: "Make a preview anew; its data is lost, its password changes",
		Long: "Make a preview anew: from the newest template, or from what it was branched from, unless --template says otherwise. Its data is lost,\n" +
			"its password changes.",
		Example: "  mayfly reset shop-pr-42 --wait\n  mayfly reset shop-trial --template same\n  mayfly reset shop-trial --template v3",
	}, "resetting", &waiting{}, func(ctx context.Context, c *client.Client, args []string) (*client.Preview, error) {
		switch template {
		case "":
			return c.ResetPreview(ctx, args[0])
		case "newest", "same":
			return c.ResetPreviewTo(ctx, args[0], client.Reset{Template: template})
		}
		v, err := parseVersion("--template", template)
		if err != nil {
			return nil, err
		}
		return c.ResetPreviewTo(ctx, args[0], client.Reset{TemplateVersion: v})
	})
	cmd.Flags().StringVar(&template, "template", "", "newest, same, or a version such as v3")
	_ = cmd.RegisterFlagCompletionFunc("template", words("newest", "same"))
	return cmd
}

func newProtectCommand(s *shell) *cobra.Command {
	var p client.Protect
	var off bool
	cmd := s.changes(&cobra.Command{
		Use: "protect NAME", Short: "Keep everybody and everything from deleting a preview or its data, for a while",
		Long: "Keep everybody and everything from deleting or resetting a preview for a while: also its end of life, the closing of its pull request and\n" +
			"the clean-up. --off ends that.",
		Example: "  mayfly protect shop-trial --for 3d --reason 'demo on Thursday'\n  mayfly protect shop-trial --off",
	}, "protecting", &waiting{}, func(ctx context.Context, c *client.Client, args []string) (*client.Preview, error) {
		if off {
			return c.UnprotectPreview(ctx, args[0])
		}
		return c.ProtectPreview(ctx, args[0], p)
	})
	cmd.Flags().StringVar(&p.For, "for", "7d", "how long from now, up to 90d")
	cmd.Flags().StringVar(&p.Reason, "reason", "", "why, for those who wonder")
	cmd.Flags().BoolVar(&off, "off", false, "end the protection")
	return cmd
}

func newExtendCommand(s *shell) *cobra.Command {
	return s.changes(&cobra.Command{
		Use: "extend NAME DURATION", Short: "Let a preview live for at least that long from now; never shortens", Example: "  mayfly extend shop-trial 2d", Args: cobra.ExactArgs(2),
	}, "extending", &waiting{}, func(ctx context.Context, c *client.Client, args []string) (*client.Preview, error) {
		return c.ChangePreview(ctx, args[0], client.ChangePreview{TTL: args[1]})
	})
}

func newSuspendCommand(s *shell) *cobra.Command {
	return newSleepCommand(s, true, "suspending", &cobra.Command{
		Use: "suspend NAME", Short: "Stop a preview's Postgres; its data stays, and it wakes on connect", Example: "  mayfly suspend shop-trial --wait",
	})
}

func newWakeCommand(s *shell) *cobra.Command {
	return newSleepCommand(s, false, "waking", &cobra.Command{
		Use: "wake NAME", Short: "Start a suspended preview's Postgres before somebody connects", Example: "  mayfly wake shop-trial --wait",
	})
}

func newSleepCommand(s *shell, suspended bool, doing string, cmd *cobra.Command) *cobra.Command {
	return s.changes(cmd, doing, &waiting{}, func(ctx context.Context, c *client.Client, args []string) (*client.Preview, error) {
		return c.ChangePreview(ctx, args[0], client.ChangePreview{Suspended: &suspended})
	})
}

func newRemoveCommand(s *shell) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "rm NAME...", Short: "Remove previews with everything they have", Example: "  mayfly rm shop-trial\n  mayfly rm shop-a shop-b --wait", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: s.completePreview,
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		removed, names := []*client.Preview{}, []string{}
		var failures []error
		for _, name := range args {
			p, err := s.remove(ctx, c, &w, name)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			removed, names = append(removed, p), append(names, name)
		}
		return &answer{value: removed, names: names, problem: errors.Join(failures...), table: func(out *screen) error {
			for _, name := range names {
				if w.wait {
					fmt.Fprintln(out, name+" is removed")
				} else {
					fmt.Fprintln(out, name+" is being removed")
				}
			}
			return nil
		}}, nil
	})
	w.add(cmd, defaultTimeout)
	return cmd
}

func (s *shell) remove(ctx context.Context, c *client.Client, w *waiting, name string) (*client.Preview, error) {
	p, err := c.DeletePreview(ctx, name)
	if err != nil || !w.wait {
		return p, interrupted(err, "removing "+name, "mayfly get "+name)
	}
	gone, err := w.follow(ctx, c, p, s.progress(), func(p *client.Preview) bool { return p.State == string(mayfly.PreviewDeleted) })
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound { // it was gone before it could be followed
		gone, err = p, nil
		gone.State, gone.Settled = string(mayfly.PreviewDeleted), true
	}
	return gone, err
}
