package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newTemplateCommand(s streams, conn *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "template", Aliases: []string{"templates"}, Short: "Build and list templates"}
	cmd.AddCommand(newTemplateBuildCommand(s, conn), newTemplateListCommand(s, conn), newTemplateShowCommand(s, conn))
	return group(cmd)
}

func newTemplateBuildCommand(s streams, conn *connection) *cobra.Command {
	var name string
	var w waiting
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
				if t, err = followBuild(cmd.Context(), c, t.ID, time.Duration(w.timeout), s.err); err != nil {
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
	return cmd
}

// followBuild shows a build until it ends: a bar that is redrawn on a terminal, a line per phase and every few seconds elsewhere.
func followBuild(ctx context.Context, c *client.Client, id string, timeout time.Duration, w io.Writer) (*client.Template, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	shown := &buildProgress{w: w, terminal: isTerminal(w), began: time.Now()}
	var last *client.Template
	err := c.FollowTemplate(ctx, id, func(t *client.Template) bool {
		last = t
		shown.show(t)
		return true
	})
	shown.end()
	if err != nil {
		if code := mayfly.ErrorCode(err); code == mayfly.CodeTimeout || code == mayfly.CodeCancelled {
			return last, mayfly.Errorf(code, "stopped waiting after %s; template %s is still being built", time.Since(shown.began).Round(time.Second), id).WithHint("see it with: mayfly template show %s", id)
		}
		return last, err
	}
	if last != nil && last.Failure != nil {
		return last, &mayfly.Error{Code: mayfly.Code(last.Failure.Code), Message: last.Failure.Message, Hint: last.Failure.Hint}
	}
	return last, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

type buildProgress struct {
	w        io.Writer
	terminal bool
	began    time.Time
	steps    int       // finished steps shown
	plainAt  time.Time // of the last plain progress line
	drawn    bool      // a bar is on the current line
}

// plainInterval is how often progress is told where a line cannot be redrawn.
const plainInterval = 5 * time.Second

func (b *buildProgress) show(t *client.Template) {
	for _, step := range t.Steps[min(b.steps, len(t.Steps)):] {
		if step.FinishedAt == nil {
			break
		}
		b.steps++
		b.end()
		fmt.Fprintln(b.w, stepLine(step))
	}
	p := t.Progress
	if p == nil || p.TotalBytes == 0 || p.Bytes >= p.TotalBytes {
		return
	}
	elapsed := time.Since(b.began).Seconds()
	line := fmt.Sprintf("%s of %s, %d of %d tables, %s/s", bytesText(p.Bytes), bytesText(p.TotalBytes), p.TablesDone, p.TablesTotal,
		bytesText(int64(float64(p.Bytes)/max(elapsed, 0.001))))
	switch {
	case b.terminal:
		const width = 30
		full := int(width * p.Bytes / p.TotalBytes)
		fmt.Fprintf(b.w, "\r\x1b[K%-8s [%s%s] %s", p.Phase, repeat('#', full), repeat('.', width-full), line)
		b.drawn = true
	case time.Since(b.plainAt) > plainInterval:
		b.plainAt = time.Now()
		fmt.Fprintln(b.w, "...  "+p.Phase+": "+line)
	}
}

func repeat(c rune, n int) string {
	runes := make([]rune, max(n, 0))
	for i := range runes {
		runes[i] = c
	}
	return string(runes)
}

func (b *buildProgress) end() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = false
	}
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
			return printTemplates(s.out, all)
		},
	}
	addProject(cmd, &name)
	addFormat(cmd, &out)
	return cmd
}

func newTemplateShowCommand(s streams, conn *connection) *cobra.Command {
	out := format("json")
	cmd := &cobra.Command{
		Use: "show ID", Short: "Print a template with its build's timeline and report, as JSON", Example: "  mayfly template show t4k2… | jq .report", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.only("json"); err != nil {
				return err
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			t, err := c.Template(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printJSON(s.out, t)
		},
	}
	addJSON(cmd, &out)
	return cmd
}

func printTemplates(w io.Writer, all []client.Template) error {
	rows := make([][]string, len(all))
	for i, t := range all {
		state := t.State
		if t.Failure != nil {
			state += " (" + t.Failure.Code + ")"
		}
		rows[i] = []string{"v" + strconv.Itoa(t.Version), state, t.Source, bytesText(t.SizeBytes), strconv.FormatInt(t.RowCount, 10), age(t.CreatedAt), t.ID}
	}
	return table(w, []string{"VERSION", "STATE", "SOURCE", "SIZE", "ROWS", "AGE", "ID"}, rows)
}
