package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/config"
)

func newTokenCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make access tokens (on the server)"}
	cmd.AddCommand(newTokenCreateCommand(s))
	return cmd
}

func newTokenCreateCommand(s streams) *cobra.Command {
	var configPath, subject, ttl string
	var scopes, projects []string
	out := format("table")
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an access token and print it",
		Long: "Make an access token and print it. It is signed with the key in data_dir/keys, so it is made on the server; nothing is stored.\n\n" +
			"Scopes: previews:read, previews:write, credentials:read, templates:write, admin.",
		Example: "  mayfly token create --config mayfly.yaml --scope previews:read,previews:write,credentials:read --project shop --ttl 90d\n" +
			"  export MAYFLY_TOKEN=\"$(mayfly token create --config mayfly.yaml --scope admin --ttl 8h)\"",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := config.Load(configPath)
			if err != nil {
				return err
			}
			keys, err := auth.LoadKeys(filepath.Join(c.DataDir, "keys"))
			if err != nil {
				return mayfly.Errorf(mayfly.CodeForbidden, "the keys cannot be read: %w", err).WithHint("run it as the user that runs mayfly serve (root)")
			}
			life, err := mayfly.ParseDuration(ttl)
			if err != nil {
				return usageError{err}
			}
			for _, project := range projects {
				if _, ok := c.Project(project); !ok {
					return mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q in %s", project, configPath)
				}
			}
			wanted := make([]auth.Scope, len(scopes))
			for i, scope := range scopes {
				wanted[i] = auth.Scope(scope)
			}
			signed, token, err := auth.NewTokens(keys, nil, time.Now).Issue(subject, wanted, projects, life)
			if err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, map[string]any{
					"token": signed, "id": token.ID, "subject": token.Subject, "scopes": token.Scopes, "projects": token.Projects, "expires_at": token.ExpiresAt.UTC(),
				})
			}
			_, err = fmt.Fprintln(s.out, signed)
			return err
		},
	}
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "the server's configuration file")
	cmd.Flags().StringVar(&subject, "subject", defaultSubject(), "whom it is for; shown in logs and as the creator of previews")
	cmd.Flags().StringVar(&ttl, "ttl", "30d", "how long it is valid, up to 366d")
	cmd.Flags().StringSliceVar(&scopes, "scope", []string{"previews:read", "previews:write", "credentials:read"}, "what it allows")
	cmd.Flags().StringSliceVar(&projects, "project", nil, "the projects it is for; all if left out")
	addFormat(cmd, &out)
	return cmd
}

func defaultSubject() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
