package gateway_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/gateway"
)

func TestSelfSignedCertificateIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hosts := []string{"gateway.example.com", "*.previews.example.com", "192.0.2.7", "::1"}
	first := leaf(t, dir, hosts)
	for _, name := range []string{"gateway.example.com", "shop-pr-42.previews.example.com", "192.0.2.7", "::1"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Errorf("the certificate does not cover %s: %v", name, err)
		}
	}
	if years := first.NotAfter.Sub(first.NotBefore) / (365 * 24 * time.Hour); years < 5 {
		t.Errorf("the certificate is good for %d years", years)
	}
	if again := leaf(t, dir, hosts[:2]); !again.Equal(first) {
		t.Error("a second start made another certificate")
	}
	if more := leaf(t, dir, append(hosts, "new.example.com")); more.Equal(first) || more.VerifyHostname("new.example.com") != nil {
		t.Error("a new host name did not lead to a new certificate")
	}
	info, err := os.Stat(filepath.Join(dir, "gateway.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file has mode %v, %v; want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory has %d files, %v; want the key and the certificate", len(entries), err)
	}
}

// leaf returns the certificate that TLSConfig decides for.
func leaf(t *testing.T, dir string, hosts []string) *x509.Certificate {
	t.Helper()
	config, err := gateway.TLSConfig("", "", dir, hosts)
	if err != nil {
		t.Fatalf("make TLS settings: %v", err)
	}
	cert, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatalf("parse certificate: %v", err)
	}
	return cert
}

func TestBrokenSelfSignedCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gateway.pem"), []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cert := leaf(t, dir, []string{"localhost"}); cert.VerifyHostname("localhost") != nil {
		t.Error("the certificate does not cover its host")
	}
}

func TestGivenCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	old, renewed := leaf(t, dir, []string{"localhost"}), leaf(t, other, []string{"localhost"})
	// The file that has both the key and the certificate serves as either.
	file := filepath.Join(dir, "gateway.pem")
	config, err := gateway.TLSConfig(file, file, "", nil)
	if err != nil {
		t.Fatalf("load the certificate: %v", err)
	}
	check := func(want *x509.Certificate) {
		t.Helper()
		got, err := config.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil || !got.Leaf.Equal(want) {
			t.Errorf("another certificate than the one in the files is served (%v)", err)
		}
	}
	replace := func(content []byte, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(age)); err != nil {
			t.Fatal(err)
		}
	}
	check(old)
	replace([]byte("half a fi"), time.Minute)
	check(old)
	content, err := os.ReadFile(filepath.Join(other, "gateway.pem"))
	if err != nil {
		t.Fatal(err)
	}
	replace(content, 2*time.Minute)
	check(renewed)
}

func TestWrongCertificateFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, files := range map[string][2]string{
		"missing":       {filepath.Join(dir, "no.crt"), filepath.Join(dir, "no.key")},
		"only the cert": {filepath.Join(dir, "no.crt"), ""},
		"only the key":  {"", filepath.Join(dir, "no.key")},
	} {
		if _, err := gateway.TLSConfig(files[0], files[1], dir, nil); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: got %v, want an error with code invalid", name, err)
		}
	}
	if _, err := gateway.TLSConfig("", "", filepath.Join(dir, "missing"), nil); err == nil {
		t.Error("a directory that does not exist was accepted")
	}
}
