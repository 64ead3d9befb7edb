package templates

import (
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// throttle holds all connections to one source together to a rate. The zero rate is unbounded.
type throttle struct {
	limiter *rate.Limiter // nil: unbounded
	chunk   int           // the most that is read at once, so that no wait is long
	clock   func() time.Time
	sleep   func(d time.Duration, closed <-chan struct{})
	mu      sync.Mutex
}

// chunksPerSecond is into how many reads a second's worth of bytes is cut.
const chunksPerSecond = 16

func newThrottle(bytesPerSecond int64, clock func() time.Time) *throttle {
	t := &throttle{clock: clock, sleep: sleepFor}
	if bytesPerSecond > 0 {
		t.chunk = int(min(max(bytesPerSecond/chunksPerSecond, 1<<10), 1<<20))
		t.limiter = rate.NewLimiter(rate.Limit(bytesPerSecond), t.chunk)
	}
	return t
}

// took waits until n bytes, at most a chunk, fit into the rate.
func (t *throttle) took(n int, closed <-chan struct{}) {
	t.mu.Lock() // the limiter gives too much to who comes with an earlier moment than somebody before
	now := t.clock()
	wait := t.limiter.ReserveN(now, n).DelayFrom(now)
	t.mu.Unlock()
	if wait > 0 {
		t.sleep(wait, closed)
	}
}

func sleepFor(d time.Duration, closed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-closed:
	}
}

// wrap returns a connection whose reading is held to the rate. The server is slowed down by TCP's own flow control.
func (t *throttle) wrap(conn net.Conn) net.Conn {
	if t.limiter == nil {
		return conn
	}
	return &throttledConn{Conn: conn, throttle: t, closed: make(chan struct{})}
}

type throttledConn struct {
	net.Conn
	throttle *throttle
	once     sync.Once
	closed   chan struct{}
}

func (c *throttledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.throttle.chunk)])
	if n > 0 {
		c.throttle.took(n, c.closed)
	}
	return n, err
}

func (c *throttledConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
