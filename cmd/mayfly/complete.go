package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/client"
)

// completionTimeout is how long a shell waits for names.
const completionTimeout = 1500 * time.Millisecond

// complete asks the server for what a word may be. If that fails, there are no suggestions, and nothing is said.
func (s *shell) complete(cmd *cobra.Command, ask func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := s.conn.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePreview completes the name of a preview: the first argument, or every one of commands that take several.
func (s *shell) completePreview(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	several := strings.Contains(cmd.Use, "NAME...")
	if len(args) > 0 && !several {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return s.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		const enough = 200
		list, err := c.ListPreviews(ctx, client.ListOptions{Query: begun, Limit: enough})
		var names []string
		for _, p := range list.Items {
			if strings.HasPrefix(p.Name, begun) && !slices.Contains(args, p.Name) {
				names = append(names, p.Name+"\t"+p.State)
			}
		}
		return names, err
	})
}

// completeProject completes the name of a project.
func (s *shell) completeProject(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.Projects(ctx)
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
		}
		return names, err
	})
}

// completeTemplate completes the id of a template: those of all projects.
func (s *shell) completeTemplate(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.Contains(cmd.Use, "ID…") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		projects, err := c.Projects(ctx)
		var ids []string
		for _, p := range projects {
			all, err := c.Templates(ctx, p.Name)
			if err != nil {
				return nil, err
			}
			for _, t := range all {
				ids = append(ids, t.ID+"\t"+p.Name+" "+t.State)
			}
		}
		return ids, err
	})
}

// completeContext completes the name of a context.
func (s *shell) completeContext(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	file, err := s.conn.dir().Load()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range file.Contexts {
		names = append(names, c.Name+"\t"+c.Server)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// words completes one of a few.
func words(all ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp)
}

// completeToken completes the id of an access token.
func (s *shell) completeToken(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		all, err := c.Tokens(ctx)
		var ids []string
		for _, t := range all {
			ids = append(ids, t.ID+"\t"+t.Subject)
		}
		return ids, err
	})
}
