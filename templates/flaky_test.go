package templates

import (
	"net"
	"sync"
)

// flaky is a way to a server that breaks after some bytes.
type flaky struct {
	listener net.Listener
	target   string
	wait     sync.WaitGroup

	mu    sync.Mutex
	left  int64
	conns []net.Conn
	dead  bool
}

func (f *flaky) accept() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp4", f.target)
		if err != nil || !f.keep(client, server) {
			_ = client.Close()
			continue
		}
		f.wait.Go(func() { f.pass(server, client, false) })
		f.wait.Go(func() { f.pass(client, server, true) })
	}
}

func (f *flaky) keep(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, conns...)
	return !f.dead
}

func (f *flaky) pass(to, from net.Conn, counted bool) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if counted && !f.spend(int64(n)) {
			f.cut()
			return
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			_ = to.Close()
			return
		}
	}
}

func (f *flaky) spend(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left -= n
	return f.left > 0
}

func (f *flaky) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	_ = f.listener.Close()
	for _, c := range f.conns {
		_ = c.Close()
	}
}
