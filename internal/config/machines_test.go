package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/config"
)

// machines parses a configuration with these lines at its end; "github" in it brings the github section.
func machines(t *testing.T, lines string, github string) (*config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"hook.secret": "whsec_" + strings.Repeat("QUJD", 10), "short": "whsec_QUJD", "token": "t", "dsn": "postgres://x", "webhook": "w",
		"address": "https://chat.example/services/T0/B0/key\n", "ca.pem": "not a certificate",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base := `
external_url: https://mayfly.example.com
` + github + `
projects:
  - {name: shop, source: {dsn_file: dsn}, rules: sanitize.yaml, postgres: {database: app, owner: app_owner}}
`
	return config.Parse(filepath.Join(dir, "mayfly.yaml"), []byte(base+lines))
}

const withGitHub = "github: {webhook_secret_file: webhook, token_file: token}"

func TestCIIssuers(t *testing.T) {
	t.Parallel()
	c, err := machines(t, "", withGitHub)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.CI.Issuers) != 1 || c.CI.Issuers[0].URL != config.ActionsIssuer || c.CI.Issuers[0].Rest.Audience != "https://mayfly.example.com" ||
		!c.CI.Issuers[0].Rest.GitHub || c.CI.TokenTTL != auth.DefaultExchangeTTL {
		t.Errorf("without a word: %+v", c.CI)
	}
	for lines, want := range map[string]string{
		"auth: {ci_issuers: []}": "",
		"auth: {ci_issuers: [{type: github, events: [pull_request, push]}]}":                                                                                     config.ActionsIssuer,
		"auth: {ci_issuers: [{type: gitlab, project: shop, match: {project_id: '74'}}]}":                                                                         "https://gitlab.com",
		"auth: {ci_issuers: [{issuer: https://ci.example, project: shop, match: {org: /acme-.*/}, ref_claim: branch, ref_pattern: .+, preview: 'pr-of-{ref}'}]}": "https://ci.example",
	} {
		c, err := machines(t, lines, withGitHub)
		if err != nil {
			t.Errorf("%s: %v", lines, err)
			continue
		}
		var got []string
		for _, issuer := range c.CI.Issuers {
			got = append(got, issuer.URL)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: issuers %q", lines, got)
		}
	}
	for github, want := range map[string]string{
		"github: {webhook_secret_file: webhook, token_file: token, base_url: https://ghe.example/api/v3}": "https://ghe.example/_services/token",
		"github: {webhook_secret_file: webhook, token_file: token, base_url: https://api.acme.ghe.com}":   "https://token.actions.acme.ghe.com",
		"github: {webhook_secret_file: webhook, token_file: token, base_url: https://api.github.com}":     config.ActionsIssuer,
	} {
		if c, err := machines(t, "", github); err != nil || c.CI.Issuers[0].URL != want {
			t.Errorf("%s: %+v, %v", github, c, err)
		}
	}
	for _, lines := range []string{
		"auth: {ci_issuers: [{type: github, events: [pull_request_target]}]}",
		"auth: {ci_issuers: [{type: github, events: [workflow_run]}]}",
		"auth: {ci_issuers: [{type: github, events: [issue_comment]}]}",
		"auth: {ci_issuers: [{type: github, preview: x}]}",
		"auth: {ci_issuers: [{type: jenkins}]}",
		"auth: {ci_issuers: [{type: gitlab, project: shop}]}",
		"auth: {ci_issuers: [{type: gitlab, project: shop, match: {namespace_id: '1'}}]}",
		"auth: {ci_issuers: [{type: gitlab, project: other, match: {project_id: '1'}}]}",
		"auth: {ci_issuers: [{issuer: https://ci.example, project: shop, ref_claim: x, ref_pattern: x}]}",
		"auth: {ci_issuers: [{issuer: https://ci.example, match: {a: b}, ref_claim: x, ref_pattern: x}]}",
		"auth: {ci_issuers: [{issuer: https://ci.example, project: shop, match: {a: b}}]}",
		"auth: {ci_issuers: [{issuer: https://ci.example, project: shop, match: {a: ''}, ref_claim: x, ref_pattern: x}]}",
		"auth: {ci_issuers: [{issuer: https://ci.example, project: shop, match: {a: '/(/'}, ref_claim: x, ref_pattern: x}]}",
		"auth: {ci_issuers: [{issuer: https://ci.example, project: shop, match: {a: b}, ref_claim: x, ref_pattern: x, preview: all}]}",
		"auth: {ci_issuers: [{type: github, ca_file: ca.pem}]}",
		"auth: {ci_token_ttl: 25h}",
	} {
		if _, err := machines(t, lines, withGitHub); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: %v", lines, err)
		}
	}
	if c, err := machines(t, "", ""); err != nil || len(c.CI.Issuers) != 0 {
		t.Errorf("without GitHub: %v, %v", c, err)
	}
}

func TestReceivers(t *testing.T) {
	t.Parallel()
	c, err := machines(t, `
outgoing:
  - {name: chat, url_file: address, secret_file: hook.secret, events: [preview.ready, preview.failed], projects: [shop]}
push:
  - {name: vercel, preset: vercel, project: prj_1, token_file: token}
  - {name: render, preset: render, project: srv-1, token_file: token, key: 'DB_{{.PullRequest.Number}}'}
  - name: own
    secret_files: {key: token}
    keep: {id: data.id}
    set: {method: PUT, url: 'https://host.example/x/{{urlpath .Preview.Name}}', headers: {X-Key: '{{.Secrets.key}}'}, body: '{{json .Connection.URL}}'}
    remove: {method: DELETE, url: 'https://host.example/x/{{.Kept.id}}'}
`, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Outgoing) != 4 || c.Outgoing[0].URL != "https://chat.example/services/T0/B0/key" || len(c.Outgoing[0].Secret) != 30 || c.Outgoing[1].Push == nil {
		t.Errorf("receivers: %+v", c.Outgoing)
	}
	for _, lines := range []string{
		"outgoing: [{name: x, url: https://x.example}]",
		"outgoing: [{name: x, url: https://x.example, secret_file: short}]",
		"outgoing: [{name: x, secret_file: hook.secret}]",
		"outgoing: [{name: x, url: https://x.example, url_file: address, secret_file: hook.secret}]",
		"outgoing: [{name: x, url: 'https://u:p@x.example', secret_file: hook.secret}]",
		"outgoing: [{name: x, url: 'ftp://x.example', secret_file: hook.secret}]",
		"outgoing: [{name: X y, url: https://x.example, secret_file: hook.secret}]",
		"outgoing: [{name: x, url: https://x.example, secret_file: hook.secret, events: [ready]}]",
		"outgoing: [{name: x, url: https://x.example, secret_file: hook.secret, projects: [till]}]",
		"outgoing: [{name: x, url: https://x.example, secret_file: hook.secret}, {name: x, url: https://x.example, secret_file: hook.secret}]",
		"push: [{name: x}]",
		"push: [{name: x, preset: heroku, project: y, token_file: token}]",
		"push: [{name: x, preset: vercel, token_file: token}]",
		"push: [{name: x, preset: vercel, project: y}]",
		"push: [{name: x, preset: vercel, project: y, token_file: token, api: 'http://x.example'}]",
		"push: [{name: x, set: {method: PUT, url: 'https://x.example/'}}]",
		"push: [{name: x, set: {method: PUT, url: 'http://x.example/'}, remove: {method: DELETE, url: 'https://x.example/'}}]",
	} {
		if _, err := machines(t, lines, ""); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: %v", lines, err)
		}
	}
}
