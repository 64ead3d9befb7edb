package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
)

func newMigrateCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "migrate", Short: "Compare the migrations of a working directory with a database, and apply them to a preview",
		Example: "  mayfly migrate status --preview shop-pr-42 --base origin/main\n  mayfly migrate up --preview shop-trial",
	}
	cmd.AddCommand(newMigrateStatusCommand(s), newMigrateUpCommand(s))
	return group(cmd)
}

// migrateTarget is which files are compared with which database.
type migrateTarget struct {
	dir, path, tool, table, base string
	urlEnv, preview              string

	report *migrations.Report // of the preview, once connected to it; nil if there is none
}

func (m *migrateTarget) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&m.dir, "dir", ".", "root of the working directory")
	flags.StringVar(&m.path, "path", "", "directory with the migrations, from the root; the usual ones are tried if it is left out")
	flags.StringVar(&m.tool, "tool", migrations.Auto, "migration tool; found out from files and tracking table if left out")
	flags.StringVar(&m.table, "table", "", "tracking table, if it is not the tool's usual one")
	flags.StringVar(&m.base, "base", "", "commit or branch to compare with, such as origin/main: shows what the branch adds and edits")
	flags.StringVar(&m.preview, "preview", "", "name of the preview")
}

// connect logs in to the database to compare with.
func (m *migrateTarget) connect(ctx context.Context, server *connection) (*pgx.Conn, error) {
	url := os.Getenv(m.urlEnv)
	switch {
	case m.preview != "":
		c, err := server.client()
		if err != nil {
			return nil, err
		}
		credentials, err := c.Credentials(ctx, m.preview)
		if err != nil {
			return nil, err
		}
		url = credentials.URL
		m.report = reportOf(ctx, c, m.preview)
	case url == "":
		return nil, usage("which database? give --preview, or put its URL into the environment variable %s", m.urlEnv)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil { // the error would show the URL
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the database's URL cannot be read").WithHint("write postgres://user:password@host:port/database")
	}
	config.RuntimeParams["application_name"] = "mayfly migrate"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "connect to the database: %w", err)
	}
	return conn, nil
}

// compared is what both commands need.
type compared struct {
	settings  mayfly.MigrationSettings
	detection migrations.Detection
	plan      migrations.Plan
	refused   error
}

// compare reads the files and the database. What the tool would refuse is in compared.refused.
func (m *migrateTarget) compare(ctx context.Context, conn *pgx.Conn) (*compared, error) {
	dir, err := m.migrationsDir()
	if err != nil {
		return nil, err
	}
	settings := mayfly.MigrationSettings{Tool: m.tool, Path: dir, Table: m.table}
	settings.Runner.Image = "of the project" // it is not run from here, and its files and table are compared without it
	files, err := localFiles(m.dir, dir, settings)
	if err != nil {
		return nil, err
	}
	c := &compared{}
	if c.settings, c.detection, err = migrations.Resolve(ctx, conn, settings, files); err != nil {
		return nil, err
	}
	if c.settings.Tool == "" {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there are no migrations in %s, and the database has no tracking table", dir).
			WithHint("give --path")
	}
	history, err := migrations.Parse(c.settings, files)
	if err != nil {
		return nil, err
	}
	comparison := migrations.Comparison{}
	if comparison.State, err = migrations.ReadState(ctx, conn, c.settings); err != nil {
		return nil, err
	}
	if m.base != "" {
		before, err := filesAtCommit(ctx, m.dir, m.base, dir)
		if err != nil {
			return nil, err
		}
		if comparison.Base, err = migrations.Parse(c.settings, before); err != nil {
			return nil, err
		}
	}
	if m.report != nil && m.report.Recorded != nil {
		comparison.Recorded = m.report.Recorded.Files
	}
	c.plan, c.refused = history.Compare(comparison)
	if m.report != nil {
		c.plan.Findings = append(c.plan.Findings, m.report.OtherFindings()...)
	}
	return c, nil
}

