package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newTemplateCommand(s streams, conn *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "template", Aliases: []string{"templates"}, Short: "Build, list, roll back and remove templates"}
	cmd.AddCommand(newTemplateBuildCommand(s, conn), newTemplateListCommand(s, conn), newTemplateShowCommand(s, conn), newTemplateVerifyCommand(s, conn),
		newTemplateCancelCommand(s, conn), newTemplateRollbackCommand(s, conn), newTemplateRemoveCommand(s, conn))
	return group(cmd)
}

func newTemplateBuildCommand(s streams, conn *connection) *cobra.Command {
	var name string
	var w waiting
	var verbose bool
	out := format("table")
	cmd := &cobra.Command{
		Use: "build", Short: "Build a new template from the project's source", Example: "  mayfly template build --project shop --wait", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			name, err := project(cmd.Context(), c, name)
			if err != nil {
				return err
			}
			t, err := c.BuildTemplate(cmd.Context(), name)
			if err != nil {
				return err
			}
			if w.wait {
				if t, err = followBuild(cmd.Context(), c, t.ID, time.Duration(w.timeout), newBuildProgress(s.err, verbose)); err != nil {
					return err
				}
			}
			if out == "json" {
				return printJSON(s.out, t)
			}
			return printTemplates(s.out, []client.Template{*t})
		},
	}
	addProject(cmd, &name)
	addFormat(cmd, &out)
	w.add(cmd, 24*time.Hour)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "with --wait: a line for every table, too")
	return cmd
}

func newTemplateListCommand(s streams, conn *connection) *cobra.Command {
	var name string
	out := format("table")
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List a project's templates", Example: "  mayfly template ls --project shop", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			name, err := project(cmd.Context(), c, name)
			if err != nil {
				return err
			}
			all, err := c.Templates(cmd.Context(), name)
			if err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, all)
			}
			if len(all) == 0 {
				fmt.Fprintln(s.err, "there are no templates yet; build one with: mayfly template build --wait")
			}
			warnTooOld(s.err, all)
			return printTemplates(s.out, all)
		},
	}
	addProject(cmd, &name)
	addFormat(cmd, &out)
	return cmd
}

func printTemplates(w io.Writer, all []client.Template) error {
	rows := make([][]string, len(all))
	for i, t := range all {
		rows[i] = []string{"v" + strconv.Itoa(t.Version), templateStateText(t), t.Source, bytesText(t.SizeBytes), strconv.FormatInt(t.RowCount, 10), age(t.CreatedAt), t.ID}
	}
	return table(w, []string{"VERSION", "STATE", "SOURCE", "SIZE", "ROWS", "AGE", "ID"}, rows)
}

// templateStateText is a template's state with what else matters about it.
func templateStateText(t client.Template) string {
	var notes []string
	if t.Failure != nil {
		notes = append(notes, t.Failure.Code)
	}
	if t.Current {
		notes = append(notes, "current")
	}
	if t.TooOld {
		notes = append(notes, "too old")
	}
	if t.RolledBack != nil {
		notes = append(notes, "rolled back")
	}
	if t.Cancelled != nil && t.State == string(mayfly.TemplateBuilding) {
		notes = append(notes, "being cancelled")
	}
	if len(notes) == 0 {
		return t.State
	}
	return t.State + " (" + strings.Join(notes, ", ") + ")"
}

func warnTooOld(w io.Writer, all []client.Template) {
	for _, t := range all {
		if t.TooOld {
			fmt.Fprintf(w, "warning: v%d, which new previews use, is %s old, more than templates.max_age; build a new one with: mayfly template build --project %s\n",
				t.Version, age(t.CreatedAt), t.Project)
		}
	}
}
