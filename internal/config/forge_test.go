package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
)

func TestHowGitHubIsReached(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		more  string
		fails bool
		every time.Duration
	}{
		{"", false, 5 * time.Second},
		{"comment_interval: 30s", false, 30 * time.Second},
		{"proxy: 'http://proxy.example.com:3128'", false, 5 * time.Second},
		{"comment_interval: 2h", true, 0},
		{"proxy: proxy.example.com", true, 0},
		{"proxy: 'http://user:secret@proxy.example.com'", true, 0},
		{"ca_file: key", true, 0},
		{"ca_file: missing.pem", true, 0},
	} {
		dir := directory(t)
		more := ""
		if tt.more != "" {
			more = ", " + tt.more
		}
		text := strings.Replace(valid, "token_file: token", "token_file: token"+more, 1)
		if err := os.WriteFile(filepath.Join(dir, "mayfly.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(filepath.Join(dir, "mayfly.yaml"))
		if tt.fails {
			if mayfly.ErrorCode(err) != mayfly.CodeInvalid || strings.Contains(err.Error()+mayfly.ErrorHint(err), "secret@") {
				t.Errorf("%s: %v", tt.more, err)
			}
			continue
		}
		if err != nil || c.GitHub.CommentEvery != tt.every {
			t.Errorf("%s: %v, %+v", tt.more, err, c)
		}
	}
}
