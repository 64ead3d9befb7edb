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

func write(t *testing.T, dir, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

const valid = `
data_dir: state
gateway: {listen: "0.0.0.0:7000", wait_timeout: 5s}
github: {webhook_secret_file: hook, token_file: token}
projects:
  - name: shop
    repository: acme/shop
    source: {dsn_file: dsn}
    rules: sanitize.yaml
    masking_key_file: key
    postgres: {major: 15, database: shop, owner: app}
    migrations: {tool: golang-migrate, path: /db/migrations/}
    previews: {ttl: 2d, idle_after: never, memory: 512MiB, disk: 1.5GiB}
`

func directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"hook", "token", "dsn", "key"} {
		write(t, dir, name, "value of "+name+"\n", 0o600)
	}
	return dir
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	write(t, dir, "mayfly.yaml", valid, 0o644)
	c, err := config.Load(filepath.Join(dir, "mayfly.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, ok := c.Project("shop")
	if !ok {
		t.Fatal("project shop is missing")
	}
	if p.Source.DSN != "value of dsn" || p.Migrations.Path != "db/migrations" || p.RulesFile != filepath.Join(dir, "sanitize.yaml") {
		t.Errorf("project read wrongly: %+v", p)
	}
	if p.Previews.TTL != 48*time.Hour || p.Previews.IdleAfter >= 0 || p.Previews.MemoryBytes != 512<<20 || p.Previews.DiskBytes != 3<<29 {
		t.Errorf("limits read wrongly: %+v", p.Previews)
	}
	if host, port := c.GatewayAddress(); host != "127.0.0.1" || port != 7000 {
		t.Errorf("gateway address is %s:%d", host, port)
	}
	if key, err := c.MaskingKey("shop"); err != nil || string(key) != "value of key" {
		t.Errorf("masking key %q, %v", key, err)
	}
	if c.DataDir != filepath.Join(dir, "state") {
		t.Errorf("data_dir is %s", c.DataDir)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	replace := func(old, now string) string { return strings.Replace(valid, old, now, 1) }
	for name, test := range map[string]struct{ yaml, want string }{
		"unknown key":           {replace("rules:", "rulez:"), "rulez"},
		"two sources":           {replace("{dsn_file: dsn}", "{dsn_file: dsn, archive: x}"), "exactly one of"},
		"no webhook secret":     {replace("webhook_secret_file: hook, ", ""), "webhook_secret_file is missing"},
		"token and app":         {replace("token_file: token", "token_file: token, app: {id: 1}"), "either token_file or app"},
		"superuser as owner":    {replace("owner: app", "owner: postgres"), "kept for superusers"},
		"bad duration":          {replace("ttl: 2d", "ttl: soon"), "not a duration"},
		"bad size":              {replace("512MiB", "lots"), "not a size"},
		"unknown tool":          {replace("tool: golang-migrate", "tool: abacus"), "not known"},
		"bad project name":      {replace("name: shop", "name: Shop_1"), "not usable"},
		"secret read by others": {replace("dsn_file: dsn", "dsn_file: open"), "can be read by others"},
		"missing secret":        {replace("dsn_file: dsn", "dsn_file: nowhere"), "no such file"},
		"password in the URL":   {"database_url: postgres://u:hunter2@h/d\n" + valid, "has a password in it"},
		"colliding projects":    {valid + strings.Replace(valid[strings.Index(valid, "  - name"):], "name: shop", "name: shop-pr", 1), "same name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			write(t, dir, "open", "postgres://u:hunter2@h/d", 0o644)
			write(t, dir, "mayfly.yaml", test.yaml, 0o644)
			_, err := config.Load(filepath.Join(dir, "mayfly.yaml"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v does not say %q", err, test.want)
			}
			if mayfly.ErrorCode(err) != mayfly.CodeInvalid {
				t.Errorf("code is %s", mayfly.ErrorCode(err))
			}
			if strings.Contains(err.Error()+mayfly.ErrorHint(err), "hunter2") {
				t.Error("the error has a secret in it")
			}
		})
	}
}
