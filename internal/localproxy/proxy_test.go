package localproxy_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/mayflydb/mayfly/internal/localproxy"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// gateway answers SSLRequests with reply and, after the handshake, sends back what it gets.
func gateway(t *testing.T, reply byte) string {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	t.Cleanup(web.Close)
	listener := listen(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				request := make([]byte, 8)
				if _, err := io.ReadFull(conn, request); err != nil || binary.BigEndian.Uint32(request[4:]) != 80877103 {
					return
				}
				if _, err := conn.Write([]byte{reply}); err != nil || reply != 'S' {
					return
				}
				secure := tls.Server(conn, &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12})
				_, _ = io.Copy(secure, secure)
			}()
		}
	}()
	return listener.Addr().String()
}

func startup(code uint32) []byte { return binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, code) }

// TestProxy: requests for encryption are refused, what comes after them arrives as it is, and the end of the context ends everything.
func TestProxy(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	listener := listen(t)
	proxy := &localproxy.Proxy{Gateway: gateway(t, 'S'), TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, Failed: func(err error) { t.Error(err) }}
	ended := make(chan error, 1)
	go func() { ended <- proxy.Serve(ctx, listener) }()
	client, err := net.Dial("tcp", listener.Addr().String())
	check(t, err)
	defer client.Close()
	for _, code := range []uint32{80877104, 80877103} {
		_, err = client.Write(startup(code))
		check(t, err)
		answer := make([]byte, 1)
		_, err = io.ReadFull(client, answer)
		check(t, err)
		if answer[0] != 'N' {
			t.Errorf("the answer to %d is %q", code, answer)
		}
	}
	sent := append(startup(196608), "and more"...)
	_, err = client.Write(sent)
	check(t, err)
	got := make([]byte, len(sent))
	_, err = io.ReadFull(client, got)
	check(t, err)
	if string(got) != string(sent) {
		t.Errorf("%q came back as %q", sent, got)
	}
	cancel()
	check(t, <-ended)
	if _, err := client.Read(got); err == nil {
		t.Error("the connection goes on when the proxy has ended")
	}
}

// TestNoEncryption: a gateway that does not encrypt, or is not there, gets nothing.
func TestNoEncryption(t *testing.T) {
	t.Parallel()
	for _, address := range []string{gateway(t, 'N'), "127.0.0.1:1"} {
		listener := listen(t)
		failed := make(chan error, 1)
		proxy := &localproxy.Proxy{Gateway: address, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Failed: func(err error) { failed <- err }}
		go func() { _ = proxy.Serve(t.Context(), listener) }()
		client, err := net.Dial("tcp", listener.Addr().String())
		check(t, err)
		_, err = client.Write(startup(196608))
		check(t, err)
		if err := <-failed; err == nil {
			t.Error("no error")
		}
		if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("the client's connection is not closed: %v", err)
		}
		check(t, client.Close())
	}
}
