package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

func says(t *testing.T, findings []finding, status, text string) {
	t.Helper()
	if !slices.ContainsFunc(findings, func(f finding) bool {
		return f.Status == status && strings.Contains(f.Detail, text) && (f.Status == "ok" || f.Fix != "")
	}) {
		t.Errorf("there is no %s with %q in %+v", status, text, findings)
	}
}

// TestDoctorOfApp: what is granted and subscribed compared with what is needed, and where deliveries go.
func TestDoctorOfApp(t *testing.T) {
	t.Parallel()
	private, public, err := forgetest.NewAppKey()
	check(t, err)
	hub, err := forgetest.New(t.Context(), forgetest.Options{Dir: t.TempDir(), AppID: 7, AppKey: public})
	check(t, err)
	t.Cleanup(func() { check(t, hub.Close()) })
	_, err = hub.CreateRepository(t.Context(), "acme/shop")
	check(t, err)
	dir := t.TempDir()
	for name, content := range map[string]string{"app.pem": string(private), "webhook.secret": webhookSecret} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	c, err := config.Parse(filepath.Join(dir, "mayfly.yaml"), []byte(`
external_url: https://127.0.0.1:1
github: {base_url: '`+hub.URL()+`', webhook_secret_file: webhook.secret, app: {id: 7, private_key_file: app.pem}}
projects:
  - {name: shop, repository: acme/shop, source: {archive: a.dump}, rules: r.yaml, masking_key_file: k, postgres: {major: 17, database: app, owner: app}}
`))
	check(t, err)
	diagnose := func() []finding { return diagnoseForge(t.Context(), c) }

	findings := diagnose()
	says(t, findings, "ok", "repository acme/shop")
	says(t, findings, "ok", "has all permissions")
	says(t, findings, "error", "the App sends no deliveries")
	says(t, findings, "warning", "not reached from here")
	says(t, findings, "ok", "of GitHub's")
	hub.SetAppHook("https://elsewhere.example/webhooks/github")
	hub.SetPermission("contents", "")
	hub.SetPermission("checks", "")
	findings = diagnose()
	says(t, findings, "warning", "deliveries go to https://elsewhere.example/webhooks/github, and external_url would have them at https://127.0.0.1:1/webhooks/github")
	says(t, findings, "warning", "there were no deliveries")
	says(t, findings, "error", "lacks the permission contents: read")
	says(t, findings, "warning", "lacks the permission checks: write")
	hub.SetAppHook("https://127.0.0.1:1/webhooks/github")
	says(t, diagnose(), "ok", "deliveries go to https://127.0.0.1:1/webhooks/github")
}

func TestDoctorOfClock(t *testing.T) {
	t.Parallel()
	for ahead, status := range map[time.Duration]string{time.Second: "ok", -4 * time.Second: "ok", 10 * time.Second: "warning", -time.Minute: "error"} {
		if f := clockFinding("somebody", ahead); f.Status != status || (status != "ok") != (f.Fix != "") {
			t.Errorf("%s ahead: %+v", ahead, f)
		}
	}
}

func TestDoctorOfCertificate(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	dir := t.TempDir()
	c := &config.Config{DataDir: dir, Gateway: config.Gateway{ExternalHost: "previews.example.com", BaseDomain: "p.example.com", CertFile: filepath.Join(dir, "gateway.crt")}}
	for left, status := range map[time.Duration]string{-time.Hour: "error", 5 * 24 * time.Hour: "warning", 90 * 24 * time.Hour: "ok"} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"previews.example.com"},
			NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: time.Now().Add(left),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		check(t, err)
		check(t, os.WriteFile(c.Gateway.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
		says(t, diagnoseCertificates(c), status, "the gateway's certificate")
		says(t, diagnoseCertificates(c), "warning", "is not for preview.p.example.com")
	}
	check(t, os.WriteFile(c.Gateway.CertFile, []byte("nonsense"), 0o600))
	says(t, diagnoseCertificates(c), "error", "has no certificate in PEM")
}

// TestForgeSetupOfToken: a token has no setup of its own.
func TestForgeSetupOfToken(t *testing.T) {
	t.Parallel()
	hub, err := forge.New(forge.Options{Token: "x"})
	check(t, err)
	if setup, err := hub.Setup(context.WithoutCancel(t.Context())); setup != nil || err != nil {
		t.Errorf("%+v, %v", setup, err)
	}
}
