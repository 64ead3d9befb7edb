package main

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newAuditCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Look at what was done, by whom, from where and with which token",
		Example: "  mayfly audit ls --action credentials.read --since 24h\n  mayfly audit export --since 2026-01-01T00:00:00Z > audit.jsonl",
	}
	cmd.AddCommand(newAuditListCommand(s), newAuditExportCommand(s))
	return group(cmd)
}

// auditFlags select entries.
type auditFlags struct {
	client.AuditOptions
	since, until string
}

func (f *auditFlags) add(s *shell, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.Project, "project", "p", "", "only what was done in this project")
	flags.StringVar(&f.Actor, "actor", "", "only what this one did, such as github:alice or system:expire")
	flags.StringVar(&f.Action, "action", "", "only this action, such as preview.delete, or all of a kind, such as preview")
	flags.StringVar(&f.Outcome, "outcome", "", "done, denied or failed")
	flags.StringVar(&f.Name, "name", "", "only what was done to the thing of this name, such as a preview")
	flags.StringVar(&f.Token, "with-token", "", "only what was done with the token of this id")
	flags.StringVar(&f.since, "since", "", "only from this moment on: 2026-03-01T04:30:00Z, or 24h ago")
	flags.StringVar(&f.until, "until", "", "only before this moment")
	_ = cmd.RegisterFlagCompletionFunc("project", s.completeProject)
	_ = cmd.RegisterFlagCompletionFunc("outcome", words("done", "denied", "failed"))
}

// options reads moments, which may be so long ago.
func (f *auditFlags) options() (client.AuditOptions, error) {
	o := f.AuditOptions
	for _, moment := range []struct {
		flag, text string
		into       *time.Time
	}{{"since", f.since, &o.Since}, {"until", f.until, &o.Until}} {
		if moment.text == "" {
			continue
		}
		if at, err := time.Parse(time.RFC3339, moment.text); err == nil {
			*moment.into = at
			continue
		}
		ago, err := mayfly.ParseDuration(moment.text)
		if err != nil {
			return o, usage("--%s %s: write a moment such as 2026-03-01T04:30:00Z, or how long ago, such as 24h", moment.flag, moment.text)
		}
		*moment.into = time.Now().Add(-ago)
	}
	return o, nil
}

func newAuditListCommand(s *shell) *cobra.Command {
	var f auditFlags
	var limit int
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List entries of the audit log, newest first", Args: cobra.NoArgs,
		Example: "  mayfly audit ls --limit 20\n  mayfly audit ls --project shop --action credentials.read --since 7d",
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		o, err := f.options()
		if err != nil {
			return nil, err
		}
		all, ids, rows := []client.AuditEntry{}, []string{}, [][]string{}
		for e, err := range c.Audit(ctx, o) {
			if err != nil {
				return nil, err
			}
			if len(all) == limit {
				break
			}
			all, ids = append(all, e), append(ids, strconv.FormatInt(e.ID, 10))
			rows = append(rows, []string{e.At.Local().Format("2006-01-02 15:04:05"), e.Actor, e.Action, e.Outcome, e.Name, e.Address, e.Token})
		}
		return &answer{value: all, names: ids, table: func(w *screen) error {
			return w.rows([]string{"AT", "WHO", "ACTION", "OUTCOME", "WHAT", "FROM", "TOKEN"}, rows)
		}}, nil
	})
	f.add(s, cmd)
	cmd.Flags().IntVarP(&limit, "limit", "n", 100, "how many entries at most")
	return cmd
}

func newAuditExportCommand(s *shell) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "export", Short: "Write the audit log as JSON lines or CSV, newest first", Args: cobra.NoArgs,
		Example: "  mayfly audit export --since 30d > audit.jsonl\n  mayfly audit export -o csv > audit.csv",
	}
	s.remote(cmd, "jsonl csv json yaml", func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		o, err := f.options()
		if err != nil {
			return nil, err
		}
		lines := func(format string) func(*screen) error {
			return func(w *screen) error {
				body, err := c.ExportAudit(ctx, o, format)
				if err != nil {
					return err
				}
				defer body.Close()
				out := bufio.NewWriter(w.Writer)
				if _, err := io.Copy(out, body); err != nil {
					return mayfly.Errorf(mayfly.CodeInternal, "the export broke off: %w", err).WithHint("what was written is not all of it; try again")
				}
				return out.Flush()
			}
		}
		return &answer{valueOf: func() (any, error) {
			all := []client.AuditEntry{}
			for e, err := range c.Audit(ctx, o) {
				if err != nil {
					return nil, err
				}
				all = append(all, e)
			}
			return all, nil
		}, other: map[string]func(*screen) error{"jsonl": lines("jsonl"), "csv": lines("csv")}}, nil
	})
	f.add(s, cmd)
	return cmd
}
