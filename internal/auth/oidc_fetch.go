package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	mayfly "github.com/mayflydb/mayfly"
)

const (
	issuerTimeout = 10 * time.Second
	// maxIssuerAnswer bounds a discovery document or a set of keys in bytes.
	maxIssuerAnswer = 512 << 10
	// An issuer is asked so often at most: tokens with made-up key ids must not make us a nuisance to it. Discovery and keys are
	// two requests, and a key that is new is known after issuerPeriod at the latest.
	issuerPeriod = 5 * time.Second
	issuerBurst  = 6
)

// checkIssuerURL accepts https, and plain http for loopback addresses.
func checkIssuerURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return mayfly.Errorf(mayfly.CodeInvalid, "%q is not the address of an issuer", text).
			WithHint("write it as its tokens do, such as https://token.actions.githubusercontent.com")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return mayfly.Errorf(mayfly.CodeInvalid, "the issuer %s is not https: anyone on the way could give it other keys", text).WithHint("write https://")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// fetchError is a request to an issuer that brought nothing.
type fetchError struct {
	url     string
	tooSoon bool // it was not sent
	err     error
}

func (e *fetchError) Error() string { return fmt.Sprintf("fetch %s: %s", e.url, e.err) }

func (e *fetchError) Unwrap() error { return e.err }

// issuerTransport bounds how often an issuer is asked and how much of its answer is read.
type issuerTransport struct {
	next    http.RoundTripper
	limiter *rate.Limiter // nil: not bounded
	now     func() time.Time
}

// RoundTrip implements http.RoundTripper.
func (t *issuerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	fail := func(tooSoon bool, err error) error {
		return &fetchError{url: r.URL.Scheme + "://" + r.URL.Host + r.URL.Path, tooSoon: tooSoon, err: err}
	}
	if t.limiter != nil && !t.limiter.AllowN(t.now(), 1) {
		return nil, fail(true, errors.New("it was asked a moment ago"))
	}
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, fail(false, err)
	}
	if response.StatusCode != http.StatusOK && t.limiter != nil {
		_ = response.Body.Close()
		return nil, fail(false, errors.New(response.Status))
	}
	response.Body = boundedBody{Reader: io.LimitReader(response.Body, maxIssuerAnswer), Closer: response.Body}
	return response, nil
}

type boundedBody struct {
	io.Reader
	io.Closer
}

// newIssuerClient makes the client for discovery and keys. It follows no redirects: the issuer's address is the configuration's
// to choose, and documents that are part of a chain of trust have one place.
func newIssuerClient(opts IssuerOptions) *http.Client {
	return clientOver(opts, rate.NewLimiter(rate.Every(issuerPeriod), issuerBurst))
}

// exchangeClient makes the client for the requests by which people sign in, whose number is bounded where they begin.
func exchangeClient(opts IssuerOptions) *http.Client { return clientOver(opts, nil) }

func clientOver(opts IssuerOptions, limiter *rate.Limiter) *http.Client {
	transport := &http.Transport{
		Proxy: opts.Proxy, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: opts.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: issuerTimeout, ResponseHeaderTimeout: issuerTimeout, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
	}
	return &http.Client{
		Transport: &issuerTransport{next: transport, limiter: limiter, now: opts.Now}, Timeout: issuerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, which is not followed")
		},
	}
}
