package forge

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"

	"github.com/mayflydb/mayfly"
)

// NewHTTP returns an HTTP client for a GitHub behind a proxy or with certificates of a private authority. proxy is the address of an
// http(s) proxy, or "" to take it from the environment (HTTPS_PROXY, NO_PROXY). authorities are certificates in PEM that are trusted beside
// the system's, or nil.
func NewHTTP(proxy string, authorities []byte) (*http.Client, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		base = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	transport := base.Clone()
	transport.MaxIdleConnsPerHost = 16 // one host, and several jobs at a time
	if proxy != "" {
		address, err := url.Parse(proxy)
		if err != nil || address.Host == "" || (address.Scheme != "http" && address.Scheme != "https") {
			// The address is left out: it may have a password in it.
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "the proxy for GitHub is not an http(s) address").
				WithHint("write it as http://proxy.example.com:3128, or leave it out to take HTTPS_PROXY from the environment")
		}
		transport.Proxy = http.ProxyURL(address)
	}
	if len(authorities) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(authorities) {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "the certificate authorities for GitHub are not in PEM").
				WithHint("github.ca_file is a file with one or more BEGIN CERTIFICATE blocks")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport}, nil
}
