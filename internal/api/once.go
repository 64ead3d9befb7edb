package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

const (
	headerIdempotencyKey = "Idempotency-Key"
	maximalKey           = 255
)

// turns lets one request at a time of each name through: a hundred that ask for the same at once would do the work a hundred times, of
// which the state database lets one count.
type turns struct {
	mu     sync.Mutex
	byName map[string]*turn
}

type turn struct {
	free    chan struct{}
	waiting int
}

// take waits for the turn; the function that it returns must be called.
func (t *turns) take(ctx context.Context, name string) (done func(), err error) {
	t.mu.Lock()
	if t.byName == nil {
		t.byName = map[string]*turn{}
	}
	mine := t.byName[name]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		t.byName[name] = mine
	}
	mine.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.waiting--; mine.waiting == 0 {
			delete(t.byName, name)
		}
	}
	select {
	case <-mine.free:
		return func() { mine.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// readOnce reads the Idempotency-Key of a request, nil if it has none, and waits for those that have the same. What is asked for is told
// apart by method, path and body; what is waited for afterwards is no part of it. done must be called when the work is done.
func (a *API) readOnce(c echo.Context) (once *store.Once, done func(), err error) {
	key := c.Request().Header.Get(headerIdempotencyKey)
	if key == "" {
		return nil, func() {}, nil
	}
	if len(key) > maximalKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, nil, mayfly.InvalidField(headerIdempotencyKey, "the Idempotency-Key is not usable").
			WithHint("use up to %d printable ASCII characters without spaces, such as a UUID", maximalKey)
	}
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return nil, nil, err
	}
	c.Request().Body = io.NopCloser(bytes.NewReader(body))
	digest := sha256.New()
	for _, part := range [][]byte{[]byte(c.Request().Method), []byte(c.Request().URL.Path), bytes.TrimSpace(body)} {
		digest.Write(part)
		digest.Write([]byte{0})
	}
	once = &store.Once{Subject: bearer(c).Subject, Key: key, Digest: digest.Sum(nil)}
	done, err = a.turns.take(c.Request().Context(), once.Subject+"\x00"+key)
	return once, done, err
}
