package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/contexts"
	"github.com/mayflydb/mayfly/internal/devicelogin"
)

func newLoginCommand(s *shell) *cobra.Command {
	var provider, project string
	timeout := duration(15 * time.Minute)
	cmd := &cobra.Command{
		Use: "login [SERVER]", Short: "Sign in to a server", Args: cobra.MaximumNArgs(1),
		Long: "Sign in to a server with GitHub, or with the organisation's own sign-in if the server has one, and make it the current context. The\n" +
			"token is kept in ~/.config/mayfly, where nobody else can read it, and is renewed by itself.\n" +
			"With --token-file there is nothing to sign in to: the token is read from that file whenever it is needed.",
		Example: "  mayfly login https://mayfly.example.com\n  mayfly login --provider okta\n  mayfly login https://mayfly.example.com --token-file ~/mayfly.token",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, args []string) (*answer, error) {
		into, err := s.loginContext(args)
		if err != nil {
			return nil, err
		}
		into.Project = cmp.Or(project, into.Project)
		s.warnPlain(into.Server)
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(timeout))
		defer cancel()
		if s.conn.tokenFile != "" {
			return s.loginWithFile(ctx, into)
		}
		c, err := client.New(into.Server, "", nil)
		if err != nil {
			return nil, err
		}
		signed, err := s.signIn(ctx, c, provider)
		if err != nil {
			return nil, err
		}
		into.TokenFile = ""
		if err := s.conn.putContext(into, true); err != nil {
			return nil, err
		}
		if err := s.conn.dir().PutToken(into.Name, keptToken(signed)); err != nil {
			return nil, err
		}
		return said(map[string]any{"context": into.Name, "server": into.Server, "subject": signed.Subject, "roles": signed.Roles, "expires_at": signed.SessionExpiresAt},
			signed.Subject, "signed in to %s as %s; the current context is %s", into.Server, signed.Subject, into.Name), nil
	})
	cmd.Flags().StringVar(&provider, "provider", "", "how to sign in, where there are several ways")
	cmd.Flags().StringVar(&project, "default-project", "", "the project that is meant if none is named")
	cmd.Flags().Var(&timeout, "timeout", "how long to wait at most")
	return cmd
}

// loginContext is the context to sign in to: that of the server that is named, or the current one.
func (s *shell) loginContext(args []string) (contexts.Context, error) {
	named := *s.conn
	if len(args) == 1 {
		named.server, named.context = args[0], ""
	} else if s.conn.context != "" {
		file, err := s.conn.dir().Load()
		if err != nil {
			return contexts.Context{}, err
		}
		if found, ok := file.Find(s.conn.context); ok {
			return found, nil
		}
		return contexts.Context{}, file.Missing(s.conn.context)
	}
	t, err := named.target()
	if err != nil {
		return contexts.Context{}, err
	}
	into := t.context
	if name := s.conn.context; name != "" { // a server and a name for its context
		if contexts.ValidateName(name) != nil {
			return into, usageError{contexts.ValidateName(name)}
		}
		into.Name = name
	}
	into.Name, into.Server = cmp.Or(into.Name, contexts.NameFor(t.server)), t.server
	return into, nil
}

func (s *shell) loginWithFile(ctx context.Context, into contexts.Context) (*answer, error) {
	token, err := readToken(s.conn.tokenFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(into.Server, token, nil)
	if err != nil {
		return nil, err
	}
	self, err := c.Self(ctx)
	if err != nil {
		return nil, err
	}
	if into.TokenFile, err = filepath.Abs(s.conn.tokenFile); err != nil {
		return nil, fmt.Errorf("find the token's file: %w", err)
	}
	if err := s.conn.putContext(into, true); err != nil {
		return nil, err
	}
	if err := s.conn.dir().RemoveToken(into.Name); err != nil {
		return nil, err
	}
	return said(map[string]any{"context": into.Name, "server": into.Server, "subject": self.Subject, "expires_at": self.ExpiresAt}, self.Subject,
		"%s is %s for %s; the current context is %s", into.TokenFile, self.Subject, into.Server, into.Name), nil
}

// signIn asks the server how people sign in, and does that.
func (s *shell) signIn(ctx context.Context, c *client.Client, name string) (*client.SignedIn, error) {
	all, err := c.Providers(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	var chosen *client.Provider
	for _, p := range all {
		names = append(names, p.Name)
		if p.Name == name || name == "" && len(all) == 1 {
			chosen = &p
		}
	}
	switch {
	case len(all) == 0:
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "nobody can sign in to this server").
			WithHint("get a token from whoever runs it (mayfly token create), and give it: mayfly login SERVER --token-file FILE")
	case chosen == nil && name == "":
		return nil, usageError{mayfly.Errorf(mayfly.CodeInvalid, "there are several ways to sign in").WithHint("give --provider, one of: %s", strings.Join(names, ", "))}
	case chosen == nil:
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no way to sign in called %q", name).WithHint("there are: %s", strings.Join(names, ", "))
	case chosen.Kind == "oidc":
		return s.signInOIDC(ctx, c, chosen)
	}
	return s.signInDevice(ctx, c, chosen)
}

// tellCode is seen with --quiet, too: nothing happens without it.
func (s *shell) tellCode(page, code string) {
	fmt.Fprintf(s.err, "Open %s\nand enter the code %s\n", clean(page), clean(code))
}

func (s *shell) signInDevice(ctx context.Context, c *client.Client, p *client.Provider) (*client.SignedIn, error) {
	device, err := c.StartDevice(ctx, client.StartDevice{Provider: p.Name})
	if err != nil {
		return nil, err
	}
	s.tellCode(device.VerificationURI, device.UserCode)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(device.ExpiresIn)*time.Second)
	defer cancel()
	for interval := device.Interval; ; {
		select {
		case <-time.After(time.Duration(max(interval, 1)) * time.Second):
		case <-ctx.Done():
			if context.Cause(ctx) == context.DeadlineExceeded { //nolint:errorlint // a cause is compared as it is
				return nil, mayfly.Errorf(mayfly.CodeTimeout, "nobody entered the code in time").WithHint("try again: mayfly login")
			}
			return nil, mayfly.Errorf(mayfly.CodeCancelled, "stopped; nobody is signed in")
		}
		signed, err := c.PollDevice(ctx, client.PollDevice{Provider: p.Name, DeviceCode: device.DeviceCode})
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err == nil && !signed.Pending {
			return signed, nil
		}
		interval = signed.Interval
	}
}

