package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/sanitize"
)

// TestExamples holds the files in examples/ to what the programs read.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"sanitize.yaml", "../sanitize.yaml"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sanitize.Parse(path, raw); err != nil {
			t.Errorf("%v", err)
		}
	}
	raw, err := os.ReadFile("../mayfly.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, secret := range []string{"webhook.secret", "github-app.pem", "shop-replica.dsn", "shop-masking.key"} {
		if err := writeSecret(filepath.Join(dir, secret), "secret"); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(dir, "mayfly.yaml"), raw)
	if err != nil {
		t.Fatalf("examples/mayfly.yaml: %v", err)
	}
	if _, ok := c.Project("shop"); !ok {
		t.Error("examples/mayfly.yaml has no project shop")
	}
}

// TestSearch looks for a needle that is cut in two by the writes.
func TestSearch(t *testing.T) {
	t.Parallel()
	for cut := range len("needle") + 1 {
		s := newSearch([]string{"needle", "other"})
		for _, part := range []string{strings.Repeat("x", 10) + "needle"[:cut], "needle"[cut:] + "x"} {
			if _, err := s.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if s.found != "needle" {
			t.Errorf("a needle that is cut after %d bytes is not found", cut)
		}
	}
}

// TestHidePassword keeps passwords off the screen.
func TestHidePassword(t *testing.T) {
	t.Parallel()
	got := hidePassword("postgres://app:s3cret@127.0.0.1:6432/shop-pr-1?sslmode=require")
	if want := "postgres://app:…@127.0.0.1:6432/shop-pr-1?sslmode=require"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
