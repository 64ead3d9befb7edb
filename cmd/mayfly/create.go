package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newCreateCommand(s *shell) *cobra.Command {
	var r client.CreatePreview
	var labels []string
	var template, key string
	var noQueue bool
	var w waiting
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Create a sandbox",
		Long: "Create a sandbox: from the newest template, from an older one (--template), from another preview with its data as of now (--from), or\n" +
			"from a snapshot. The same command again after it was interrupted goes on with the sandbox that it began, and makes no second one.",
		Example: "  mayfly create --project shop --wait\n  mayfly create trial --project shop --ttl 2d --label ticket=4711 -o json\n" +
			"  mayfly create --from shop-pr-42 --wait\n  psql \"$(mayfly create --project shop --wait -o url)\"",
		Args: cobra.MaximumNArgs(1),
	}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		if len(args) == 1 {
			r.Name = args[0]
		}
		var err error
		if r.Labels, err = parseLabels(labels); err != nil {
			return nil, err
		}
		if r.TemplateVersion, err = parseVersion("--template", template); err != nil {
			return nil, err
		}
		if r.From != "" && r.Project == "" {
			from, err := c.Preview(ctx, r.From)
			if err != nil {
				return nil, err
			}
			r.Project = from.Project
		}
		if r.Project, err = s.project(ctx, c, r.Project); err != nil {
			return nil, err
		}
		if noQueue {
			r.Queue = new(bool)
		}
		return s.create(ctx, c, r, key, &w)
	})
	s.addProject(cmd, &r.Project)
	cmd.Flags().StringVar(&r.From, "from", "", "a preview, whose data as of now the new one has")
	cmd.Flags().StringVar(&template, "template", "", "version of the template, such as v3; the newest if left out")
	cmd.Flags().StringVar(&r.Snapshot, "snapshot", "", "id of a snapshot to make it from")
	cmd.Flags().StringVar(&r.Size, "size", "", "size class, one of the server's")
	cmd.Flags().StringVar(&r.TTL, "ttl", "", "how long it lives, such as 12h or 7d")
	cmd.Flags().StringSliceVar(&labels, "label", nil, "a label, key=value; may be given several times")
	cmd.Flags().StringVar(&key, "idempotency-key", "", "name of this request: the same again makes no second sandbox; without it, only after an interruption")
	cmd.Flags().BoolVar(&noQueue, "no-queue", false, "fail if there is no room now (exit code 6), rather than wait for it in the queue")
	_ = cmd.RegisterFlagCompletionFunc("from", s.completePreview)
	w.add(cmd, defaultTimeout)
	return cmd
}

// create makes a sandbox, and waits for it if asked to.
func (s *shell) create(ctx context.Context, c *client.Client, r client.CreatePreview, key string, w *waiting) (*answer, error) {
	attempt, err := s.attempt(key, r)
	if err != nil {
		return nil, err
	}
	p, err := c.CreatePreview(ctx, r, client.IdempotencyKey(attempt.key))
	if err != nil {
		defer attempt.end(err)
		if mayfly.ErrorCode(err) == mayfly.CodeCancelled {
			return nil, mayfly.Errorf(mayfly.CodeCancelled, "stopped while asking for a sandbox: the server may be making it already").
				WithHint("the same command again goes on with it; mayfly ls --project %s shows it", r.Project)
		}
		return nil, err
	}
	if w.wait {
		p.Steps = nil // all of them are news
		if p, err = w.followReady(ctx, c, p, s.progress()); err != nil {
			attempt.end(err)
			return nil, err
		}
	}
	attempt.end(nil)
	return previewAnswer(c, p), nil
}

func previewAnswer(c *client.Client, p *client.Preview) *answer {
	return &answer{
		value: p, names: []string{p.Name}, urls: credentialURLs(c, p.Name),
		table: func(w *screen) error { return printPreview(w, p) },
	}
}

func parseLabels(pairs []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usage("--label %s: write key=value", pair)
		}
		labels[key] = value
	}
	return labels, nil
}
