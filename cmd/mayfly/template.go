package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newTemplateCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "template", Aliases: []string{"templates"}, Short: "Build, list, roll back and remove templates",
		Example: "  mayfly template build --project shop --wait\n  mayfly template ls --project shop\n  mayfly template rollback --project shop --reason 'orders are missing'",
	}
	cmd.AddCommand(newTemplateBuildCommand(s), newTemplateListCommand(s), newTemplateShowCommand(s), newTemplateVerifyCommand(s),
		newTemplateCancelCommand(s), newTemplateRollbackCommand(s), newTemplateRemoveCommand(s))
	return group(cmd)
}

func newTemplateBuildCommand(s *shell) *cobra.Command {
	var name string
	var w waiting
	var verbose bool
	cmd := &cobra.Command{
		Use: "build", Short: "Build a new template from the project's source", Example: "  mayfly template build --project shop --wait", Args: cobra.NoArgs,
	}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		name, err := s.project(ctx, c, name)
		if err != nil {
			return nil, err
		}
		t, err := c.BuildTemplate(ctx, name)
		if err != nil {
			return nil, interrupted(err, "asking for a template", "mayfly template ls --project "+name)
		}
		if w.wait {
			if t, err = followBuild(ctx, c, t.ID, time.Duration(w.timeout), newBuildProgress(s.progress(), verbose)); err != nil {
				return nil, err
			}
		}
		return s.templatesAnswer(t, *t), nil
	})
	s.addProject(cmd, &name)
	w.add(cmd, 24*time.Hour)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "with --wait: a line for every table, too")
	return cmd
}

func newTemplateListCommand(s *shell) *cobra.Command {
	var name string
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List a project's templates", Example: "  mayfly template ls --project shop", Args: cobra.NoArgs}
	s.remote(cmd, urlFormats, func(ctx context.Context, c *client.Client, _ []string) (*answer, error) {
		name, err := s.project(ctx, c, name)
		if err != nil {
			return nil, err
		}
		all, err := c.Templates(ctx, name)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			all = []client.Template{}
			s.note("there are no templates yet; build one with: mayfly template build --wait")
		}
		warnTooOld(s.progress(), all)
		return s.templatesAnswer(all, all...), nil
	})
	s.addProject(cmd, &name)
	return cmd
}

// templatesAnswer shows templates as a table; -o url prints their addresses in the API.
func (s *shell) templatesAnswer(value any, all ...client.Template) *answer {
	ids, rows := []string{}, make([][]string, len(all))
	for i, t := range all {
		ids = append(ids, t.ID)
		rows[i] = []string{"v" + strconv.Itoa(t.Version), templateStateText(t), t.Source, bytesText(t.SizeBytes), strconv.FormatInt(t.RowCount, 10), age(t.CreatedAt), t.ID}
	}
	return &answer{value: value, names: ids, urls: s.apiURLs("/templates/", ids...), table: func(w *screen) error {
		return w.rows([]string{"VERSION", "STATE", "SOURCE", "SIZE", "ROWS", "AGE", "ID"}, rows)
	}}
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
