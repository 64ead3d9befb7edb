package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
)

// previewEvents streams a preview as server-sent events: an event "step" for every step that begins or ends, and an event "preview" with
// its whole state now and after every change, until it is gone or the client leaves.
func (a *API) previewEvents(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	return a.stream(c, "preview", p.ID, func(ctx context.Context) (any, bool, error) {
		now, err := a.Store.Preview(ctx, p.ID)
		if err != nil {
			return nil, false, err
		}
		steps, err := a.Store.Steps(ctx, p.ID)
		if err != nil {
			return nil, false, err
		}
		out := a.previewJSON(now, steps)
		return out, now.State == mayfly.PreviewDeleted, a.addQueue(ctx, &out)
	})
}

// stream writes events now and after every change of id, until read says that it was the last or the client leaves: the steps that began
// or ended, each with its place in the timeline as its id, and then what read returns. A client that comes back with the id of the last
// event that it had (Last-Event-ID) gets the steps after it.
func (a *API) stream(c echo.Context, event, id string, read func(context.Context) (value any, last bool, err error)) error {
	ctx := c.Request().Context()
	changes, stop := a.Watcher.Watch(id)
	defer stop()
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(a.Heartbeat)
	defer beat.Stop()
	steps := &stepEvents{api: a, owner: id, sent: map[int64]int64{}}
	steps.from, _ = strconv.ParseInt(c.Request().Header.Get("Last-Event-ID"), 10, 64)
	steps.last = steps.from
	for {
		value, last, err := read(ctx)
		if err != nil {
			return err
		}
		if err := steps.write(ctx, w); err != nil {
			return nil // the client is gone, or will come back
		}
		if err := writeEvent(w, event, steps.last, value); err != nil || last {
			return nil
		}
		w.Flush()
		if !a.waitForChange(c, changes, beat.C) {
			return nil
		}
	}
}

func writeEvent(w *echo.Response, event string, id int64, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if id > 0 {
		if _, err := fmt.Fprintf(w, "id: %d\n", id); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, encoded)
	return err
}

// stepEvents writes what changed in a timeline. It reads from where it began each time: transactions that end in another order than they
// took their numbers must not hide a step.
type stepEvents struct {
	api   *API
	owner string
	from  int64
	last  int64
	sent  map[int64]int64 // by step: the change that was sent last
}

func (s *stepEvents) write(ctx context.Context, w *echo.Response) error {
	changes, err := s.api.Store.StepChanges(ctx, s.owner, s.from)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if seq, ok := s.sent[change.ID]; ok && seq == change.Seq {
			continue
		}
		s.sent[change.ID] = change.Seq
		s.last = max(s.last, change.Seq)
		step := client.StepEvent{StepID: change.ID, Step: s.api.stepsJSON([]mayfly.Step{change.Step})[0]}
		if err := writeEvent(w, "step", s.last, step); err != nil {
			return err
		}
	}
	return nil
}

// waitForChange keeps the connection alive until there is a change; false when the client left, the server stops, or the client's token
// is no longer good, which it is told.
func (a *API) waitForChange(c echo.Context, changes <-chan struct{}, beat <-chan time.Time) bool {
	ctx, w := c.Request().Context(), c.Response()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-a.stopping:
			return false
		case <-changes:
			return true
		case <-beat:
			if err := a.stillAllowed(ctx, c); err != nil {
				_ = writeEvent(w, "error", 0, problemOf(err))
				return false
			}
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return false
			}
			w.Flush()
		}
	}
}
