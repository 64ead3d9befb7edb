package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// shell is what all commands have in common: where they read and write, how they reach the server, and how they print.
type shell struct {
	streams
	conn  *connection
	hooks hooks
	quiet bool
}

// answer is what a command prints.
type answer struct {
	// value is for -o json and -o yaml.
	value any
	// valueOf finds it when it is wanted, where that takes a while.
	valueOf func() (any, error)
	// table is for people.
	table func(*screen) error
	// names are what --quiet prints in its place; nil for nothing but the table.
	names []string
	// urls are for -o url.
	urls func(context.Context) ([]string, error)
	// other are the formats that only this command has.
	other map[string]func(*screen) error
	// piped is the format where nobody asks for one and the output is no terminal; "" for the usual.
	piped string
	// after goes on when the rest is printed.
	after func() error
	// problem is what went wrong although there is something to print.
	problem error
}

// The formats of -o; the first is what is printed if none is given.
const (
	plainFormats = "table json yaml"
	urlFormats   = "table json yaml url"
)

// printing is -o of one command.
type printing struct {
	formats []string
	format  string
	given   bool
}

// local makes a command that asks no server.
func (s *shell) local(cmd *cobra.Command, formats string, do func(cmd *cobra.Command, args []string) (*answer, error)) *cobra.Command {
	p := &printing{formats: strings.Fields(formats)}
	last := len(p.formats) - 1
	cmd.Flags().StringVarP(&p.format, "output", "o", p.formats[0], strings.Join(p.formats[:last], ", ")+" or "+p.formats[last])
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if p.given = cmd.Flags().Changed("output"); p.format == "text" {
			p.format = "table"
		}
		if !slices.Contains(p.formats, p.format) {
			return usage("-o %s: the formats are %s", p.format, strings.Join(p.formats, ", "))
		}
		a, err := do(cmd, args)
		if a == nil || err != nil {
			return err
		}
		if err := s.print(cmd.Context(), p, a); err != nil {
			return errors.Join(a.problem, err)
		}
		if a.after != nil {
			return a.after()
		}
		return a.problem
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(p.formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// remote makes a command that asks the server.
func (s *shell) remote(cmd *cobra.Command, formats string, do func(ctx context.Context, c *client.Client, args []string) (*answer, error)) *cobra.Command {
	return s.local(cmd, formats, func(cmd *cobra.Command, args []string) (*answer, error) {
		c, err := s.conn.client()
		if err != nil {
			return nil, err
		}
		return do(cmd.Context(), c, args)
	})
}

func (s *shell) print(ctx context.Context, p *printing, a *answer) error {
	out := newScreen(s.out)
	format := p.format
	if !p.given && a.piped != "" && !out.terminal {
		format = a.piped
	}
	if other, ok := a.other[format]; ok {
		return other(out)
	}
	if a.valueOf != nil {
		var err error
		if a.value, err = a.valueOf(); err != nil {
			return err
		}
	}
	switch format {
	case "json":
		return printJSON(s.out, a.value)
	case "yaml":
		return printYAML(s.out, a.value)
	case "url":
		urls, err := a.urls(ctx)
		for _, url := range urls {
			fmt.Fprintln(s.out, url)
		}
		return err
	}
	if s.quiet && a.names != nil {
		for _, name := range a.names {
			fmt.Fprintln(s.out, name)
		}
		return nil
	}
	out.aligned = out.aligned || p.given
	return a.table(out)
}

// progress is where commands tell how far they are: standard error, or nowhere with --quiet.
func (s *shell) progress() *screen {
	if s.quiet {
		return newScreen(io.Discard)
	}
	return newScreen(s.err)
}

// note tells something beside the result.
func (s *shell) note(format string, args ...any) {
	fmt.Fprintln(s.progress(), clean(fmt.Sprintf(format, args...)))
}

// said is the answer of a command that has one sentence to say.
func said(value any, name, format string, args ...any) *answer {
	return &answer{value: value, names: []string{name}, table: func(w *screen) error {
		_, err := fmt.Fprintln(w, clean(fmt.Sprintf(format, args...)))
		return err
	}}
}

// credentialURLs are the connection strings of previews.
func credentialURLs(c *client.Client, names ...string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var urls []string
		for _, name := range names {
			credentials, err := c.Credentials(ctx, name)
			if err != nil {
				return urls, err
			}
			urls = append(urls, credentials.URL)
		}
		return urls, nil
	}
}

// interrupted says what is known of a change whose answer was not waited for.
func interrupted(err error, doing, see string) error {
	if mayfly.ErrorCode(err) != mayfly.CodeCancelled {
		return err
	}
	return mayfly.Errorf(mayfly.CodeCancelled, "stopped while %s: the server may have been told already", doing).WithHint("look with: %s", see)
}

// fixed are addresses that are known already.
func fixed(urls ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return urls, nil }
}

// apiURLs are the addresses of resources in the API.
func (s *shell) apiURLs(path string, ids ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) {
		t, err := s.conn.target()
		urls := make([]string, len(ids))
		for i, id := range ids {
			urls[i] = t.server + "/api/v1" + path + id
		}
		return urls, err
	}
}
