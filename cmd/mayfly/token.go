package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/config"
)

func newTokenCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Aliases: []string{"tokens"}, Short: "Make, list and revoke access tokens",
		Example: "  mayfly token create --role developer --project shop --ttl 90d\n  mayfly token ls\n  mayfly token revoke 3f0c9a5be1d24c7f8a9b0c1d2e3f4a5b",
	}
	cmd.AddCommand(newTokenCreateCommand(s), newTokenListCommand(s), newTokenRevokeCommand(s), newTokenKeysCommand(s), newRotateKeyCommand(s), newRetireKeyCommand(s))
	return group(cmd)
}

func newTokenRevokeCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "Make an access token invalid before it expires",
		Long: "Make an access token invalid before it expires. Its id is shown when it is made, and in the server's log with every request.\n" +
			"With - the token itself is read from standard input.",
		Example: "  mayfly token revoke 3f0c9a5be1d24c7f8a9b0c1d2e3f4a5b\n  mayfly token revoke - < leaked.token",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: s.completeToken,
	}
	return s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		id := args[0]
		if id == "-" {
			raw, err := io.ReadAll(io.LimitReader(s.in, 1<<16))
			if err != nil {
				return nil, fmt.Errorf("read the token: %w", err)
			}
			if id, err = auth.TokenID(strings.TrimSpace(string(raw))); err != nil {
				return nil, err
			}
		}
		if err := c.RevokeToken(ctx, id); err != nil {
			return nil, interrupted(err, "revoking "+id, "mayfly token ls")
		}
		return said(client.RevokedToken{ID: id, Revoked: true}, id, "token %s is revoked", id), nil
	})
}

func newTokenListCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the access tokens that were used or made through the server and have not expired",
		Example: "  mayfly token ls", Args: cobra.NoArgs,
	}
	return s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		all, err := c.Tokens(ctx)
		if err != nil {
			return nil, err
		}
		ids, rows := []string{}, make([][]string, len(all))
		for i, t := range all {
			state, used := "active", "-"
			if t.Revoked {
				state = "revoked"
			}
			if t.LastUsedAt != nil {
				used = age(*t.LastUsedAt) + " ago"
			}
			ids = append(ids, t.ID)
			rows[i] = []string{t.ID, t.Subject, allows(t), state, used, until(&t.ExpiresAt)}
		}
		if all == nil {
			all = []client.TokenInfo{}
		}
		return &answer{value: all, names: ids, table: func(w *screen) error {
			return w.rows([]string{"ID", "SUBJECT", "ALLOWS", "STATE", "USED", "EXPIRES"}, rows)
		}}, nil
	})
}

// allows says in short what a token allows.
func allows(t client.TokenInfo) string {
	var parts []string
	if len(t.Scopes) > 0 {
		parts = append(parts, strings.Join(t.Scopes, ",")+" in "+cmp.Or(strings.Join(t.Projects, ","), "all projects"))
	}
	for _, project := range slices.Sorted(maps.Keys(t.Roles)) {
		parts = append(parts, t.Roles[project]+" of "+project)
	}
	return strings.Join(parts, "; ")
}

