package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// waiting are the flags of commands that can wait.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until it is done, showing the steps as they happen")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 10*time.Minute, "with --wait: how long at most")
}

// followReady shows the steps of a preview until it is settled, and fails if it failed. Steps that had ended in before are no news.
func (w *waiting) followReady(ctx context.Context, c *client.Client, name string, before []client.Step, progress io.Writer) (*client.Preview, error) {
	last, err := w.follow(ctx, c, name, before, progress, func(p *client.Preview) bool { return p.Settled })
	if err != nil {
		return last, err
	}
	if last.Failure != nil && last.State == string(mayfly.PreviewFailed) {
		return last, &mayfly.Error{Code: mayfly.Code(last.Failure.Code), Message: name + ": " + last.Failure.Message, Hint: last.Failure.Hint}
	}
	return last, nil
}

func (w *waiting) follow(ctx context.Context, c *client.Client, name string, before []client.Step, progress io.Writer, done func(*client.Preview) bool) (*client.Preview, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	last := &client.Preview{}
	began := time.Now()
	key := func(step client.Step) string { return step.Name + step.StartedAt.String() }
	shown := map[string]bool{}
	for _, step := range before {
		shown[key(step)] = step.FinishedAt != nil
	}
	failure := ""
	err := c.FollowPreview(ctx, name, func(p *client.Preview) bool {
		last = p
		for _, step := range p.Steps {
			if step.FinishedAt == nil || shown[key(step)] || step.FinishedAt.Before(began.Add(-time.Minute)) {
				continue
			}
			shown[key(step)] = true
			fmt.Fprintln(progress, stepLine(step))
		}
		if p.Failure != nil && p.Failure.Message != failure && !p.Settled {
			failure = p.Failure.Message
			fmt.Fprintln(progress, "...  waiting: "+failure)
		}
		return !done(p)
	})
	if mayfly.ErrorCode(err) == mayfly.CodeTimeout {
		return last, mayfly.Errorf(mayfly.CodeTimeout, "%s is still %s after %s", name, last.State, w.timeout).
			WithHint("it goes on; see it with: mayfly get %s", name)
	}
	if mayfly.ErrorCode(err) == mayfly.CodeCancelled {
		return last, mayfly.Errorf(mayfly.CodeCancelled, "stopped waiting; %s is %s and goes on", name, last.State).
			WithHint("see it with: mayfly get %s; remove it with: mayfly rm %s", name, name)
	}
	return last, err
}

func newCreateCommand(s streams, conn *connection) *cobra.Command {
	var r client.CreatePreview
	var labels []string
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use:     "create [NAME]",
		Short:   "Create a sandbox",
		Example: "  mayfly create --project shop --wait\n  mayfly create trial --project shop --ttl 2d --label ticket=4711 -o json\n  psql \"$(mayfly create --project shop --wait -o url)\"",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "url" {
				if err := out.check(); err != nil {
					return err
				}
			}
			if len(args) == 1 {
				r.Name = args[0]
			}
			var err error
			if r.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			p, err := c.CreatePreview(cmd.Context(), r)
			if err != nil {
				return err
			}
			if w.wait {
				if p, err = w.followReady(cmd.Context(), c, p.Name, nil, s.err); err != nil {
					return err
				}
			}
			switch out {
			case "json":
				return printJSON(s.out, p)
			case "url":
				return printURL(cmd.Context(), s, c, p.Name)
			}
			return printPreview(s.out, p)
		},
	}
	cmd.Flags().StringVarP(&r.Project, "project", "p", os.Getenv("MAYFLY_PROJECT"), "project (MAYFLY_PROJECT)")
	cmd.Flags().StringVar(&r.TTL, "ttl", "", "how long it lives, such as 12h or 7d")
	cmd.Flags().StringSliceVar(&labels, "label", nil, "a label, key=value; may be given several times")
	cmd.Flags().StringVarP((*string)(&out), "output", "o", "table", "table, json or url")
	w.add(cmd)
	return cmd
}

func parseLabels(pairs []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usageError{mayfly.Errorf(mayfly.CodeInvalid, "--label %s: write key=value", pair)}
		}
		labels[key] = value
	}
	return labels, nil
}

func newListCommand(s streams, conn *connection) *cobra.Command {
	var o client.ListOptions
	out := format("table")
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List previews",
		Example: "  mayfly ls\n  mayfly ls --project shop --state ready -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			all := []client.Preview{}
			for {
				page, err := c.ListPreviews(cmd.Context(), o)
				if err != nil {
					return err
				}
				all = append(all, page.Items...)
				if page.Next == "" {
					break
				}
				o.After = page.Next
			}
			if out == "json" {
				return printJSON(s.out, all)
			}
			return table(s.out, []string{"NAME", "STATE", "TEMPLATE", "COMMIT", "AGE", "EXPIRES"}, previewRows(all))
		},
	}
	cmd.Flags().StringVarP(&o.Project, "project", "p", "", "only this project's")
	cmd.Flags().StringVar(&o.Kind, "kind", "", "pull_request or sandbox")
	cmd.Flags().StringVar(&o.State, "state", "", "only those in this state")
	addFormat(cmd, &out)
	return cmd
}

func newGetCommand(s streams, conn *connection) *cobra.Command {
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Look at a preview and its timeline", Example: "  mayfly get shop-pr-42\n  mayfly get shop-pr-42 --wait -o json", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			if w.wait {
				if _, err := w.followReady(cmd.Context(), c, args[0], nil, s.err); err != nil {
					return err
				}
			}
			p, err := c.Preview(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, p)
			}
			return printPreview(s.out, p)
		},
	}
	addFormat(cmd, &out)
	w.add(cmd)
	return cmd
}

