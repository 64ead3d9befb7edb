package main

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/contexts"
)

// connection is how client commands reach the server: flags, and what stands in for those that are not given. Environment variables are
// no defaults of flags: --help would show what is in them.
type connection struct {
	server    string
	tokenFile string
	context   string
}

const defaultServer = "http://127.0.0.1:8080"

// target is which server is meant, and in which context.
type target struct {
	server string
	// context is the one that this is of; without a name if it is of none.
	context contexts.Context
}

func (*connection) dir() contexts.Dir { return contexts.Default(os.Getenv) }

// target finds out which server is meant: --server, --context, MAYFLY_SERVER (or MAYFLY_URL), MAYFLY_CONTEXT, the current context, the
// default, in this order. A server that is named directly has the context of that server, if there is one: the token of a context
// is sent to its own server and to no other.
func (c *connection) target() (target, error) {
	file, err := c.dir().Load()
	if err != nil {
		return target{}, err
	}
	name, address := c.context, c.server
	if name == "" && address == "" {
		address = cmp.Or(os.Getenv("MAYFLY_SERVER"), os.Getenv("MAYFLY_URL"))
	}
	if name == "" && address == "" {
		name = cmp.Or(os.Getenv("MAYFLY_CONTEXT"), file.Current)
	}
	if name != "" {
		found, ok := file.Find(name)
		if !ok {
			return target{}, file.Missing(name)
		}
		if address == "" {
			return target{server: found.Server, context: found}, nil
		}
	}
	server, err := contexts.Address(cmp.Or(address, defaultServer))
	if err != nil {
		return target{}, err
	}
	if found, ok := file.Find(name); ok && found.Server != server {
		return target{}, usage("--context %s is of %s, --server is %s: give one of them", name, found.Server, server)
	}
	found, _ := file.OfServer(server)
	return target{server: server, context: found}, nil
}

// client makes the client.
func (c *connection) client() (*client.Client, error) {
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	token, err := c.token(t)
	if err != nil {
		return nil, err
	}
	if token != "" {
		return client.New(t.server, token, nil)
	}
	if t.context.Name != "" {
		kept, err := c.dir().Token(t.context.Name)
		if err != nil {
			return nil, err
		}
		if kept != nil {
			return client.New(t.server, kept.Access, &http.Client{Transport: &signedIn{server: t.server, name: t.context.Name, dir: c.dir()}})
		}
	}
	return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "there is no token for %s", t.server).
		WithHint("sign in with: mayfly login %s; or set MAYFLY_TOKEN, or give --token-file, with a token made on the server: mayfly token create", t.server)
}

// token is the token that was given for this one command or environment, or the context's file; "" if there is none. A flag goes before the
// environment, and of that the token itself before a file with it.
func (c *connection) token(t target) (string, error) {
	file := c.tokenFile
	if file == "" {
		if token := os.Getenv("MAYFLY_TOKEN"); token != "" {
			return token, nil
		}
		file = cmp.Or(os.Getenv("MAYFLY_TOKEN_FILE"), t.context.TokenFile)
	}
	if file == "" {
		return "", nil
	}
	return readToken(file)
}

func readToken(file string) (string, error) {
	raw, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "read the token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "there is no token in %s", file)
	}
	return token, nil
}

// signedIn brings the token that signing in gave, made new when it ends: also in the middle of something that takes hours.
type signedIn struct {
	server, name string
	dir          contexts.Dir
}

// RoundTrip implements http.RoundTripper.
func (t *signedIn) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.dir.Refreshed(r.Context(), t.name, time.Now(), func(ctx context.Context, was contexts.Token) (*contexts.Token, error) {
		return refreshToken(ctx, t.server, was)
	})
	if err != nil {
		return nil, err
	}
	if token != nil && strings.HasPrefix(r.URL.String(), t.server+"/") { // a redirect may lead elsewhere
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token.Access)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// project returns the project to work on: the flag's, MAYFLY_PROJECT, the context's, or the only one there is.
func (s *shell) project(ctx context.Context, c *client.Client, flag string) (string, error) {
	if name := cmp.Or(flag, os.Getenv("MAYFLY_PROJECT")); name != "" {
		return name, nil
	}
	if t, err := s.conn.target(); err == nil && t.context.Project != "" {
		return t.context.Project, nil
	}
	all, err := c.Projects(ctx)
	if code := mayfly.ErrorCode(err); err != nil && code != mayfly.CodeForbidden && code != mayfly.CodeNotFound {
		return "", err
	}
	if len(all) == 1 {
		return all[0].Name, nil
	}
	missing := mayfly.Errorf(mayfly.CodeInvalid, "which project?")
	if len(all) == 0 {
		return "", usageError{missing.WithHint("give --project, or set MAYFLY_PROJECT")}
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return "", usageError{missing.WithHint("give --project, or set MAYFLY_PROJECT, to one of: %s", strings.Join(names, ", "))}
}

func (s *shell) addProject(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "project", "p", "", "project (MAYFLY_PROJECT); may be left out if the server has one only")
	_ = cmd.RegisterFlagCompletionFunc("project", s.completeProject)
}