func newTokenCreateCommand(s *shell) *cobra.Command {
	var configPath, role string
	var r client.CreateToken
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an access token and print it",
		Long: "Make an access token and print it, this once. The server makes it, with no more rights than your own; with --config it is made here,\n" +
			"with the key in data_dir/keys: on the server, as root, also for the first token of all.\n" +
			"Its id, for revoking it, goes to standard error.\n\n" +
			"Roles: viewer, developer, maintainer, admin. Scopes: " + scopeNames() + ".",
		Example: "  mayfly token create --role developer --project shop --ttl 90d\n" +
			"  mayfly token create --scope previews:read,credentials:read --project shop --subject ci --ttl 30d\n" +
			"  export MAYFLY_TOKEN=\"$(sudo mayfly token create --config /etc/mayfly/mayfly.yaml --scope admin --ttl 8h)\"",
		Args: cobra.NoArgs,
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, _ []string) (*answer, error) {
		switch {
		case role != "" && len(r.Scopes) > 0:
			return nil, usage("give --role or --scope")
		case role != "":
			r.Roles = map[string]string{}
			for _, project := range r.Projects {
				r.Roles[project] = role
			}
			if len(r.Projects) == 0 {
				r.Roles[auth.AllProjects] = role
			}
			r.Projects = nil
		case len(r.Scopes) == 0:
			r.Scopes = []string{string(auth.ScopePreviewsRead), string(auth.ScopePreviewsWrite), string(auth.ScopeCredentialsRead)}
		}
		created, err := s.createToken(cmd.Context(), configPath, r)
		if err != nil {
			return nil, err
		}
		a := said(created, created.Token, "%s", created.Token)
		show := a.table
		a.table = func(w *screen) error {
			s.note("token %s for %s, until %s", created.ID, created.Subject, created.ExpiresAt.Local().Format(time.RFC1123))
			return show(w)
		}
		return a, nil
	})
	cmd.Flags().StringVarP(&configPath, "config", "c", "", "the server's configuration file: make the token here")
	cmd.Flags().StringVar(&r.Subject, "subject", "", "whom it is for; shown in logs and as the creator of previews; you if left out")
	cmd.Flags().StringVar(&r.TTL, "ttl", "30d", "how long it is valid, up to 366d")
	cmd.Flags().StringVar(&role, "role", "", "what it allows: a role in the projects")
	cmd.Flags().StringSliceVar(&r.Scopes, "scope", nil, "what it allows: scopes; previews:read,previews:write,credentials:read if there is no role either")
	cmd.Flags().StringSliceVar(&r.Projects, "project", nil, "the projects it is for; all if left out")
	_ = cmd.RegisterFlagCompletionFunc("role", words("viewer", "developer", "maintainer", "admin"))
	_ = cmd.RegisterFlagCompletionFunc("project", s.completeProject)
	return cmd
}

func scopeNames() string {
	var names []string
	for _, scope := range auth.Scopes() {
		names = append(names, string(scope))
	}
	return strings.Join(names, ", ")
}

// createToken lets the server make a token, or makes it with the server's key.
func (s *shell) createToken(ctx context.Context, configPath string, r client.CreateToken) (*client.CreatedToken, error) {
	life, err := mayfly.ParseDuration(r.TTL)
	if err != nil {
		return nil, usageError{err}
	}
	if configPath == "" {
		c, err := s.conn.client()
		if err != nil {
			return nil, err
		}
		return c.CreateToken(ctx, r)
	}
	c, err := config.Load(configPath)
	if err != nil {
		return nil, err
	}
	for _, project := range append(slices.Collect(maps.Keys(r.Roles)), r.Projects...) {
		if _, ok := c.Project(project); !ok && project != auth.AllProjects {
			return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q in %s", project, configPath)
		}
	}
	token := auth.Token{Subject: cmp.Or(r.Subject, defaultSubject()), Projects: r.Projects, Grants: auth.Grants{}}
	for _, scope := range r.Scopes {
		token.Scopes = append(token.Scopes, auth.Scope(scope))
	}
	for project, role := range r.Roles {
		token.Grants[project] = auth.Role(role)
	}
	keys, err := auth.LoadKeys(keysDir(c))
	if err != nil {
		return nil, keysUnreadable(err)
	}
	signed, made, err := auth.NewTokens(keys, nil, time.Now).Sign(token, life)
	if err != nil {
		if mayfly.ErrorCode(err) == mayfly.CodeInvalid {
			err = usageError{err}
		}
		return nil, err
	}
	return &client.CreatedToken{Token: signed, TokenInfo: client.TokenInfo{
		ID: made.ID, Subject: made.Subject, Scopes: r.Scopes, Projects: r.Projects, Roles: r.Roles, IssuedAt: made.IssuedAt.UTC(), ExpiresAt: made.ExpiresAt.UTC(),
	}}, nil
}

