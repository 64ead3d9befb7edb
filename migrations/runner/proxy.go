package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Proxy is the runner's way to the hosts that the configuration allows, and to nothing else: an HTTP proxy that knows CONNECT
// alone. The name is resolved here, and an address that is not a public one is not dialled, whatever its name: so that
// an allowed name cannot be made to lead to the host, its neighbours or a cloud's metadata service.
type Proxy struct {
	// Allow are "host:port", or "*.example.com:443" for what is below a domain.
	Allow []string
	// Resolve and Dial replace the system's. Addresses are checked in any case.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial    func(ctx context.Context, address netip.AddrPort) (net.Conn, error)

	mu      sync.Mutex
	refused []string
}

const proxyTimeout = 30 * time.Second

// Refused returns what was asked for and not allowed.
func (p *Proxy) Refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.refused)
}

// Serve handles one connection until its end. The caller closes it.
func (p *Proxy) Serve(ctx context.Context, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(proxyTimeout))
	reader := bufio.NewReaderSize(io.LimitReader(conn, 64<<10), 4<<10)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	if request.Method != http.MethodConnect {
		answer(conn, http.StatusMethodNotAllowed, "this proxy knows CONNECT only: use https")
		return
	}
	server, status, err := p.connect(ctx, request.Host)
	if err != nil {
		p.note(clip(request.Host) + ": " + err.Error())
		answer(conn, status, err.Error())
		return
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _ = server.Close(); _ = conn.Close() })()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffered, _ := reader.Peek(reader.Buffered())
		if _, err := server.Write(buffered); err == nil {
			_, _ = io.Copy(server, conn)
		}
		closeWrite(server)
	}()
	_, _ = io.Copy(conn, server)
	closeWrite(conn)
	_ = conn.SetReadDeadline(time.Now().Add(proxyTimeout))
	<-done
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = conn.Close()
}

func answer(conn net.Conn, status int, message string) {
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(message)+1, message)
}

func (p *Proxy) note(refused string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refused) < maxErrors && !slices.Contains(p.refused, refused) {
		p.refused = append(p.refused, refused)
	}
}

// connect dials what the client asks for, if it may be reached.
func (p *Proxy) connect(ctx context.Context, target string) (net.Conn, int, error) {
	host, port, err := net.SplitHostPort(target)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil {
		return nil, http.StatusBadRequest, errors.New("not host:port")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !Allowed(p.Allow, host, int(number)) {
		return nil, http.StatusForbidden, errors.New("not in migrations.runner.allow")
	}
	ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
	defer cancel()
	resolve := p.Resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addresses, err := resolve(ctx, host)
	if err != nil {
		return nil, http.StatusBadGateway, errors.New("the name cannot be resolved")
	}
	for _, address := range addresses {
		if !Public(address) { // one is enough to distrust the name
			return nil, http.StatusForbidden, errors.New("the name leads to an address that is not public")
		}
	}
	dial := p.Dial
	if dial == nil {
		dial = func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address.String())
		}
	}
	for _, address := range addresses {
		conn, err := dial(ctx, netip.AddrPortFrom(address.Unmap(), uint16(number)))
		if err == nil {
			return conn, 0, nil
		}
	}
	return nil, http.StatusBadGateway, errors.New("it does not answer")
}

// Allowed reports whether a list of "host:port" and "*.domain:port" has the host.
func Allowed(allow []string, host string, port int) bool {
	for _, entry := range allow {
		name, allowedPort, ok := strings.Cut(strings.ToLower(entry), ":")
		if !ok || allowedPort != strconv.Itoa(port) {
			continue
		}
		if domain, wild := strings.CutPrefix(name, "*"); name == host || wild && strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

// Public reports whether an address is one of the internet: neither this host, nor a private network, nor one of the ranges
// that lead to such an address in another form (IANA special-purpose address registries).
func Public(address netip.Addr) bool {
	address = address.Unmap()
	if !address.IsGlobalUnicast() || address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() {
		return false
	}
	for _, special := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "::/96", "::ffff:0:0:0/96", "3fff::/20", "5f00::/16", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
		"fec0::/10",
	} {
		if netip.MustParsePrefix(special).Contains(address) {
			return false
		}
	}
	return true
}
