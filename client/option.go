package client

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Option changes one request.
type Option func(http.Header)

// IfMatch makes a change only if what it is about is still the version with that ETag, as Preview.ETag has it. Otherwise the error
// has mayfly.CodePrecondition and nothing was changed.
func IfMatch(etag string) Option { return func(h http.Header) { h.Set("If-Match", etag) } }

// IfNoneMatch has nothing sent, and ErrNotModified returned, if what is asked for is still the version with that ETag.
func IfNoneMatch(etag string) Option { return func(h http.Header) { h.Set("If-None-Match", etag) } }

// ErrNotModified is returned for a request with IfNoneMatch when nothing is new.
var ErrNotModified = errors.New("not modified")

// IdempotencyKey names a request that creates or resets something, so that making it again, also from another process and up to a day
// later, gives the same answer and does nothing twice. Without this option such requests have a random key, which covers the retries
// of this package. The same key with another request is an error with mayfly.CodeIdempotency.
func IdempotencyKey(key string) Option { return func(h http.Header) { h.Set("Idempotency-Key", key) } }

// once gives a request a key of its own.
func once() Option { return IdempotencyKey(rand.Text()) }

const (
	// maximalBusy is how often a request is made again because the server is busy, longestBusy how long it is waited for at a time.
	maximalBusy = 5
	longestBusy = time.Minute
)

// retryAfter reports whether a refused request may be made again, and after which pause: the server names one, and nothing can have
// been done yet, or doing it again does no harm.
func retryAfter(response *http.Response, method string, header http.Header) (time.Duration, bool) {
	pause, ok := pauseOf(response.Header.Get("Retry-After"))
	if !ok || pause > longestBusy {
		return 0, false
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		return pause, true
	case http.StatusServiceUnavailable:
		return pause, method != http.MethodPost || header.Get("Idempotency-Key") != ""
	}
	return 0, false
}

// pauseOf reads a Retry-After header: seconds or a date (RFC 9110, 10.2.3).
func pauseOf(text string) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, int(2*longestBusy/time.Second))) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}

// sleep returns false if ctx ends first, or would.
func sleep(ctx context.Context, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
