package localproxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The requests before a session (PostgreSQL docs, 55.7, "Message Formats") and their answers.
const (
	codeSSLRequest    = 80877103
	codeGSSENCRequest = 80877104

	requestBytes = 8
	answerYes    = 'S'
	answerNo     = 'N'
)

// startupTimeout bounds how long a connection may take until both sides begin to talk.
const startupTimeout = 30 * time.Second

// Proxy passes connections on to one gateway.
type Proxy struct {
	// Gateway is host:port of the gateway.
	Gateway string
	// TLS is how to talk to it; ServerName is filled in from Gateway if it is empty.
	TLS *tls.Config
	// Failed is called with what went wrong with a connection; it may be nil.
	Failed func(error)
}

// Serve accepts connections until ctx ends, then closes all of them and the listener, and returns nil.
func (p *Proxy) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	for {
		client, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept connections: %w", err)
		}
		all.Go(func() {
			if err := p.relay(ctx, client); err != nil && ctx.Err() == nil && p.Failed != nil {
				p.Failed(err)
			}
		})
	}
}

// relay connects one client, and copies bytes until either side ends or ctx does.
func (p *Proxy) relay(ctx context.Context, client net.Conn) error {
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	_ = client.SetDeadline(time.Now().Add(startupTimeout))
	first, err := opening(client)
	if errors.Is(err, io.EOF) { // somebody looked whether the port is open
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the beginning of a session: %w", err)
	}
	server, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	stopServer := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopServer()
	_ = client.SetDeadline(time.Time{})
	if _, err := server.Write(first); err != nil {
		return fmt.Errorf("write to the gateway: %w", err)
	}
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // an end that is not polite is an end
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		done <- struct{}{}
	}
	go pass(server, client)
	go pass(client, server)
	<-done
	select { // what is on its way in the other direction may arrive
	case <-done:
	case <-time.After(time.Second):
	}
	return nil
}

// opening answers requests for encryption with no, and returns the first bytes of what comes after them: the length and the code of a startup
// message or a cancel request.
func opening(client net.Conn) ([]byte, error) {
	for {
		head := make([]byte, requestBytes)
		if _, err := io.ReadFull(client, head); err != nil {
			return nil, err
		}
		switch code := binary.BigEndian.Uint32(head[4:]); {
		case binary.BigEndian.Uint32(head) == requestBytes && (code == codeSSLRequest || code == codeGSSENCRequest):
			if _, err := client.Write([]byte{answerNo}); err != nil {
				return nil, err
			}
		default:
			return head, nil
		}
	}
}

// dial opens an encrypted connection to the gateway (PostgreSQL docs, 55.2.10, "SSL Session Encryption").
func (p *Proxy) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", p.Gateway)
	if err != nil {
		return nil, fmt.Errorf("connect to the gateway: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, requestBytes), codeSSLRequest)
	reply := make([]byte, 1) // not a byte more: what comes behind it in plain text must not slip into the session
	_, err = raw.Write(request)
	if err == nil {
		_, err = io.ReadFull(raw, reply)
	}
	if err == nil && reply[0] != answerYes {
		err = errors.New("it does not encrypt")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask the gateway for encryption: %w", err), raw.Close())
	}
	config := p.TLS.Clone()
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(p.Gateway); err != nil {
			return nil, errors.Join(fmt.Errorf("the gateway's address: %w", err), raw.Close())
		}
	}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("encrypt the connection to the gateway: %w", err), raw.Close())
	}
	return secure, nil
}
