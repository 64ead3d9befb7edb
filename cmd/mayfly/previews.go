package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

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
			if err := out.check("url"); err != nil {
				return err
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
			if r.Project, err = project(cmd.Context(), c, r.Project); err != nil {
				return err
			}
			p, err := c.CreatePreview(cmd.Context(), r)
			if err != nil {
				return err
			}
			if w.wait {
				p.Steps = nil // all of them are news
				if p, err = w.followReady(cmd.Context(), c, p, s.err); err != nil {
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
	addProject(cmd, &r.Project)
	cmd.Flags().StringVar(&r.TTL, "ttl", "", "how long it lives, such as 12h or 7d")
	cmd.Flags().StringSliceVar(&labels, "label", nil, "a label, key=value; may be given several times")
	addFormat(cmd, &out, "url")
	w.add(cmd, defaultTimeout)
	return cmd
}

func parseLabels(pairs []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usage("--label %s: write key=value", pair)
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
			if len(all) == 0 {
				fmt.Fprintln(s.err, "there are no such previews; make one with: mayfly create")
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
		Use: "get NAME", Short: "Look at a preview and its timeline", Example: "  mayfly get shop-pr-42\n  mayfly get shop-pr-42 --wait -o json\n  mayfly get shop-pr-42 --sha \"$(git rev-parse HEAD)\"", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			if err := w.ready(cmd.Context(), c, args[0], s.err); err != nil {
				return err
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
	w.add(cmd, defaultTimeout)
	w.addSHA(cmd)
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
	var w waiting
	out := format("url")
	cmd := &cobra.Command{
		Use: "url NAME", Short: "Print the connection string, and nothing else", Args: cobra.ExactArgs(1),
		Example: "  export DATABASE_URL=\"$(mayfly url shop-pr-42)\"\n  mayfly url shop-pr-42 --sha \"$(git rev-parse HEAD)\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "json" {
				if err := out.only("url"); err != nil {
					return err
				}
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			if err := w.ready(cmd.Context(), c, args[0], s.err); err != nil {
				return err
			}
			if out == "url" {
				return printURL(cmd.Context(), s, c, args[0])
			}
			credentials, err := c.Credentials(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printJSON(s.out, credentials)
		},
	}
	cmd.Flags().StringVarP((*string)(&out), "output", "o", "url", "url or json")
	w.add(cmd, defaultTimeout)
	w.addSHA(cmd)
	return cmd
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
			env := append(withoutPG(os.Environ()), "PGHOST="+credentials.Host, "PGPORT="+strconv.Itoa(credentials.Port), "PGDATABASE="+credentials.Database,
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

// withoutPG removes what of libpq's environment says where to connect to, and how: what the user has set for another server must
// not lead this session, or this password, there. A service file would even go before PGHOST.
func withoutPG(environment []string) []string {
	kept := []string{"PGAPPNAME", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGDATESTYLE", "PGOPTIONS", "PGSSLROOTCERT", "PGTZ"}
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "PG") && !slices.Contains(kept, name)
	})
}

func newResetCommand(s streams, conn *connection) *cobra.Command {
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use: "reset NAME", Short: "Make a preview anew from the newest template; its data is lost, its password changes",
		Example: "  mayfly reset shop-pr-42 --wait", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd.Context(), s, conn, out, &w, func(c *client.Client) (*client.Preview, error) {
				return c.ResetPreview(cmd.Context(), args[0])
			})
		},
	}
	addFormat(cmd, &out)
	w.add(cmd, defaultTimeout)
	return cmd
}

// change runs one change of a preview, waits if asked to, and prints the result.
func change(ctx context.Context, s streams, conn *connection, out format, w *waiting, do func(*client.Client) (*client.Preview, error)) error {
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
		if p, err = w.followReady(ctx, c, p, s.err); err != nil {
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
		Use: "extend NAME DURATION", Short: "Let a preview live for at least that long from now; never shortens", Example: "  mayfly extend shop-trial 2d", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd.Context(), s, conn, out, &waiting{}, func(c *client.Client) (*client.Preview, error) {
				return c.ChangePreview(cmd.Context(), args[0], client.ChangePreview{TTL: args[1]})
			})
		},
	}
	addFormat(cmd, &out)
	return cmd
}

func newSuspendCommand(s streams, conn *connection) *cobra.Command {
	return newSleepCommand(s, conn, true, &cobra.Command{
		Use: "suspend NAME", Short: "Stop a preview's Postgres; its data stays, and it wakes on connect", Example: "  mayfly suspend shop-trial --wait",
	})
}

func newWakeCommand(s streams, conn *connection) *cobra.Command {
	return newSleepCommand(s, conn, false, &cobra.Command{
		Use: "wake NAME", Short: "Start a suspended preview's Postgres before somebody connects", Example: "  mayfly wake shop-trial --wait",
	})
}

func newSleepCommand(s streams, conn *connection, suspended bool, cmd *cobra.Command) *cobra.Command {
	var w waiting
	out := format("table")
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return change(cmd.Context(), s, conn, out, &w, func(c *client.Client) (*client.Preview, error) {
			return c.ChangePreview(cmd.Context(), args[0], client.ChangePreview{Suspended: &suspended})
		})
	}
	addFormat(cmd, &out)
	w.add(cmd, defaultTimeout)
	return cmd
}

func newRemoveCommand(s streams, conn *connection) *cobra.Command {
	var w waiting
	out := format("table")
	cmd := &cobra.Command{
		Use: "rm NAME...", Short: "Remove previews with everything they have", Example: "  mayfly rm shop-trial\n  mayfly rm shop-a shop-b --wait", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			removed := []*client.Preview{}
			var failures []error
			for _, name := range args {
				p, err := remove(cmd.Context(), s, c, &w, name)
				if err != nil {
					failures = append(failures, err)
					continue
				}
				removed = append(removed, p)
				switch {
				case out == "json":
				case w.wait:
					fmt.Fprintln(s.out, name+" is removed")
				default:
					fmt.Fprintln(s.out, name+" is being removed")
				}
			}
			if out == "json" {
				failures = append(failures, printJSON(s.out, removed))
			}
			return errors.Join(failures...)
		},
	}
	addFormat(cmd, &out)
	w.add(cmd, defaultTimeout)
	return cmd
}

func remove(ctx context.Context, s streams, c *client.Client, w *waiting, name string) (*client.Preview, error) {
	p, err := c.DeletePreview(ctx, name)
	if err != nil || !w.wait {
		return p, err
	}
	gone, err := w.follow(ctx, c, p, s.err, func(p *client.Preview) bool { return p.State == string(mayfly.PreviewDeleted) })
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound { // it was gone before it could be followed
		gone, err = p, nil
		gone.State, gone.Settled = string(mayfly.PreviewDeleted), true
	}
	return gone, err
}

func newReportCommand(s streams, conn *connection) *cobra.Command {
	out := format("json")
	cmd := &cobra.Command{
		Use: "report NAME", Short: "Print what the pull request's migrations did, as JSON", Example: "  mayfly report shop-pr-42 | jq .applied", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.only("json"); err != nil {
				return err
			}
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
	addJSON(cmd, &out)
	return cmd
}