func (s *shell) signInOIDC(ctx context.Context, c *client.Client, p *client.Provider) (*client.SignedIn, error) {
	token, nonce, err := devicelogin.IDToken(ctx, devicelogin.Provider{Issuer: p.Issuer, ClientID: p.ClientID, Scopes: p.Scopes}, devicelogin.Prompts{
		Code:   s.tellCode,
		Browse: func(page string) { fmt.Fprintf(s.err, "Open %s\nin a browser on this machine\n", clean(page)) },
	})
	if err != nil {
		return nil, err
	}
	return c.SignInOIDC(ctx, client.SignInOIDC{Provider: p.Name, IDToken: token, Nonce: nonce})
}

func keptToken(signed *client.SignedIn) contexts.Token {
	t := contexts.Token{Access: signed.Token, Refresh: signed.Refresh, Subject: signed.Subject}
	if signed.ExpiresAt != nil {
		t.ExpiresAt = *signed.ExpiresAt
	}
	return t
}

// refreshToken gets the next token of somebody who is signed in.
func refreshToken(ctx context.Context, server string, was contexts.Token) (*contexts.Token, error) {
	c, err := client.New(server, "", nil)
	if err != nil {
		return nil, err
	}
	signed, err := c.RefreshSession(ctx, client.Refresh{Token: was.Refresh})
	switch mayfly.ErrorCode(err) {
	case "":
		next := keptToken(signed)
		return &next, nil
	case mayfly.CodeUnauthenticated, mayfly.CodeForbidden, mayfly.CodeInvalid, mayfly.CodeNotFound:
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "you are not signed in to %s any more", server).WithHint("mayfly login %s", server)
	}
	return nil, err
}

func newLogoutCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "logout", Short: "Sign out of a server, and forget the token for it", Args: cobra.NoArgs, Example: "  mayfly logout\n  mayfly logout --context staging",
		Long: "End the session at the server and forget its token. The context stays; a token file that somebody else keeps is left alone.",
	}
	return s.local(cmd, plainFormats, func(cmd *cobra.Command, _ []string) (*answer, error) {
		t, err := s.conn.target()
		if err != nil {
			return nil, err
		}
		if t.context.Name == "" {
			return nil, mayfly.Errorf(mayfly.CodeNotFound, "you are not signed in to %s", t.server)
		}
		kept, err := s.conn.dir().Token(t.context.Name)
		if err != nil {
			return nil, err
		}
		if kept != nil && kept.Refresh != "" {
			c, err := client.New(t.server, kept.Access, nil)
			if err != nil {
				return nil, err
			}
			if err := c.SignOut(cmd.Context(), client.SignOut{Token: kept.Refresh}); err != nil {
				s.note("the server could not be told, the session there ends by itself: %v", err)
			}
		}
		if err := s.conn.dir().RemoveToken(t.context.Name); err != nil {
			return nil, err
		}
		if t.context.TokenFile != "" {
			t.context.TokenFile = ""
			if err := s.conn.putContext(t.context, false); err != nil {
				return nil, err
			}
		}
		return said(map[string]string{"context": t.context.Name, "server": t.server}, t.context.Name, "signed out of %s", t.server), nil
	})
}

func newWhoamiCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "whoami", Short: "Say who you are to the server, and what you may do", Args: cobra.NoArgs, Example: "  mayfly whoami"}
	return s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		self, err := c.Self(ctx)
		if err != nil {
			return nil, err
		}
		t, err := s.conn.target()
		if err != nil {
			return nil, err
		}
		return &answer{value: self, names: []string{self.Subject}, table: func(w *screen) error {
			fmt.Fprintf(w, "%s at %s\n", w.paint(bold, cell(self.Subject)), t.server)
			if t.context.Name != "" {
				fmt.Fprintf(w, "  context   %s\n", t.context.Name)
			}
			fmt.Fprintf(w, "  allows    %s\n", cell(allows(client.TokenInfo{Scopes: self.Scopes, Projects: self.Projects, Roles: self.Roles})))
			fmt.Fprintf(w, "  token     %s, ends %s\n", self.TokenID, until(&self.ExpiresAt))
			return nil
		}}, nil
	})
}
