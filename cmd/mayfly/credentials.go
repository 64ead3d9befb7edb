package main

import (
	"context"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// access is as whom one connects, and what is waited for before.
type access struct {
	waiting
	readOnly, personal bool
}

func (a *access) add(cmd *cobra.Command) {
	a.waiting.add(cmd, defaultTimeout)
	a.addSHA(cmd)
	a.addLogin(cmd)
}

func (a *access) addLogin(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.readOnly, "read-only", false, "with a login of your own that can only read; it is made if you have none")
	cmd.Flags().BoolVar(&a.personal, "personal", false, "with a login of your own that acts as the owner; it is made if you have none")
	cmd.MarkFlagsMutuallyExclusive("read-only", "personal")
}

// role is the login's, "" for the one that everybody shares.
func (a *access) role() string {
	switch {
	case a.readOnly:
		return "read-only"
	case a.personal:
		return "personal"
	}
	return ""
}

// credentials are how to connect to a preview, after waiting for it if that is wanted.
func (a *access) credentials(ctx context.Context, s *shell, c *client.Client, name string) (*client.Credentials, error) {
	if err := a.ready(ctx, c, name, s.progress()); err != nil {
		return nil, err
	}
	if a.role() == "" {
		return c.Credentials(ctx, name)
	}
	credentials, err := c.LoginCredentials(ctx, name, a.role())
	if mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		return credentials, err
	}
	return c.CreateCredentials(ctx, name, client.CreateCredentials{Role: a.role()})
}

func newCredentialsCommand(s *shell) *cobra.Command {
	var a access
	var list bool
	var revoke string
	cmd := &cobra.Command{
		Use: "credentials NAME", Short: "Print how to connect, one by one; make and revoke logins of your own", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Long: "Print host, port, database, user and password of a preview. Each time is recorded in the audit log. --read-only and --personal are logins\n" +
			"of your own, which are made if you have none; --list shows everybody's, --revoke takes one away.",
		Example: "  mayfly credentials shop-pr-42 -o json | jq -r .password\n  mayfly credentials shop-pr-42 --read-only -o url\n  mayfly credentials shop-pr-42 --list",
	}
	s.remote(cmd, "table json yaml url", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		switch {
		case list:
			return listLogins(ctx, c, args[0])
		case revoke != "":
			login, err := c.RevokeLogin(ctx, args[0], revoke)
			if err != nil {
				return nil, interrupted(err, "revoking "+revoke, "mayfly credentials "+args[0]+" --list")
			}
			return withoutURL(said(login, revoke, "%s is taken away", revoke)), nil
		}
		credentials, err := a.credentials(ctx, s, c, args[0])
		if err != nil {
			return nil, err
		}
		return credentialsAnswer(credentials), nil
	})
	cmd.Flags().BoolVar(&list, "list", false, "list the logins besides the owner's")
	cmd.Flags().StringVar(&revoke, "revoke", "", "take this login away")
	a.addLogin(cmd)
	cmd.MarkFlagsMutuallyExclusive("list", "revoke", "read-only")
	cmd.MarkFlagsMutuallyExclusive("list", "revoke", "personal")
	return cmd
}

// withoutURL refuses -o url where the command has one, and this answer of it none.
func withoutURL(a *answer) *answer {
	a.urls = func(context.Context) ([]string, error) { return nil, usage("-o url: there is no address to print") }
	return a
}

func listLogins(ctx context.Context, c *client.Client, name string) (*answer, error) {
	all, err := c.Logins(ctx, name)
	if err != nil {
		return nil, err
	}
	names, rows := []string{}, [][]string{}
	for _, l := range all {
		names, rows = append(names, l.Role), append(rows, []string{l.Role, l.Access, l.Subject, age(l.CreatedAt)})
	}
	if all == nil {
		all = []client.Login{}
	}
	return withoutURL(&answer{value: all, names: names, table: func(w *screen) error {
		return w.rows([]string{"ROLE", "ACCESS", "WHOSE", "AGE"}, rows)
	}}), nil
}

func newRotateCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Give a preview a new password; connections that were made with the old one end", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Example: "  mayfly rotate shop-pr-42\n  export DATABASE_URL=\"$(mayfly rotate shop-pr-42 -o url)\"",
	}
	return s.remote(cmd, "table json yaml url", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		credentials, err := c.RotateCredentials(ctx, args[0])
		if err != nil {
			return nil, interrupted(err, "rotating the password of "+args[0], "mayfly url "+args[0])
		}
		a := credentialsAnswer(credentials)
		a.names, a.table = []string{args[0]}, said(nil, args[0], "%s has a new password; mayfly url %s shows it", args[0], args[0]).table
		return a, nil
	})
}
