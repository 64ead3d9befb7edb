package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func newLogsCommand(s *shell) *cobra.Command {
	var o client.LogOptions
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Print what a preview's Postgres wrote into its log", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Example: "  mayfly logs shop-pr-42 --lines 50\n  mayfly logs shop-pr-42 --follow",
	}
	s.remote(cmd, plainFormats, func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		if o.Follow && cmd.Flags().Changed("output") && cmd.Flag("output").Value.String() != "table" {
			return nil, usage("--follow prints lines as they come: leave -o out")
		}
		body, err := c.Logs(ctx, args[0], o)
		if err != nil {
			return nil, err
		}
		if o.Follow {
			return &answer{table: func(w *screen) error {
				defer body.Close()
				_, err := io.Copy(cleaned{w}, body)
				if ctx.Err() != nil { // Ctrl-C is how it ends
					return nil
				}
				return cut(err)
			}}, nil
		}
		defer body.Close()
		const longest = 64 << 20
		raw, err := io.ReadAll(io.LimitReader(body, longest))
		if err != nil {
			return nil, cut(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
		return &answer{value: map[string]any{"preview": args[0], "lines": lines}, table: func(w *screen) error {
			_, err := fmt.Fprint(cleaned{w}, string(raw))
			return err
		}}, nil
	})
	cmd.Flags().IntVarP(&o.Lines, "lines", "n", 200, "how many of the last lines")
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on with what is written, until Ctrl-C")
	return cmd
}

func cut(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeInternal, "the log broke off: %w", err).WithHint("try again")
}

// cleaned takes out what a terminal would obey: a log quotes SQL.
type cleaned struct{ *screen }

// Write implements io.Writer.
func (c cleaned) Write(p []byte) (int, error) {
	if !c.terminal {
		return c.screen.Write(p)
	}
	if _, err := io.WriteString(c.Writer, clean(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