func keysDir(c *config.Config) string { return filepath.Join(c.DataDir, "keys") }

func keysUnreadable(err error) error {
	return mayfly.Errorf(mayfly.CodeForbidden, "the keys cannot be read: %w", err).WithHint("run it as the user that runs mayfly serve (root)")
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

// onKeys makes a command that works with the keys in data_dir.
func (s *shell) onKeys(cmd *cobra.Command, do func(dir string, args []string) (*answer, error)) *cobra.Command {
	var configPath string
	s.local(cmd, plainFormats, func(_ *cobra.Command, args []string) (*answer, error) {
		c, err := config.Load(configPath)
		if err != nil {
			return nil, err
		}
		if _, err := auth.LoadKeys(keysDir(c)); err != nil {
			return nil, keysUnreadable(err)
		}
		return do(keysDir(c), args)
	})
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "the server's configuration file")
	return cmd
}

func newTokenKeysCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "List the keys that tokens are signed and verified with (on the server)", Example: "  mayfly token keys --config mayfly.yaml", Args: cobra.NoArgs,
	}
	return s.onKeys(cmd, func(dir string, _ []string) (*answer, error) {
		ring, err := auth.NewKeyRing(dir)
		if err != nil {
			return nil, keysUnreadable(err)
		}
		keys, err := ring.Keys()
		if err != nil {
			return nil, keysUnreadable(err)
		}
		ids, rows := []string{}, [][]string{}
		for _, key := range keys {
			use, end := "signs and verifies", "-"
			if !key.Signing {
				use, end = "verifies", until(&key.VerifyUntil)
			}
			ids, rows = append(ids, key.ID), append(rows, []string{key.ID, use, end})
		}
		return &answer{value: keys, names: ids, table: func(w *screen) error { return w.rows([]string{"KEY", "USE", "ENDS"}, rows) }}, nil
	})
}

func newRotateKeyCommand(s *shell) *cobra.Command {
	var atOnce, seal bool
	cmd := s.onKeys(&cobra.Command{
		Use: "rotate-key", Short: "Sign tokens with a new key from now on (on the server)", Args: cobra.NoArgs,
		Long: "Make a new key that signs tokens from now on. Tokens that were signed with the one before stay good until they expire; with --at-once all\n" +
			"of them are good for nothing. A server that runs takes notice by itself.\n" +
			"With --seal it is the key that encrypts passwords at rest: the server uses it from its next start on, and encrypts everything anew.",
		Example: "  mayfly token rotate-key --config mayfly.yaml\n  mayfly token rotate-key --config mayfly.yaml --at-once\n  mayfly token rotate-key --config mayfly.yaml --seal",
	}, func(dir string, _ []string) (*answer, error) {
		if seal {
			return said(map[string]string{"key": "seal"}, "seal", "passwords are encrypted with a new key from the next start on"), auth.RotateSealKey(dir)
		}
		id, err := auth.RotateTokenKey(dir, time.Now(), atOnce)
		return said(map[string]string{"id": id}, id, "tokens are signed with the key %s", id), err
	})
	cmd.Flags().BoolVar(&atOnce, "at-once", false, "take the keys before out of use: every token there is becomes invalid")
	cmd.Flags().BoolVar(&seal, "seal", false, "replace the key that encrypts passwords at rest, rather than that of tokens")
	cmd.MarkFlagsMutuallyExclusive("at-once", "seal")
	return cmd
}

func newRetireKeyCommand(s *shell) *cobra.Command {
	return s.onKeys(&cobra.Command{
		Use: "retire-key ID", Short: "Take a key out of use that signs no more: its tokens become invalid (on the server)", Args: cobra.ExactArgs(1),
		Example: "  mayfly token retire-key AbCd1234EfGh --config mayfly.yaml",
	}, func(dir string, args []string) (*answer, error) {
		return said(map[string]string{"id": args[0]}, args[0], "the key %s is out of use", args[0]), auth.RetireTokenKey(dir, args[0])
	})
}
