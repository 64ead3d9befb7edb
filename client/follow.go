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

	mayfly "github.com/mayflydb/mayfly"
)

// follow calls fn with every event of that name of a stream until fn returns false or ctx ends. A server that is restarted, and a
// proxy that cuts long answers, are no reason to stop: the stream is opened again and begins with what is now, and with what came
// after the last event of those that have an id.
func follow[T any](ctx context.Context, c *Client, path, event string, fn func(*T) bool) error {
	var retry retries
	var last string
	for {
		more := true
		err := followOnce(ctx, c, path, event, &last, func(value *T) bool {
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

// followOnce reads one stream of server-sent events (WHATWG HTML, 9.2) whose data is JSON, and keeps the id of the last event in
// last. An end that fn did not ask for is an error with errCut, unless the server says why in an event "error".
func followOnce[T any](ctx context.Context, c *Client, path, event string, last *string, fn func(*T) bool) error {
	var opts []Option
	if *last != "" {
		opts = append(opts, func(h http.Header) { h.Set("Last-Event-ID", *last) })
	}
	response, err := c.request(ctx, http.MethodGet, path, nil, nil, opts...)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	reader := bufio.NewReader(response.Body)
	for {
		e, err := readEvent(reader)
		if err != nil { // also io.EOF: an event that is not ended by an empty line was cut
			return c.unreachable(ctx, fmt.Errorf("the stream of events ended: %w", err))
		}
		if e.name == "error" {
			return problemError(e.data)
		}
		if e.name == event {
			value := new(T)
			if err := json.Unmarshal(e.data, value); err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			if !fn(value) {
				return nil
			}
		}
		if e.id != "" { // only now: it was dealt with
			*last = e.id
		}
	}
}

type streamEvent struct {
	name, id string
	data     []byte
}

// readEvent reads the next event that has data.
func readEvent(reader *bufio.Reader) (streamEvent, error) {
	var e streamEvent
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			return e, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if len(e.data) > 0 {
				return e, nil
			}
			e = streamEvent{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "id":
			e.id = string(value)
		case "data":
			e.data = append(append(e.data, value...), '\n')
		}
	}
}

func problemError(data []byte) error {
	var p Problem
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	return &mayfly.Error{Code: mayfly.Code(p.Code), Message: p.Detail, Hint: p.Hint}
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
