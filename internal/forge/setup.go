package forge

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-github/v60/github"
)

// Setup is how a GitHub App is set up: which events it hears of, and where they are sent.
type Setup struct {
	Slug   string
	Events []string
	// HookURL is where deliveries go, "" if the App sends none. Insecure says that GitHub does not check that server's certificate.
	HookURL     string
	ContentType string
	Insecure    bool
}

// Setup reads how the App is set up; nil for a token, which has no setup of its own.
func (c *Client) Setup(ctx context.Context) (*Setup, error) {
	if !c.IsApp() {
		return nil, nil //nolint:nilnil // see above
	}
	var app github.App
	if err := c.get(ctx, asApp, "app", &app); err != nil {
		return nil, fmt.Errorf("read the GitHub App: %w", err)
	}
	setup := &Setup{Slug: app.GetSlug(), Events: app.Events}
	var hook github.HookConfig
	err := c.get(ctx, asApp, "app/hook/config", &hook)
	if errors.Is(err, errNotFound) {
		return setup, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the GitHub App's webhook: %w", err)
	}
	setup.HookURL, setup.ContentType, setup.Insecure = hook.GetURL(), hook.GetContentType(), hook.GetInsecureSSL() == "1"
	return setup, nil
}
