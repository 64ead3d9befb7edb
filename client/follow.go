package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// follow calls fn with every event of a stream until fn returns false or ctx ends. A server that is restarted, and a proxy that
// cuts long answers, are no reason to stop: the stream is opened again and begins with what is now.
func follow[T any](ctx context.Context, c *Client, path string, fn func(*T) bool) error {
	var retry retries
	for {
		more := true
		err := followOnce(ctx, c, path, func(value *T) bool {
			retry = retries{}
			more = fn(value)
			return more
		})
		if !more {
			return nil
		}
		if err = retry.after(ctx, err); err != nil {
			return err
		}
	}
}

// followOnce reads one stream of server-sent events (WHATWG HTML, 9.2) whose data is JSON. An end that fn did not ask for is an
// error with errCut.
func followOnce[T any](ctx context.Context, c *Client, path string, fn func(*T) bool) error {
	response, err := c.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	reader := bufio.NewReader(response.Body)
	var data []byte
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil { // also io.EOF: an event that is not ended by an empty line was cut
			return c.unreachable(ctx, fmt.Errorf("the stream of events ended: %w", err))
		}
		line = bytes.TrimRight(line, "\r\n")
		if piece, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(append(data, bytes.TrimPrefix(piece, []byte(" "))...), '\n')
		}
		if len(line) > 0 || len(data) == 0 {
			continue
		}
		value := new(T)
		if err := json.Unmarshal(data, value); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		data = nil
		if !fn(value) {
			return nil
		}
	}
}

// retries says how often, and after which pause, something that broke is tried again.
type retries struct{ failures int }

const (
	maximalFailures = 8 // 100 ms, 200 ms, … 3.2 s, 5 s: about 11 s in all
	firstPause      = 100 * time.Millisecond
	longestPause    = 5 * time.Second
)

// after returns nil when it is time to try again, or err if another try cannot help, ctx ended, or there were enough.
func (r *retries) after(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, errCut) || r.failures == maximalFailures-1 {
		return err
	}
	pause := time.NewTimer(min(firstPause<<r.failures, longestPause))
	defer pause.Stop()
	r.failures++
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return err
	}
}
