package auth_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/mayflydb/mayfly/internal/auth"
)

// TestSealKeyRotation follows a sealed value through a rotation of the key, and to a key of the administrator's own.
func TestSealKeyRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before, err := auth.OpenSealer(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	of := []byte("p1")
	sealed := before.Seal([]byte("secret"), of)
	if err := auth.RotateSealKey(dir); err != nil {
		t.Fatal(err)
	}
	after, err := auth.OpenSealer(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Open(sealed, of); err != nil || string(got) != "secret" {
		t.Errorf("what the key before has sealed: %q, %v", got, err)
	}
	fresh, changed, err := after.Reseal(sealed, of)
	if err != nil || !changed {
		t.Fatalf("sealed anew: %v, %v", changed, err)
	}
	if _, err := before.Open(fresh, of); err == nil {
		t.Error("the key before opens what the new one has sealed")
	}
	if _, changed, err := after.Reseal(fresh, of); err != nil || changed {
		t.Errorf("sealed anew a second time: %v, %v", changed, err)
	}
	if _, _, err := after.Reseal(sealed, []byte("p2")); err == nil {
		t.Error("a value can be moved to another preview by sealing it anew")
	}

	own := base64.StdEncoding.EncodeToString(make([]byte, auth.SealKeySize))
	configured, err := auth.OpenSealer(dir, own+"\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := configured.Open(fresh, of); err != nil || string(got) != "secret" {
		t.Errorf("what the key in the directory has sealed: %q, %v", got, err)
	}
	for _, bad := range []string{"short", own[:20], "not base64!"} {
		if _, err := auth.OpenSealer(dir, bad); err == nil {
			t.Errorf("the key %q is taken", bad)
		}
	}
	// Nothing of it may be readable by others.
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}
