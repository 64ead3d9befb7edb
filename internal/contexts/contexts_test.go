package contexts_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/contexts"
)

func dir(t *testing.T) contexts.Dir {
	t.Helper()
	return contexts.Dir(filepath.Join(t.TempDir(), "mayfly"))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestUpdate: many processes at once lose nothing, and nobody else can read the files.
func TestUpdate(t *testing.T) {
	t.Parallel()
	d := dir(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			name := fmt.Sprintf("c%02d", i)
			if err := d.Update(func(f *contexts.File) error {
				f.Put(contexts.Context{Name: name, Server: "https://" + name})
				f.Current = name
				return nil
			}); err != nil {
				t.Error(err)
			}
			if err := d.PutToken(name, contexts.Token{Access: name}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f, err := d.Load()
	check(t, err)
	if len(f.Contexts) != 20 || f.Contexts[0].Name != "c00" {
		t.Errorf("%d contexts, the first is %q", len(f.Contexts), f.Contexts[0].Name)
	}
	check(t, filepath.WalkDir(string(d), func(path string, entry os.DirEntry, err error) error {
		check(t, err)
		info, err := entry.Info()
		check(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}))
}

// TestRefreshed: of many processes whose token has ended, one asks for another.
func TestRefreshed(t *testing.T) {
	t.Parallel()
	d, now := dir(t), time.Now()
	check(t, d.PutToken("c", contexts.Token{Access: "old", Refresh: "once", ExpiresAt: now.Add(time.Second), Subject: "alice"}))
	var asked atomic.Int32
	refresh := func(_ context.Context, was contexts.Token) (*contexts.Token, error) {
		asked.Add(1)
		if was.Refresh != "once" {
			t.Errorf("the refresh token is %q", was.Refresh)
		}
		return &contexts.Token{Access: "new", Refresh: "twice", ExpiresAt: now.Add(time.Hour)}, nil
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			got, err := d.Refreshed(t.Context(), "c", now, refresh)
			if err != nil || got.Access != "new" || got.Subject != "alice" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	all.Wait()
	if asked.Load() != 1 {
		t.Errorf("refreshed %d times", asked.Load())
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "../x", "a/b", ".hidden", "a b", "a\n"} {
		if contexts.ValidateName(name) == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
	d := dir(t)
	check(t, os.MkdirAll(string(d), 0o700))
	check(t, os.WriteFile(filepath.Join(string(d), "config.yaml"), []byte("contexts: [{name: ../../etc/x, server: https://x}]"), 0o600))
	if _, err := d.Load(); err == nil {
		t.Error("a file with a name that leads elsewhere is read")
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mayfly.example.com": "https://mayfly.example.com", "HTTP://Example.com:8080/": "http://example.com:8080",
		"https://example.com/mayfly/": "https://example.com/mayfly",
		"ftp://example.com":           "", "https://": "", "https://user:secret@example.com": "", "https://example.com?x=1": "",
	} {
		got, err := contexts.Address(text)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for server, want := range map[string]string{"https://mayfly.example.com": "mayfly.example.com", "http://127.0.0.1:8080": "127.0.0.1-8080", "http://[::1]:80": "1-80"} {
		if got := contexts.NameFor(server); got != want || contexts.ValidateName(got) != nil {
			t.Errorf("%s: %q", server, got)
		}
	}
}
