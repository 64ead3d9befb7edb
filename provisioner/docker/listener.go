package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// handlerGrace is how long Run waits for the callbacks of its listener after their connections were closed.
const handlerGrace = 10 * time.Second

// maxRunConns bounds the connections of one command, of all its sockets together: each costs this process a file descriptor, of which
// there are as many as all previews share, and the command could open as many as it likes.
const maxRunConns = 256

func (e *Engine) runsDir() string { return filepath.Join(e.runDir, ".runs") }

// ownerOfRunDir is the owner in a listener directory's name, "<owner>-<run>".
func ownerOfRunDir(name string) string {
	before, _, _ := strings.Cut(name, "-")
	return before
}

// runListener serves Unix sockets in a directory of its own and hands every connection to a callback.
type runListener struct {
	dir       string
	listeners []net.Listener
	log       *slog.Logger

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	done   sync.WaitGroup
}

// listen opens the socket of Postgres alone.
func (e *Engine) listen(ctx context.Context, handle func(net.Conn)) (*runListener, error) {
	return e.listenAt(ctx, map[string]func(net.Conn){socketName: handle})
}

// listenAt opens sockets by their file names. Anyone in the container may connect: whatever user the command runs as.
func (e *Engine) listenAt(ctx context.Context, sockets map[string]func(net.Conn)) (*runListener, error) {
	dir := filepath.Join(e.runsDir(), e.owner.id+"-"+randomHex()[:8])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make listener directory: %w", err)
	}
	l := &runListener{dir: dir, log: e.log, conns: make(map[net.Conn]struct{})}
	//nolint:gosec // the command's user must get in; the run directory above lets nobody else
	err := os.Chmod(dir, 0o711)
	for name, handle := range sockets {
		path := filepath.Join(dir, name)
		var config net.ListenConfig
		var listener net.Listener
		if err == nil {
			listener, err = config.Listen(ctx, "unix", path)
		}
		if err != nil {
			break
		}
		l.listeners = append(l.listeners, listener)
		err = os.Chmod(path, 0o666) //nolint:gosec // as above
		l.done.Go(func() { l.accept(listener, handle) })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the command's connections: %w", err), l.close())
	}
	return l, nil
}

func (l *runListener) accept(listener net.Listener, handle func(net.Conn)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.log.Warn("accepting a command's connection failed", "error", err)
			}
			return
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			_ = conn.Close()
			return
		}
		if len(l.conns) >= maxRunConns {
			l.mu.Unlock()
			_ = conn.Close()
			continue
		}
		l.conns[conn] = struct{}{}
		l.done.Add(1)
		l.mu.Unlock()
		go func() {
			defer l.done.Done()
			defer l.forget(conn)
			handle(conn)
		}()
	}
}

func (l *runListener) forget(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	delete(l.conns, conn)
	l.mu.Unlock()
}

// close ends the listeners and all their connections, waits for the callbacks and removes the directory.
func (l *runListener) close() error {
	for _, listener := range l.listeners {
		_ = listener.Close()
	}
	l.mu.Lock()
	l.closed = true
	for conn := range l.conns {
		_ = conn.Close()
	}
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() { l.done.Wait(); close(ended) }()
	var late error
	select {
	case <-ended:
	case <-time.After(handlerGrace):
		late = errors.New("a listener's callback did not return after its connection was closed")
	}
	if err := os.RemoveAll(l.dir); err != nil {
		return errors.Join(late, fmt.Errorf("remove listener directory: %w", err))
	}
	return late
}
