package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// A body that never ends is cut off; a request whose body came has all the time it needs.
func TestBodiesAreBound(t *testing.T) {
	t.Parallel()
	const timeout = 200 * time.Millisecond
	ended := make(chan error, 2)
	server := httptest.NewServer(boundBodies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			select {
			case <-r.Context().Done():
				err = r.Context().Err()
			case <-time.After(2 * timeout): // nothing to wait for: the deadline has passed then
			}
		}
		ended <- err
	}), timeout))
	t.Cleanup(server.Close)
	for _, c := range []struct {
		body string
		want error
	}{{"half", os.ErrDeadlineExceeded}, {"all of it", nil}} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		check(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n%s", c.body)
		check(t, err)
		if err := <-ended; !errors.Is(err, c.want) {
			t.Errorf("body %q: %v, want %v", c.body, err, c.want)
		}
	}
}
