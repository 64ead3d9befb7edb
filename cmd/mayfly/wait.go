package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// waiting are the flags of commands that can wait.
type waiting struct {
	wait    bool
	sha     string
	timeout duration
}

func (w *waiting) add(cmd *cobra.Command, timeout time.Duration) {
	w.timeout = duration(timeout)
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until it is done, showing the steps as they happen")
	cmd.Flags().Var(&w.timeout, "timeout", "how long to wait at most")
}

// addSHA adds --sha, for commands that look at what a pull request has.
func (w *waiting) addSHA(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.sha, "sha", "", "wait until exactly this commit is applied, also if the preview does not exist yet")
}

const defaultTimeout = 10 * time.Minute

// ready waits until a preview that was not just changed is ready: for the commit if there is one, else for what is wanted now.
func (w *waiting) ready(ctx context.Context, c *client.Client, name string, progress *screen) error {
	if w.sha == "" {
		if !w.wait {
			return nil
		}
		now, err := c.Preview(ctx, name)
		if err != nil {
			return err
		}
		_, err = w.followReady(ctx, c, now, progress)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.timeout))
	defer cancel()
	p, err := c.WaitReady(ctx, name, w.sha)
	if err != nil {
		return w.explain(err, name, "not at commit "+short(w.sha))
	}
	return failureOf(p)
}

// followReady shows the steps of a preview, from what it was on, until it is settled, and fails if it failed.
func (w *waiting) followReady(ctx context.Context, c *client.Client, was *client.Preview, progress *screen) (*client.Preview, error) {
	last, err := w.follow(ctx, c, was, progress, func(p *client.Preview) bool { return p.Settled })
	if err != nil {
		return last, err
	}
	if last.State == string(mayfly.PreviewDeleted) {
		return last, mayfly.Errorf(mayfly.CodeNotFound, "%s was removed meanwhile", last.Name)
	}
	return last, failureOf(last)
}

// failureOf returns the failure of a preview as an error.
func failureOf(p *client.Preview) error {
	if p.Failure == nil || p.State != string(mayfly.PreviewFailed) {
		return nil
	}
	return &mayfly.Error{Code: mayfly.Code(p.Failure.Code), Message: p.Name + ": " + p.Failure.Message, Hint: p.Failure.Hint}
}

// follow shows the steps that were not finished in was, as they finish. Steps are told apart by what the server says of them: this
// machine's clock may differ.
func (w *waiting) follow(ctx context.Context, c *client.Client, was *client.Preview, progress *screen, done func(*client.Preview) bool) (*client.Preview, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.timeout))
	defer cancel()
	last, failure, place := was, "", 0
	shown := map[string]bool{}
	show := func(p *client.Preview, w *screen) {
		for _, step := range p.Steps {
			key := step.Name + step.StartedAt.String()
			if step.FinishedAt == nil || shown[key] {
				continue
			}
			shown[key] = true
			fmt.Fprintln(w, w.stepLine(step))
		}
	}
	show(was, newScreen(io.Discard))
	err := c.FollowPreview(ctx, was.Name, func(p *client.Preview) bool {
		last = p
		show(p, progress)
		if p.Queue != nil && place != p.Queue.Position {
			place = p.Queue.Position
			fmt.Fprintf(progress, "...  waits for room, %d of %d: %s\n", place, p.Queue.Length, clean(p.Queue.Reason))
		}
		if p.Failure != nil && p.Failure.Message != failure && !p.Settled {
			failure = p.Failure.Message
			fmt.Fprintln(progress, "...  waiting: "+clean(failure))
		}
		return !done(p)
	})
	if err != nil {
		return last, w.explain(err, was.Name, last.State)
	}
	return last, nil
}

// explain says what the end of the waiting means for the preview.
func (w *waiting) explain(err error, name, state string) error {
	switch mayfly.ErrorCode(err) {
	case mayfly.CodeTimeout:
		return mayfly.Errorf(mayfly.CodeTimeout, "%s is still %s after %s", name, state, w.timeout.String()).
			WithHint("it goes on; see it with: mayfly get %s", name)
	case mayfly.CodeCancelled:
		return mayfly.Errorf(mayfly.CodeCancelled, "stopped waiting; %s is %s on the server, which goes on", name, state).
			WithHint("mayfly get %s shows how far it is, mayfly rm %s removes it", name, name)
	}
	return err
}
