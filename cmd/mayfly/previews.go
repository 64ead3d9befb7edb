package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

func newListCommand(s *shell) *cobra.Command {
	var o client.ListOptions
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List previews",
		Example: "  mayfly ls\n  mayfly ls --project shop --state ready -o json\n  mayfly ls --label ticket=4711 --sort last_used --desc\n  mayfly rm $(mayfly ls -q --mine --kind sandbox)",
		Args:    cobra.NoArgs,
	}
	var mine bool
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		if mine {
			self, err := c.Self(ctx)
			if err != nil {
				return nil, err
			}
			o.CreatedBy = self.Subject
		}
		all := []client.Preview{}
		for p, err := range c.Previews(ctx, o) {
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		names := make([]string, len(all))
		for i, p := range all {
			names[i] = p.Name
		}
		return &answer{value: all, names: names, urls: credentialURLs(c, names...), table: func(w *screen) error {
			if len(all) == 0 {
				s.note("there are no such previews; make one with: mayfly create")
			}
			return w.rows([]string{"NAME", "STATE", "TEMPLATE", "COMMIT", "AGE", "EXPIRES"}, previewRows(all))
		}}, nil
	})
	flags := cmd.Flags()
	flags.StringVarP(&o.Project, "project", "p", "", "only this project's")
	flags.StringVar(&o.Kind, "kind", "", "pull_request or sandbox")
	flags.StringVar(&o.State, "state", "", "only those in this state; deleted ones are shown only so")
	flags.StringSliceVar(&o.Labels, "label", nil, "only those with this label, key=value or key; may be given several times")
	flags.StringVar(&o.CreatedBy, "created-by", "", "only those that this one made")
	flags.BoolVar(&mine, "mine", false, "only those that you made")
	flags.IntVar(&o.PullRequest, "pull-request", 0, "only those of the pull request with this number")
	flags.StringVar(&o.Query, "name", "", "only those with this in their name")
	flags.StringVar(&o.Sort, "sort", "created", "created, name, expires or last_used")
	flags.BoolVar(&o.Descending, "desc", false, "the other way round")
	cmd.MarkFlagsMutuallyExclusive("mine", "created-by")
	_ = cmd.RegisterFlagCompletionFunc("project", s.completeProject)
	_ = cmd.RegisterFlagCompletionFunc("kind", words("pull_request", "sandbox"))
	_ = cmd.RegisterFlagCompletionFunc("state", words("pending", "queued", "creating", "migrating", "ready", "suspended", "failed", "deleting", "deleted"))
	_ = cmd.RegisterFlagCompletionFunc("sort", words("created", "name", "expires", "last_used"))
	return cmd
}

func newGetCommand(s *shell) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Look at a preview and its timeline", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Example: "  mayfly get shop-pr-42\n  mayfly get shop-pr-42 --wait -o json\n  mayfly get shop-pr-42 --sha \"$(git rev-parse HEAD)\"",
	}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		if err := w.ready(ctx, c, args[0], s.progress()); err != nil {
			return nil, err
		}
		p, err := c.Preview(ctx, args[0])
		if err != nil {
			return nil, err
		}
		return previewAnswer(c, p), nil
	})
	w.add(cmd, defaultTimeout)
	w.addSHA(cmd)
	return cmd
}

func newURLCommand(s *shell) *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use: "url NAME", Short: "Print the connection string, and nothing else", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Example: "  export DATABASE_URL=\"$(mayfly url shop-pr-42)\"\n  mayfly url shop-pr-42 --sha \"$(git rev-parse HEAD)\"\n  mayfly url shop-pr-42 --read-only",
	}
	s.remote(cmd, "url json yaml table", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		credentials, err := a.credentials(ctx, s, c, args[0])
		if err != nil {
			return nil, err
		}
		return credentialsAnswer(credentials), nil
	})
	a.add(cmd)
	return cmd
}

func credentialsAnswer(c *client.Credentials) *answer {
	return &answer{
		value: c, urls: func(context.Context) ([]string, error) { return []string{c.URL}, nil }, names: []string{c.URL},
		table: func(w *screen) error {
			return w.rows([]string{"HOST", "PORT", "DATABASE", "USER", "PASSWORD", "SSLMODE"},
				[][]string{{c.Host, strconv.Itoa(c.Port), c.Database, c.User, c.Password, c.SSLMode}})
		},
	}
}

func newDiffCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff NAME", Short: "Show what the migrations changed in a preview's schema", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Long: "Show what the pull request's migrations changed in the schema: tables, columns, indexes, constraints, functions and so on, before\n" +
			"and after. The rest of the report is in: mayfly report NAME.",
		Example: "  mayfly diff shop-pr-42\n  mayfly diff shop-pr-42 -o json | jq '.changes[].object'",
	}
	return s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		raw, err := c.Report(ctx, args[0])
		if err != nil {
			return nil, err
		}
		var report struct {
			Schema     *schemadiff.Diff `json:"schema"`
			Unobserved string           `json:"unobserved"`
		}
		if err := json.Unmarshal(raw, &report); err != nil {
			return nil, fmt.Errorf("read the report: %w", err)
		}
		diff := schemadiff.Diff{Changes: []schemadiff.Change{}}
		if report.Schema != nil {
			diff = *report.Schema
		}
		return &answer{value: diff, table: func(w *screen) error {
			switch {
			case report.Schema == nil:
				s.note("the schema was not compared: %s", report.Unobserved)
				return nil
			case diff.Empty():
				s.note("the migrations changed nothing in the schema")
				return nil
			}
			_, err := fmt.Fprint(w, w.diff(diff.Text()))
			return err
		}}, nil
	})
}
