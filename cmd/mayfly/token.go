package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/config"
)

func newTokenCommand(s streams, conn *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make and revoke access tokens"}
	cmd.AddCommand(newTokenCreateCommand(s), newTokenRevokeCommand(s, conn))
	return group(cmd)
}

func newTokenRevokeCommand(s streams, conn *connection) *cobra.Command {
	out := format("table")
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Make an access token invalid before it expires",
		Long: "Make an access token invalid before it expires. Its id is shown when it is made, and in the server's log with every request.\n" +
			"With - the token itself is read from standard input. It needs a token with the scope admin.",
		Example: "  mayfly token revoke 3f0c9a5be1d24c7f8a9b0c1d2e3f4a5b\n  mayfly token revoke - < leaked.token",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			id := args[0]
			if id == "-" {
				raw, err := io.ReadAll(io.LimitReader(s.in, 1<<16))
				if err != nil {
					return fmt.Errorf("read the token: %w", err)
				}
				if id, err = auth.TokenID(strings.TrimSpace(string(raw))); err != nil {
					return err
				}
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			if err := c.RevokeToken(cmd.Context(), id); err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, client.RevokedToken{ID: id, Revoked: true})
			}
			_, err = fmt.Fprintln(s.out, "token "+id+" is revoked")
			return err
		},
	}
	addFormat(cmd, &out)
	return cmd
}

func newTokenCreateCommand(s streams) *cobra.Command {
	var configPath, subject, ttl string
	var scopes, projects []string
	out := format("table")
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an access token and print it (on the server)",
		Long: "Make an access token and print it. It is signed with the key in data_dir/keys, so it is made on the server; nothing is stored.\n" +
			"Its id, for revoking it, goes to standard error.\n\n" +
			"Scopes: previews:read, previews:write, credentials:read, templates:write, admin.",
		Example: "  mayfly token create --config mayfly.yaml --scope previews:read,previews:write,credentials:read --project shop --ttl 90d\n" +
			"  export MAYFLY_TOKEN=\"$(mayfly token create --config mayfly.yaml --scope admin --ttl 8h)\"",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := out.check(); err != nil {
				return err
			}
			signed, token, err := createToken(configPath, cmp.Or(subject, defaultSubject()), ttl, scopes, projects)
			if err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, map[string]any{
					"token": signed, "id": token.ID, "subject": token.Subject, "scopes": token.Scopes, "projects": token.Projects, "expires_at": token.ExpiresAt.UTC(),
				})
			}
			fmt.Fprintf(s.err, "token %s for %s, until %s\n", token.ID, token.Subject, token.ExpiresAt.Local().Format(time.RFC1123))
			_, err = fmt.Fprintln(s.out, signed)
			return err
		},
	}
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "the server's configuration file")
	cmd.Flags().StringVar(&subject, "subject", "", "whom it is for; shown in logs and as the creator of previews; the user if left out")
	cmd.Flags().StringVar(&ttl, "ttl", "30d", "how long it is valid, up to 366d")
	cmd.Flags().StringSliceVar(&scopes, "scope", []string{"previews:read", "previews:write", "credentials:read"}, "what it allows")
	cmd.Flags().StringSliceVar(&projects, "project", nil, "the projects it is for; all if left out")
	addFormat(cmd, &out)
	return cmd
}

func createToken(configPath, subject, ttl string, scopes, projects []string) (string, *auth.Token, error) {
	life, err := mayfly.ParseDuration(ttl)
	if err != nil {
		return "", nil, usageError{err}
	}
	c, err := config.Load(configPath)
	if err != nil {
		return "", nil, err
	}
	for _, project := range projects {
		if _, ok := c.Project(project); !ok {
			return "", nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q in %s", project, configPath)
		}
	}
	wanted := make([]auth.Scope, len(scopes))
	for i, scope := range scopes {
		wanted[i] = auth.Scope(scope)
	}
	keys, err := auth.LoadKeys(filepath.Join(c.DataDir, "keys"))
	if err != nil {
		return "", nil, mayfly.Errorf(mayfly.CodeForbidden, "the keys cannot be read: %w", err).WithHint("run it as the user that runs mayfly serve (root)")
	}
	signed, token, err := auth.NewTokens(keys, nil, time.Now).Issue(subject, wanted, projects, life)
	if mayfly.ErrorCode(err) == mayfly.CodeInvalid {
		err = usageError{err}
	}
	return signed, token, err
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
