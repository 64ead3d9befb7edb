package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// fileReach says how GitHub is reached and how often it is written to.
type fileReach struct {
	CAFile       string    `yaml:"ca_file"`
	Proxy        string    `yaml:"proxy"`
	CommentEvery *Duration `yaml:"comment_interval"`
}

// Reach is how GitHub is reached and how often it is written to.
type Reach struct {
	// Authorities are certificates in PEM that are trusted beside the system's; nil for none.
	Authorities []byte
	// Proxy is the address of an http(s) proxy; "" takes it from the environment.
	Proxy string
	// CommentEvery is the least time between two edits of a pull request's comment.
	CommentEvery time.Duration
}

// defaultCommentEvery keeps a comment's edits few: everybody who follows the pull request sees each of them.
const defaultCommentEvery = 5 * time.Second

func (f *fileReach) resolve(dir string) (Reach, error) {
	out := Reach{Proxy: f.Proxy, CommentEvery: defaultCommentEvery}
	if f.CommentEvery != nil {
		out.CommentEvery = time.Duration(*f.CommentEvery)
	}
	if out.CommentEvery < 0 || out.CommentEvery > time.Hour {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "github.comment_interval is not between 0 and 1h")
	}
	if f.Proxy != "" {
		address, err := url.Parse(f.Proxy)
		if err != nil || address.Host == "" || (address.Scheme != "http" && address.Scheme != "https") {
			return out, mayfly.Errorf(mayfly.CodeInvalid, "github.proxy is not an http(s) address").
				WithHint("write it as http://proxy.example.com:3128")
		}
		if address.User != nil {
			return out, mayfly.Errorf(mayfly.CodeInvalid, "github.proxy has a password in it").
				WithHint("set HTTPS_PROXY in the environment of the service instead, and leave github.proxy out")
		}
	}
	if f.CAFile == "" {
		return out, nil
	}
	pem, err := os.ReadFile(inDir(dir, f.CAFile))
	if err != nil {
		return out, fmt.Errorf("github.ca_file: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "github.ca_file has no certificate in PEM").
			WithHint("it is a file with one or more BEGIN CERTIFICATE blocks")
	}
	out.Authorities = pem
	return out, nil
}
