package webhooks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/mayflydb/mayfly"
)

// DefaultReadTimeout is longer than the 10 seconds after which GitHub gives up by itself.
const DefaultReadTimeout = 15 * time.Second

// DefaultLargeBodies is how many large bodies are read at the same time: with DefaultMaxBody, 100 MiB.
const DefaultLargeBodies = 4

// smallBody is how much of a body is read without waiting for a turn. Most deliveries are smaller (a pull request's are about
// 30 KiB), so they come through however many strangers take their time over large ones.
const smallBody = 64 << 10

// bound puts the time that a sender has on the connection. It stays there when the request is refused, because the server then
// still reads what is left of the body.
func bound(ctx context.Context, w http.ResponseWriter) {
	deadline, _ := ctx.Deadline()
	_ = http.NewResponseController(w).SetReadDeadline(deadline) // a writer without a connection has no deadlines
}

// unbound ends the time that a sender has: the connection is watched while the delivery is stored, and used again.
func unbound(w http.ResponseWriter) { _ = http.NewResponseController(w).SetReadDeadline(time.Time{}) }

// verified reads the body and checks its signature. It holds a turn for no longer than that: who signs is no stranger.
func (h *handler) verified(ctx context.Context, w http.ResponseWriter, r *http.Request, mac []byte) ([]byte, int, *mayfly.Error) {
	source := http.MaxBytesReader(w, r.Body, h.maxBody)
	var body bytes.Buffer // grows with what arrives, whatever Content-Length promises
	_, err := io.CopyN(&body, source, smallBody)
	if err == nil {
		select {
		case h.large <- struct{}{}:
			defer func() { <-h.large }()
		case <-ctx.Done():
			w.Header().Set("Retry-After", strconv.Itoa(int(max(time.Second, h.readTimeout).Seconds())))
			w.Header().Set("Connection", "close")
			return nil, http.StatusServiceUnavailable, mayfly.Errorf(mayfly.CodeTimeout, "too many large deliveries are being received").
				WithHint("redeliver it from the webhook's page on GitHub; open pull requests are also reconciled periodically")
		}
		_, err = body.ReadFrom(source)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge, h.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return nil, http.StatusRequestTimeout, mayfly.Errorf(mayfly.CodeTimeout, "the body did not come within %s", h.readTimeout).
			WithHint("redeliver it from the webhook's page on GitHub")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, http.StatusBadRequest, mayfly.Errorf(mayfly.CodeInvalid, "the body ended early: %w", err)
	}
	if !verify(h.secrets, body.Bytes(), mac) {
		return nil, http.StatusUnauthorized, h.unverified()
	}
	return body.Bytes(), 0, nil
}
