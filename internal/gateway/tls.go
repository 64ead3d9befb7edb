package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// CertificateFile is the file in TLSConfig's directory that has the self-signed certificate alone, for clients'
// sslrootcert.
const CertificateFile = "gateway.crt"

const (
	// selfSignedFile holds the key and the certificate that the gateway made for itself.
	selfSignedFile = "gateway.pem"

	selfSignedYears = 10
	// renewBefore is how long before its end a self-signed certificate is replaced at start.
	renewBefore = 30 * 24 * time.Hour
)

// TLSConfig returns the server's side of TLS. With certFile and keyFile, that certificate is used, and read again when the
// files change: renewing it needs no restart. Without, a self-signed one for hosts (names, "*." wildcards and addresses)
// is made once and kept in dir, which must exist; it is made anew when hosts it does not cover are asked for, or when it
// is about to expire. Errors have CodeInvalid if the given files are wrong.
func TLSConfig(certFile, keyFile, dir string, hosts []string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{alpnProtocol}}
	switch {
	case certFile != "" && keyFile != "":
		files := &certificateFiles{certFile: certFile, keyFile: keyFile}
		if err := files.load(); err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "load the gateway's certificate: %w", err).
				WithHint("both files must be PEM and belong together")
		}
		config.GetCertificate = files.get
	case certFile != "" || keyFile != "":
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the gateway's certificate and key must be given together")
	default:
		cert, err := selfSigned(dir, hosts, time.Now())
		if err != nil {
			return nil, fmt.Errorf("self-signed certificate in %s: %w", dir, err)
		}
		config.Certificates = []tls.Certificate{*cert}
	}
	return config, nil
}

// certificateFiles is a certificate that is read again when its files change.
type certificateFiles struct {
	certFile, keyFile string

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]fileStamp // of the files when they were loaded
}

type fileStamp struct {
	modified time.Time
	size     int64
}

// get keeps the old certificate while the new files are half-written or broken.
func (c *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stamp, err := c.stat(); err == nil && stamp != c.stamp {
		_ = c.load()
	}
	return c.loaded, nil
}

func (c *certificateFiles) load() error {
	stamp, err := c.stat()
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.loaded, c.stamp = &cert, stamp
	return nil
}

func (c *certificateFiles) stat() (stamp [2]fileStamp, err error) {
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return stamp, err
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamp, nil
}

// selfSigned loads the certificate kept in dir or makes one.
func selfSigned(dir string, hosts []string, now time.Time) (*tls.Certificate, error) {
	file := filepath.Join(dir, selfSignedFile)
	content, err := os.ReadFile(file)
	if err == nil {
		if cert, err := tls.X509KeyPair(content, content); err == nil && covers(cert.Leaf, hosts, now) {
			return &cert, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	certificate, key, err := generate(hosts, now)
	if err != nil {
		return nil, err
	}
	content = append(key, certificate...)
	if err := writeFile(file, content, 0o600); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, CertificateFile), certificate, 0o644); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(content, content)
	return &cert, err
}

// covers reports whether the certificate is good for all hosts and for a while.
func covers(cert *x509.Certificate, hosts []string, now time.Time) bool {
	if now.Before(cert.NotBefore) || now.Add(renewBefore).After(cert.NotAfter) {
		return false
	}
	names := map[string]bool{}
	for _, name := range cert.DNSNames {
		names[name] = true
	}
	for _, ip := range cert.IPAddresses {
		names[ip.String()] = true
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			host = ip.String()
		}
		if !names[host] {
			return false
		}
	}
	return true
}

// generate makes a certificate that is its own authority, so that clients can name it as sslrootcert for verify-full.
func generate(hosts []string, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("generate serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Mayfly gateway"},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.AddDate(selfSignedYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("sign: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// writeFile replaces a file as a whole: a crash leaves the old one or the new one.
func writeFile(file string, content []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone already if all went well
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return os.Rename(temporary.Name(), file)
}
