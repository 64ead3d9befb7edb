package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

const (
	defaultLines = 200
	maximalLines = 5000
	// maximalLog bounds what is sent of a log at once, maximalFollow what is sent while it is followed, and followTime for how long.
	maximalLog    = 1 << 20
	maximalFollow = 64 << 20
	followTime    = time.Hour
)

// previewLogs shows what a preview's Postgres wrote. It is as much as to see its data: a statement that failed has values in it.
func (a *API) previewLogs(c echo.Context) error {
	p, err := a.preview(c, auth.ScopeCredentialsRead)
	if err != nil {
		return err
	}
	lines, follow, err := readLogQuery(c)
	if err != nil {
		return err
	}
	err = a.Store.Audit(c.Request().Context(), store.AuditEntry{Action: "logs.read", Project: p.Project, Kind: "preview", Name: p.Name, ObjectID: p.ID})
	if err != nil {
		return err
	}
	if follow {
		return a.followLogs(c, p, lines)
	}
	var text bytes.Buffer
	if err := a.Previews.Logs(c.Request().Context(), p, lines, false, &text); err != nil {
		return err
	}
	return c.Blob(http.StatusOK, echo.MIMETextPlainCharsetUTF8, lastBytes(text.Bytes(), maximalLog))
}

func readLogQuery(c echo.Context) (lines int, follow bool, err error) {
	lines = defaultLines
	if text := c.QueryParam("lines"); text != "" {
		if lines, err = strconv.Atoi(text); err != nil || lines < 1 || lines > maximalLines {
			return 0, false, mayfly.InvalidField("lines", "lines: %q is not a number from 1 to %d", text, maximalLines)
		}
	}
	switch text := c.QueryParam("follow"); text {
	case "", "false":
	case "true":
		follow = true
	default:
		return 0, false, mayfly.InvalidField("follow", "follow: %q is neither true nor false", text)
	}
	return lines, follow, nil
}

// lastBytes returns the end of a text, from the beginning of a line on.
func lastBytes(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	text = text[len(text)-most:]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}

// followLogs sends a log as it grows, until the client leaves, its token is no longer good, or it was enough.
func (a *API) followLogs(c echo.Context, p *mayfly.Preview, lines int) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), followTime)
	defer cancel()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		beat := time.NewTicker(a.Heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.stopping:
				cancel()
				return
			case <-beat.C:
				if a.stillAllowed(ctx, c) != nil {
					cancel()
					return
				}
			}
		}
	})
	w := &flushing{response: c.Response(), left: maximalFollow}
	err := a.Previews.Logs(ctx, p, lines, true, w)
	if errors.Is(err, errEnough) || (err != nil && c.Response().Committed) {
		return nil
	}
	if err == nil && !c.Response().Committed {
		return c.Blob(http.StatusOK, echo.MIMETextPlainCharsetUTF8, nil)
	}
	return err
}

var errEnough = errors.New("enough was sent")

// flushing sends what is written to it at once, up to a bound.
type flushing struct {
	response *echo.Response
	left     int
}

var _ io.Writer = (*flushing)(nil)

func (f *flushing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errEnough
	}
	if !f.response.Committed {
		f.response.Header().Set(echo.HeaderContentType, echo.MIMETextPlainCharsetUTF8)
		f.response.Header().Set("X-Accel-Buffering", "no")
		f.response.WriteHeader(http.StatusOK)
	}
	n, err := f.response.Write(p)
	f.response.Flush()
	return n, err
}