func printURL(ctx context.Context, s streams, c *client.Client, name string) error {
	credentials, err := c.Credentials(ctx, name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, credentials.URL)
	return err
}

func newURLCommand(s streams, conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "url NAME", Short: "Print the connection string, and nothing else", Example: "  export DATABASE_URL=\"$(mayfly url shop-pr-42)\"", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.client()
			if err != nil {
				return err
			}
			return printURL(cmd.Context(), s, c, args[0])
		},
	}
}

func newPsqlCommand(s streams, conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "psql NAME [-- PSQL-ARGUMENTS]", Short: "Open psql on a preview",
		Example: "  mayfly psql shop-pr-42\n  mayfly psql shop-pr-42 -- -c 'select count(*) from orders'", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := exec.LookPath("psql")
			if err != nil {
				return mayfly.Errorf(mayfly.CodeInvalid, "psql is not installed").WithHint("apt-get install postgresql-client, or brew install libpq")
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			credentials, err := c.Credentials(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			// The password goes by the environment: arguments can be seen by every user of the machine.
			env := append(os.Environ(), "PGHOST="+credentials.Host, "PGPORT="+strconv.Itoa(credentials.Port), "PGDATABASE="+credentials.Database,
				"PGUSER="+credentials.User, "PGPASSWORD="+credentials.Password, "PGSSLMODE="+credentials.SSLMode)
			if s.in == os.Stdin && s.out == os.Stdout {
				return syscall.Exec(path, append([]string{"psql"}, args[1:]...), env)
			}
			psql := exec.CommandContext(cmd.Context(), path, args[1:]...)
			psql.Env, psql.Stdin, psql.Stdout, psql.Stderr = env, s.in, s.out, s.err
			return psql.Run()
		},
	}
}

func newResetCommand(s streams, conn *connection) *cobra.Command {
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use: "reset NAME", Short: "Make a preview anew from the newest template; its data is lost, its password changes",
		Example: "  mayfly reset shop-pr-42 --wait", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd.Context(), s, conn, out, &w, args[0], func(c *client.Client) (*client.Preview, error) {
				return c.ResetPreview(cmd.Context(), args[0])
			})
		},
	}
	addFormat(cmd, &out)
	w.add(cmd)
	return cmd
}

// change runs one change of a preview, waits if asked to, and prints the result.
func change(ctx context.Context, s streams, conn *connection, out format, w *waiting, name string, do func(*client.Client) (*client.Preview, error)) error {
	if err := out.check(); err != nil {
		return err
	}
	c, err := conn.client()
	if err != nil {
		return err
	}
	p, err := do(c)
	if err != nil {
		return err
	}
	if w.wait {
		if p, err = w.followReady(ctx, c, name, p.Steps, s.err); err != nil {
			return err
		}
	}
	if out == "json" {
		return printJSON(s.out, p)
	}
	return printPreview(s.out, p)
}

func newExtendCommand(s streams, conn *connection) *cobra.Command {
	out := format("table")
	cmd := &cobra.Command{
		Use: "extend NAME DURATION", Short: "Let a preview live for that long from now", Example: "  mayfly extend shop-trial 2d", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd.Context(), s, conn, out, &waiting{}, args[0], func(c *client.Client) (*client.Preview, error) {
				return c.ChangePreview(cmd.Context(), args[0], client.ChangePreview{TTL: args[1]})
			})
		},
	}
	addFormat(cmd, &out)
	return cmd
}

func newSuspendCommand(s streams, conn *connection) *cobra.Command {
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use: "suspend NAME", Short: "Stop a preview's Postgres; its data stays, and it wakes on connect", Example: "  mayfly suspend shop-trial --wait", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			suspended := true
			return change(cmd.Context(), s, conn, out, &w, args[0], func(c *client.Client) (*client.Preview, error) {
				return c.ChangePreview(cmd.Context(), args[0], client.ChangePreview{Suspended: &suspended})
			})
		},
	}
	addFormat(cmd, &out)
	w.add(cmd)
	return cmd
}

func newRemoveCommand(s streams, conn *connection) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "rm NAME...", Short: "Remove previews with everything they have", Example: "  mayfly rm shop-trial\n  mayfly rm shop-a shop-b --wait", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.client()
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range args {
				failures = append(failures, remove(cmd.Context(), s, c, &w, name))
			}
			return errors.Join(failures...)
		},
	}
	w.add(cmd)
	return cmd
}

func remove(ctx context.Context, s streams, c *client.Client, w *waiting, name string) error {
	p, err := c.DeletePreview(ctx, name)
	if err != nil {
		return err
	}
	if !w.wait {
		_, err := fmt.Fprintln(s.out, name+" is being removed")
		return err
	}
	_, err = w.follow(ctx, c, name, p.Steps, s.err, func(p *client.Preview) bool { return p.State == string(mayfly.PreviewDeleted) })
	if err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound { // it may be gone before it can be followed
		return err
	}
	_, err = fmt.Fprintln(s.out, name+" is removed")
	return err
}

func newReportCommand(s streams, conn *connection) *cobra.Command {
	return &cobra.Command{
		Use: "report NAME", Short: "Print what the pull request's migrations did, as JSON", Example: "  mayfly report shop-pr-42 | jq .applied", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.client()
			if err != nil {
				return err
			}
			report, err := c.Report(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printJSON(s.out, report)
		},
	}
}