func newMigrateStatusCommand(s *shell) *cobra.Command {
	var m migrateTarget
	cmd := &cobra.Command{
		Use: "status", Short: "Show where every migration of the working directory stands in a database", Args: cobra.NoArgs,
		Example: "  mayfly migrate status --preview shop-pr-42 --base origin/main\n  mayfly migrate status --database-url-env DATABASE_URL --path db/migrations -o json",
		Long: "Show where every migration stands: applied, pending, skipped (the tool will never run it), edited after it was applied, missing,\n" +
			"out of order, duplicate or failed. Nothing is changed. The exit code is 1 if the tool would refuse to go on.",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, _ []string) (*answer, error) {
		db, err := m.connect(cmd.Context(), s.conn)
		if err != nil {
			return nil, err
		}
		defer func() { _ = db.Close(context.WithoutCancel(cmd.Context())) }()
		c, err := m.compare(cmd.Context(), db)
		if err != nil {
			return nil, err
		}
		return &answer{value: c.json(), table: c.print, problem: c.refused}, nil
	})
	m.add(cmd)
	cmd.Flags().StringVar(&m.urlEnv, "database-url-env", "DATABASE_URL", "environment variable with the database's URL")
	return cmd
}

// migrateStatus is the JSON form of migrate status.
type migrateStatus struct {
	Tool       string               `json:"tool"`
	Reason     string               `json:"reason"`
	Path       string               `json:"path"`
	Version    string               `json:"version"`
	Pending    int                  `json:"pending"`
	Refused    string               `json:"refused,omitempty"`
	Migrations []migrations.Status  `json:"migrations"`
	Findings   []migrations.Finding `json:"findings"`
}

func (c *compared) json() migrateStatus {
	status := migrateStatus{
		Tool: c.plan.Tool, Reason: c.detection.Reason, Path: c.settings.Path, Version: c.plan.From, Pending: len(c.plan.Pending),
		Migrations: append([]migrations.Status{}, c.plan.Migrations...), Findings: append([]migrations.Finding{}, c.plan.Findings...),
	}
	if c.refused != nil {
		status.Refused = c.refused.Error()
	}
	return status
}

func (c *compared) print(w *screen) error {
	if w.aligned {
		fmt.Fprintf(w, "%s in %s (%s)\n\n", c.plan.Tool, c.settings.Path, c.detection.Reason)
	}
	rows := make([][]string, len(c.plan.Migrations))
	for i, m := range c.plan.Migrations {
		applied := "-"
		if m.AppliedAt != nil {
			applied = m.AppliedAt.Format("2006-01-02 15:04")
		}
		name := m.Name
		if m.Origin == migrations.OriginPullRequest {
			name += " (this branch)"
		}
		rows[i] = []string{m.Version, name, strings.ReplaceAll(string(m.Status), "_", " "), applied, m.Reason}
	}
	err := w.rows([]string{"VERSION", "NAME", "STATUS", "APPLIED", "WHY"}, rows)
	for _, f := range c.plan.Findings {
		if w.aligned && (f.Kind == migrations.FindingSameVersion || f.Kind == migrations.FindingSameTable) {
			fmt.Fprintf(w, "\n%s: %s\n", f.Kind, f.Message)
		}
	}
	return err
}

func newMigrateUpCommand(s *shell) *cobra.Command {
	var m migrateTarget
	cmd := &cobra.Command{
		Use: "up", Short: "Apply the working directory's pending migrations to a preview", Args: cobra.NoArgs,
		Example: "  mayfly migrate up --preview trial",
		Long: "Apply the working directory's pending migrations to a preview, the way the service does it for pull requests, and print what\n" +
			"happened. It works on previews only; production is for the project's own tool.",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, _ []string) (*answer, error) {
		if m.preview == "" {
			return nil, usage("which preview? give --preview")
		}
		db, err := m.connect(cmd.Context(), s.conn)
		if err != nil {
			return nil, err
		}
		defer func() { _ = db.Close(context.WithoutCancel(cmd.Context())) }()
		c, err := m.compare(cmd.Context(), db)
		if err != nil {
			return nil, err
		}
		if c.refused != nil {
			return nil, c.refused
		}
		return applyTo(cmd.Context(), s, db, c, m.preview)
	})
	m.add(cmd)
	return cmd
}

func applyTo(ctx context.Context, s *shell, db *pgx.Conn, c *compared, preview string) (*answer, error) {
	report, err := migrations.Apply(ctx, db, c.plan, migrations.ApplyOptions{
		DatabaseNames: []string{preview},
		Progress: func(step migrations.Step) {
			if step.Done && step.Error == "" {
				s.note("%d of %d: %s, %.0f ms", step.Index, step.Total, step.File, step.DurationMS)
			}
		},
	})
	if report == nil {
		return nil, err
	}
	return &answer{value: report, problem: err, table: func(w *screen) error {
		if report.Failure == nil {
			fmt.Fprintf(w, "%d applied\n", len(report.Applied))
		}
		return nil
	}}, nil
}
