package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/forge"
)

// dated remembers how far the clocks of the servers that it asks are ahead of this one.
type dated struct {
	mu    sync.Mutex
	ahead []time.Duration
}

// RoundTrip implements http.RoundTripper.
func (d *dated) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := time.Now()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if at, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		d.mu.Lock()
		// A date has whole seconds; the middle of the request is the best guess for when it was made.
		d.ahead = append(d.ahead, at.Add(time.Second/2).Sub(asked.Add(time.Since(asked)/2)))
		d.mu.Unlock()
	}
	return response, nil
}

// diagnoseForge looks at what GitHub lets Mayfly do, and whether it tells what happens. Nothing is changed there.
func diagnoseForge(ctx context.Context, c *config.Config) []finding {
	if c.GitHub == nil {
		return nil
	}
	clock := &dated{}
	opts := forge.Options{BaseURL: c.GitHub.BaseURL, Token: c.GitHub.Token, Now: time.Now, Version: version, HTTP: &http.Client{Transport: clock}}
	if c.GitHub.AppID != 0 {
		opts.App = &forge.App{ID: c.GitHub.AppID, PrivateKeyPEM: c.GitHub.AppKeyPEM}
	}
	hub, err := forge.New(opts)
	if err != nil {
		return []finding{failed("github", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var findings []finding
	for _, p := range c.Projects() {
		if p.Repository != "" {
			findings = append(findings, diagnoseRepository(ctx, hub, c, p)...)
		}
	}
	findings = append(findings, diagnoseApp(ctx, hub, c)...)
	findings = append(findings, diagnoseReachable(ctx, c)...)
	return append(findings, clock.diagnose()...)
}

func (d *dated) diagnose() []finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ahead) == 0 {
		return nil
	}
	return []finding{clockFinding("GitHub", slices.MinFunc(d.ahead, func(a, b time.Duration) int { return int(a.Abs() - b.Abs()) }))}
}

const (
	clockWarns = 5 * time.Second
	// clockFails is how much tokens of GitHub Apps and of CI jobs, and Mayfly's own, put up with.
	clockFails = 30 * time.Second
)

func clockFinding(other string, ahead time.Duration) finding {
	f := ok("clock", "within %s of %s's", max(ahead.Abs().Round(100*time.Millisecond), time.Second), other)
	if ahead.Abs() < clockWarns {
		return f
	}
	f.Status, f.Fix = "warning", "keep this machine's clock right: timedatectl set-ntp true, or install chrony"
	if ahead.Abs() >= clockFails {
		f.Status = "error"
	}
	word := "behind"
	if ahead < 0 {
		word = "ahead of"
	}
	f.Detail = ahead.Abs().Round(time.Second).String() + " " + word + " " + other + "'s: tokens are refused as expired or not valid yet"
	return f
}

func diagnoseRepository(ctx context.Context, hub *forge.Client, c *config.Config, p mayfly.Project) []finding {
	check := "project " + p.Name
	repository, err := hub.Repository(ctx, p.Repository)
	if err != nil {
		return []finding{failed(check, err)}
	}
	findings := []finding{ok(check, "repository %s (id %d) can be read", repository.FullName, repository.ID)}
	missing, err := hub.MissingPermissions(ctx, repository.ID)
	if err != nil {
		return append(findings, failed(check, err))
	}
	for _, m := range missing {
		f := finding{
			Check: check, Status: "error", Detail: "the GitHub App lacks the permission " + m.Name + ": " + m.Access + " (" + m.Why + ")",
			Fix: "grant it in the App's settings, Permissions & events, and accept it in the installation of " + repository.FullName,
		}
		if m.Optional {
			f.Status = "warning"
		}
		findings = append(findings, f)
	}
	if len(missing) == 0 && hub.IsApp() {
		findings = append(findings, ok(check, "the GitHub App has all permissions that it needs"))
	}
	if !hub.IsApp() && c.ExternalURL != "" {
		findings = append(findings, diagnoseRepositoryHook(ctx, hub, check, repository, hookURL(c))...)
	}
	return findings
}

func hookURL(c *config.Config) string { return c.ExternalURL + "/webhooks/github" }

func diagnoseRepositoryHook(ctx context.Context, hub *forge.Client, check string, repository forge.Repository, address string) []finding {
	hook, found, err := hub.RepositoryHook(ctx, repository.ID, address)
	switch {
	case err != nil:
		return []finding{failed(check, err)}
	case !found:
		return []finding{{
			Check: check, Status: "warning", Detail: "no webhook of " + repository.FullName + " to " + address + " can be seen",
			Fix: "add one in the repository's settings, or let the token read webhooks; without one changes are seen within minutes, not at once",
		}}
	}
	return diagnoseDeliveries(ctx, hub, hook, check)
}

func diagnoseApp(ctx context.Context, hub *forge.Client, c *config.Config) []finding {
	if !hub.IsApp() {
		return nil
	}
	setup, err := hub.Setup(ctx)
	if err != nil {
		return []finding{failed("github", err)}
	}
	var findings []finding
	settings := "in the App's settings"
	var missing []string
	for _, event := range eventsToSend() {
		if !slices.Contains(setup.Events, event) {
			missing = append(missing, event)
		}
	}
	switch {
	case slices.Contains(missing, "pull_request"):
		findings = append(findings, finding{Check: "github", Status: "error", Detail: "the App hears nothing of pull requests", Fix: "subscribe to the event Pull request " + settings})
	case len(missing) > 0:
		findings = append(findings, finding{Check: "github", Status: "warning", Detail: "the App does not hear of: " + strings.Join(missing, ", "), Fix: "subscribe to these events " + settings})
	default:
		findings = append(findings, ok("github", "the App %s hears of: %s", setup.Slug, strings.Join(setup.Events, ", ")))
	}
	switch {
	case setup.HookURL == "":
		return append(findings, finding{Check: "webhook", Status: "error", Detail: "the App sends no deliveries", Fix: "activate the webhook " + settings + ": " + hookURL(c)})
	case setup.HookURL != hookURL(c) && c.ExternalURL != "":
		findings = append(findings, finding{
			Check: "webhook", Status: "warning", Detail: "deliveries go to " + setup.HookURL + ", and external_url would have them at " + hookURL(c),
			Fix: "change the webhook URL " + settings + ", or external_url",
		})
	default:
		findings = append(findings, ok("webhook", "deliveries go to %s", setup.HookURL))
	}
	if setup.ContentType != "" && setup.ContentType != "json" {
		findings = append(findings, finding{Check: "webhook", Status: "error", Detail: "deliveries are sent as " + setup.ContentType, Fix: "choose the content type application/json " + settings})
	}
	if setup.Insecure {
		findings = append(findings, finding{Check: "webhook", Status: "warning", Detail: "GitHub does not check the certificate of this server", Fix: "enable SSL verification " + settings})
	}
	return append(findings, diagnoseDeliveries(ctx, hub, forge.AppHook(), "webhook")...)
}

// diagnoseDeliveries looks at what became of the deliveries of the last days.
func diagnoseDeliveries(ctx context.Context, hub *forge.Client, hook forge.Hook, check string) []finding {
	log, err := hub.Deliveries(ctx, hook, time.Now().Add(-7*24*time.Hour))
	if err != nil {
		return []finding{failed(check, err)}
	}
	if len(log) == 0 {
		return []finding{{
			Check: check, Status: "warning", Detail: "there were no deliveries in the last 7 days",
			Fix: "open a pull request, or look at Recent deliveries in the webhook's settings",
		}}
	}
	var lost int
	for _, d := range log {
		if !d.Succeeded {
			lost++
		}
	}
	switch {
	case !log[0].Succeeded:
		return []finding{{
			Check: check, Status: "error", Detail: "the last delivery, " + age(log[0].DeliveredAt) + " ago, did not arrive",
			Fix: "Recent deliveries in the webhook's settings has the answer: the address must be reached from GitHub, and webhook_secret_file must hold the same secret",
		}}
	case lost > 0:
		return []finding{ok(check, "the last delivery arrived %s ago; %d of %d in 7 days did not, and are sent again", age(log[0].DeliveredAt), lost, len(log))}
	}
	return []finding{ok(check, "the last delivery arrived %s ago", age(log[0].DeliveredAt))}
}

// diagnoseReachable asks the service at its public address, as GitHub would; from here, which may be another way.
func diagnoseReachable(ctx context.Context, c *config.Config) []finding {
	if c.ExternalURL == "" {
		return []finding{{Check: "external_url", Status: "warning", Detail: "not set: comments and checks have no links", Fix: "external_url: https://mayfly.example.com"}}
	}
	u, err := url.Parse(c.ExternalURL)
	if err != nil || u.Host == "" {
		return []finding{{Check: "external_url", Status: "error", Detail: c.ExternalURL + " is not an address", Fix: "external_url: https://mayfly.example.com"}}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.ExternalURL+"/healthz", http.NoBody)
	if err != nil {
		return []finding{failed("external_url", err)}
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return []finding{{
			Check: "external_url", Status: "warning", Detail: "it is not reached from here: " + err.Error(),
			Fix: "start the service; check DNS, the reverse proxy and its certificate. GitHub must reach " + hookURL(c),
		}}
	}
	defer response.Body.Close()
	var findings []finding
	if response.StatusCode != http.StatusOK {
		findings = append(findings, finding{Check: "external_url", Status: "error", Detail: "something else answers there: " + response.Status, Fix: "let the reverse proxy pass everything on to listen"})
	} else {
		findings = append(findings, ok("external_url", "the service answers at %s", c.ExternalURL))
	}
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		findings = append(findings, certificateFinding("the certificate of "+u.Host, response.TLS.PeerCertificates[0], "renew it"))
	}
	return findings
}
