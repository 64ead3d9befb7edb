package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/contexts"
)

func newContextCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "context", Aliases: []string{"contexts", "ctx"}, Short: "Work with several servers",
		Long: "A context is a server with a token, and perhaps a project that is meant if none is named. They are kept in\n" +
			"~/.config/mayfly (XDG_CONFIG_HOME), in files that nobody else can read. mayfly login makes one, too.",
		Example: "  mayfly context add staging https://mayfly.staging.example.com --token-file ~/staging.token\n  mayfly context use staging\n  mayfly ls --context production",
	}
	cmd.AddCommand(newContextListCommand(s), newContextUseCommand(s), newContextAddCommand(s), newContextRemoveCommand(s))
	return group(cmd)
}

// shownContext is a context as -o json has it.
type shownContext struct {
	contexts.Context
	Current bool `json:"current"`
	// Token is where its token comes from: "login", "file" or "" for none.
	Token   string `json:"token"`
	Subject string `json:"subject,omitempty"`
}

func newContextListCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the contexts", Example: "  mayfly context ls", Args: cobra.NoArgs}
	return s.local(cmd, urlFormats, func(*cobra.Command, []string) (*answer, error) {
		file, err := s.conn.dir().Load()
		if err != nil {
			return nil, err
		}
		shown, names, servers := []shownContext{}, []string{}, []string{}
		for _, c := range file.Contexts {
			one := shownContext{Context: c, Current: c.Name == file.Current}
			if kept, err := s.conn.dir().Token(c.Name); err == nil && kept != nil {
				one.Token, one.Subject = "login", kept.Subject
			}
			if c.TokenFile != "" {
				one.Token = "file"
			}
			shown, names, servers = append(shown, one), append(names, c.Name), append(servers, c.Server)
		}
		return &answer{value: shown, names: names, urls: fixed(servers...), table: func(w *screen) error {
			if len(shown) == 0 {
				s.note("there are no contexts; make one with: mayfly login SERVER")
			}
			rows := make([][]string, len(shown))
			for i, c := range shown {
				mark := ""
				if c.Current {
					mark = "*"
				}
				rows[i] = []string{mark, c.Name, c.Server, cmp.Or(c.Project, "-"), cmp.Or(c.Subject, c.Token, "none")}
			}
			return w.rows([]string{"", "NAME", "SERVER", "PROJECT", "TOKEN"}, rows)
		}}, nil
	})
}

func newContextUseCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Example: "  mayfly context use staging", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeContext,
	}
	return s.local(cmd, plainFormats, func(_ *cobra.Command, args []string) (*answer, error) {
		var used contexts.Context
		err := s.conn.dir().Update(func(f *contexts.File) error {
			found, ok := f.Find(args[0])
			if !ok {
				return f.Missing(args[0])
			}
			f.Current, used = found.Name, found
			return nil
		})
		return said(used, used.Name, "%s (%s) is the current context", used.Name, used.Server), err
	})
}

func newContextAddCommand(s *shell) *cobra.Command {
	var added contexts.Context
	var use bool
	cmd := &cobra.Command{
		Use: "add NAME SERVER", Short: "Add a context, or change the one of that name", Args: cobra.ExactArgs(2),
		Long: "Add a context, or change the one of that name. With --token-file its token is read from that file whenever it is needed;\n" +
			"otherwise sign in with: mayfly login --context NAME.",
		Example: "  mayfly context add staging https://mayfly.staging.example.com --default-project shop --use",
	}
	s.local(cmd, plainFormats, func(_ *cobra.Command, args []string) (*answer, error) {
		var err error
		if added.Name = args[0]; contexts.ValidateName(added.Name) != nil {
			return nil, usageError{contexts.ValidateName(added.Name)}
		}
		if added.Server, err = contexts.Address(args[1]); err != nil {
			return nil, usageError{err}
		}
		if s.conn.tokenFile != "" {
			if _, err := readToken(s.conn.tokenFile); err != nil {
				return nil, err
			}
			if added.TokenFile, err = filepath.Abs(s.conn.tokenFile); err != nil {
				return nil, fmt.Errorf("find the token's file: %w", err)
			}
		}
		s.warnPlain(added.Server)
		err = s.conn.putContext(added, use)
		return said(added, added.Name, "%s is %s", added.Name, added.Server), err
	})
	cmd.Flags().StringVar(&added.Project, "default-project", "", "the project that is meant if none is named")
	cmd.Flags().BoolVar(&use, "use", false, "make it the current one")
	return cmd
}

// putContext adds or changes a context. The first one becomes the current one. A token that was kept for another server is forgotten.
func (c *connection) putContext(added contexts.Context, use bool) error {
	return c.dir().Update(func(f *contexts.File) error {
		if was, ok := f.Find(added.Name); ok && was.Server != added.Server {
			if err := c.dir().RemoveToken(added.Name); err != nil {
				return err
			}
		}
		f.Put(added)
		if use || f.Current == "" {
			f.Current = added.Name
		}
		return nil
	})
}

// warnPlain warns of tokens and passwords that everybody on the way could read.
func (s *shell) warnPlain(server string) {
	local := slices.ContainsFunc([]string{"http://127.", "http://localhost", "http://[::1]"}, func(prefix string) bool { return strings.HasPrefix(server, prefix) })
	if strings.HasPrefix(server, "http://") && !local {
		s.note("warning: %s is not encrypted: tokens and passwords can be read on the way", server)
	}
}

func newContextRemoveCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Forget a context and its token", Example: "  mayfly context rm staging", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeContext,
	}
	return s.local(cmd, plainFormats, func(_ *cobra.Command, args []string) (*answer, error) {
		err := s.conn.dir().Update(func(f *contexts.File) error {
			if _, ok := f.Find(args[0]); !ok {
				return f.Missing(args[0])
			}
			f.Contexts = slices.DeleteFunc(f.Contexts, func(c contexts.Context) bool { return c.Name == args[0] })
			if f.Current == args[0] {
				f.Current = ""
			}
			return s.conn.dir().RemoveToken(args[0])
		})
		if mayfly.ErrorCode(err) == mayfly.CodeInvalid {
			err = usageError{err}
		}
		return said(map[string]string{"name": args[0]}, args[0], "%s is forgotten", args[0]), err
	})
}
