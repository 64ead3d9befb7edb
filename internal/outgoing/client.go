package outgoing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errAddress is the refusal of an address.
var errAddress = errors.New("its address is link-local or otherwise not one of a receiver")

// answer is what a receiver said.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte // its beginning
}

// newClient makes a client that follows no redirects, reads no more than a bit of an answer, and connects to no link-local address:
// what is found there (169.254.169.254) gives away a machine's credentials.
func newClient(allowLinkLocal bool) *http.Client {
	dialer := &net.Dialer{Timeout: requestTimeout}
	if !allowLinkLocal {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return checkAddress(address) }
	}
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2,
			TLSHandshakeTimeout: requestTimeout, ResponseHeaderTimeout: requestTimeout, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkAddress is asked for each address that a name leads to, after it was looked up: a name cannot lead elsewhere later.
func checkAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errAddress
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return errAddress
	}
	addr = addr.Unmap().WithZone("")
	if addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
		return errAddress
	}
	for _, metadata := range []string{"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"} {
		if addr.String() == metadata {
			return errAddress
		}
	}
	return nil
}

// send sends a request and reads the beginning of the answer. Errors do not have the address in them, which may be a secret.
func send(ctx context.Context, client *http.Client, m *made) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, m.method, m.url, bytes.NewReader(m.body))
	if err != nil {
		return nil, errors.New("the address is not one")
	}
	for name, value := range m.headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("User-Agent", "Mayfly")
	response, err := client.Do(request)
	if err != nil {
		return nil, withoutAddress(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", withoutAddress(err))
	}
	out := &answer{status: response.StatusCode, body: body}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		out.retryAfter = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return out, nil
}

// withoutAddress keeps of an error of the client what is not the address.
func withoutAddress(err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "Client.Timeout") {
		return fmt.Errorf("no answer within %s", requestTimeout)
	}
	return err
}
