package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// cancelTimeout bounds forwarding a cancel request.
const cancelTimeout = 5 * time.Second

// cancelRequest is a CancelRequest: process id and secret key, together as they came.
type cancelRequest struct{ key string }

// parseCancel takes keys of 4 bytes (protocol 3.0) to 256 bytes (3.2).
func parseCancel(body []byte) (*cancelRequest, error) {
	if n := len(body) - 8; n < minCancelKey || n > maxCancelKey {
		return nil, fmt.Errorf("%w: cancel key of %d bytes", errGarbage, n)
	}
	return &cancelRequest{key: string(body[4:])}, nil
}

// cancelKeys maps the keys handed to clients to the backends they stand for. Backends of two previews may have the same
// process id and, with 4-byte keys, the same secret; so clients get a secret of the gateway's, of the same length. The
// process id stays: programs compare it with pg_stat_activity and pg_backend_pid().
type cancelKeys struct {
	mu      sync.Mutex
	targets map[string]cancelTarget // by process id and secret as on the wire
}

type cancelTarget struct {
	instance string
	key      string // process id and secret of the backend
}

func newCancelKeys() *cancelKeys { return &cancelKeys{targets: map[string]cancelTarget{}} }

// add returns the key to hand out for the backend's key.
func (k *cancelKeys) add(instance string, key []byte) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		public := make([]byte, len(key))
		copy(public, key[:4])
		_, _ = rand.Read(public[4:])
		if _, taken := k.targets[string(public)]; !taken {
			k.targets[string(public)] = cancelTarget{instance: instance, key: string(key)}
			return string(public)
		}
	}
}

func (k *cancelKeys) remove(public string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.targets, public)
}

func (k *cancelKeys) lookup(public string) (cancelTarget, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.targets[public]
	return t, ok
}

// cancel forwards a cancel request and returns when the backend has dealt with it, so that the client, which waits for
// the connection to close, knows that the signal has been sent. Nothing is ever answered (PostgreSQL docs, 54.2.8).
func (g *Gateway) cancel(ctx context.Context, request *cancelRequest) (outcome string, err error) {
	found, ok := g.keys.lookup(request.key)
	if !ok {
		return "cancel_unknown", nil
	}
	ctx, done := context.WithTimeout(ctx, cancelTimeout)
	defer done()
	backend, err := g.opts.Dialer.Dial(ctx, found.instance)
	if err != nil {
		return "cancel_failed", fmt.Errorf("dial instance %s: %w", found.instance, err)
	}
	defer func() { _ = backend.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = backend.SetDeadline(past()) })
	defer stop()
	if _, err := backend.Write(encodeCancel(found.key)); err != nil {
		return "cancel_failed", fmt.Errorf("send cancel request to instance %s: %w", found.instance, err)
	}
	_, _ = io.Copy(io.Discard, backend)
	return "cancel_request", nil
}

func encodeCancel(key string) []byte {
	packet := binary.BigEndian.AppendUint32(nil, uint32(8+len(key)))
	packet = binary.BigEndian.AppendUint32(packet, codeCancelRequest)
	return append(packet, key...)
}

// past returns a deadline that has passed.
func past() time.Time { return time.Unix(1, 0) }

// closeWrite tells the peer that no more bytes follow, if the connection can.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // a connection that is gone already needs no goodbye
	}
}
