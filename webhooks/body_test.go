package webhooks_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/webhooks"
)

const (
	largeBody = 1 << 20
	halfBody  = largeBody / 2
	turnless  = 64 << 10 // read without a turn
	slack     = 16 << 10 // headers, and what the server's buffered reader takes at once
)

// countingListener counts what the server reads from each connection.
type countingListener struct {
	net.Listener
	mu    sync.Mutex
	conns []*countingConn
}

type countingConn struct {
	net.Conn
	read atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	counting := &countingConn{Conn: conn}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, counting)
	return counting, nil
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// reading returns how many connections gave the server at least that many bytes.
func (l *countingListener) reading(atLeast int64) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		if c.read.Load() >= atLeast {
			n++
		}
	}
	return n
}

func (l *countingListener) total() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		n += c.read.Load()
	}
	return n
}

// statusWriter tells the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	tell func(status int, header http.Header)
}

func (w statusWriter) WriteHeader(status int) {
	w.tell(status, w.Header())
	w.ResponseWriter.WriteHeader(status)
}

func (w statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// door is the handler behind a real server.
type door struct {
	url      string
	address  string
	listener *countingListener

	mu       sync.Mutex
	statuses map[int]int
}

func openDoor(t *testing.T, o webhooks.Options) *door {
	t.Helper()
	o.Secrets, o.Inbox, o.MaxBody = [][]byte{[]byte("s")}, &memory{}, largeBody
	handler := webhooks.NewHandler(o)
	d := &door{statuses: map[int]int{}}
	tell := func(status int, header http.Header) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.statuses[status]++
		if status == http.StatusServiceUnavailable && header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(statusWriter{w, tell}, r)
	}))
	d.listener = &countingListener{Listener: server.Listener}
	server.Listener = d.listener
	server.Start()
	t.Cleanup(server.Close)
	d.url, d.address = server.URL, server.Listener.Addr().String()
	return d
}

// stranger sends half of a large body with a made-up signature, and then nothing.
func (d *door) stranger(t *testing.T) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() { // blocks when the server does not read
		_, _ = fmt.Fprintf(conn, "POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Type: application/json\r\n%s: sha256=%064d\r\n\r\n%s",
			largeBody, webhooks.SignatureHeader, 0, strings.Repeat("x", halfBody))
	})
	t.Cleanup(func() {
		_ = conn.Close()
		sending.Wait()
	})
	return conn
}

// deliver sends a good delivery and returns the answer's status.
func (d *door) deliver(t *testing.T, id string, size int) int {
	t.Helper()
	body := `{"action":"created"}`
	body += strings.Repeat(" ", max(0, size-len(body)))
	signed := request("s", "star", id, "application/json", body)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/webhooks/github", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = signed.Header
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Logf("deliver %s: %v", id, err) // refused before the body was sent
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

func (d *door) answered(status int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.statuses[status]
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// Strangers with half-sent bodies hold the turns, and 64 KiB each beside them; who sends a usual delivery does not notice.
func TestStrangersHoldBoundedMemory(t *testing.T) {
	t.Parallel()
	const strangers, turns = 20, 2
	d := openDoor(t, webhooks.Options{LargeBodies: turns, ReadTimeout: time.Hour})
	conns := make([]net.Conn, strangers)
	for i := range conns {
		conns[i] = d.stranger(t)
	}
	eventually(t, "every stranger was read from", func() bool { return d.listener.reading(turnless) == strangers })
	eventually(t, "the turns are taken", func() bool { return d.listener.reading(halfBody) == turns })
	if status := d.deliver(t, "usual", 30<<10); status != http.StatusAccepted {
		t.Errorf("a usual delivery between strangers: %d, want 202", status)
	}
	if got, limit := d.listener.total(), int64(turns*(halfBody+slack)+(strangers+1)*(turnless+slack)); got > limit {
		t.Errorf("the server read %d bytes from %d strangers, more than %d", got, strangers, limit)
	}
	for _, conn := range conns { // whoever has a turn gives it back by hanging up
		_ = conn.Close()
	}
	eventually(t, "a large delivery is accepted", func() bool { return d.deliver(t, "large", halfBody) == http.StatusAccepted })
}

// Nobody keeps a turn, or waits for one, longer than the deadline.
func TestStrangersAreCutOff(t *testing.T) {
	t.Parallel()
	const strangers = 10
	d := openDoor(t, webhooks.Options{LargeBodies: 1, ReadTimeout: 300 * time.Millisecond})
	for range strangers {
		d.stranger(t)
	}
	eventually(t, "a large delivery is accepted, at the latest when it is sent again", func() bool {
		return d.deliver(t, "large", halfBody) == http.StatusAccepted
	})
	eventually(t, "every stranger is refused", func() bool {
		return d.answered(http.StatusRequestTimeout)+d.answered(http.StatusServiceUnavailable) >= strangers
	})
	if d.answered(http.StatusRequestTimeout) == 0 {
		t.Error("no stranger ran out of time while it was read from")
	}
	eventually(t, "a large delivery is accepted after the strangers", func() bool {
		return d.deliver(t, "after", halfBody) == http.StatusAccepted
	})
}
