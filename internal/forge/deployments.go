package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// DeploymentState is the state of a deployment.
type DeploymentState string

// The states that Mayfly sets.
const (
	DeploymentRunning  DeploymentState = "in_progress"
	DeploymentSuccess  DeploymentState = "success"
	DeploymentFailure  DeploymentState = "failure"
	DeploymentInactive DeploymentState = "inactive"
)

// Deployment is a preview as GitHub shows it: one environment for each, gone with it.
type Deployment struct {
	Environment string // Environment makes it
	SHA         string
	State       DeploymentState
	Description string // cut to 140 characters
	URL         string // of the preview's page, http(s), or ""
}

// Environment returns the name of a preview's environment.
func Environment(preview string) string { return "preview/" + preview }

// SetDeployment makes a deployment have a state. known is the id of the one for this commit, or 0 for a new one; the id of the one that has
// the state now is returned, and 0 if the credentials do not allow deployments: everything else works without them.
func (c *Client) SetDeployment(ctx context.Context, repoID, known int64, d Deployment) (id int64, err error) {
	if c.lacks(repoID, "deployments") {
		return 0, nil
	}
	err = c.asRepository(ctx, repoID, func(who account) (err error) {
		id, err = c.setDeployment(ctx, who, repoID, known, d)
		return err
	})
	if err == nil {
		return id, nil
	}
	return 0, c.deploymentFailed(ctx, repoID, d, err)
}

// deploymentFailed drops the refusals that everything else works without.
func (c *Client) deploymentFailed(ctx context.Context, repoID int64, d Deployment, err error) error {
	refused := (*Refused)(nil)
	if errors.Is(err, errNotFound) && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		// A token without the scope gets the same answer as one that may not see the repository: that one is told once it may again.
		if _, seen := c.RepositoryByID(ctx, repoID); seen != nil {
			return fmt.Errorf("set deployment %s of repository %d: %w", d.Environment, repoID, seen)
		}
	}
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return err
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden,
		errors.Is(err, errNotFound): // a token without the scope gets a 404
		c.noteLack(repoID, "deployments")
		return nil
	case errors.Is(err, errUnprocessable), errors.Is(err, errEmptyRepository):
		// The commit is gone, or a rule of the repository forbids it (409): the checks say what there is to say.
		c.log.Warn("github does not take the deployment", "repository", repoID, "environment", d.Environment, "error", err)
		return nil
	}
	return fmt.Errorf("set deployment %s of repository %d: %w", d.Environment, repoID, err)
}

func (c *Client) setDeployment(ctx context.Context, who account, repoID, known int64, d Deployment) (int64, error) {
	if known == 0 {
		var made github.Deployment
		// Without required_contexts: [] GitHub would wait for all checks, ours among them.
		body := map[string]any{
			"ref": d.SHA, "environment": d.Environment, "transient_environment": true, "production_environment": false,
			"auto_merge": false, "required_contexts": []string{}, "description": clip(oneLine(d.Description), maxDescription),
		}
		in := call{method: http.MethodPost, path: fmt.Sprintf("repositories/%d/deployments", repoID), body: body}
		if err := c.exchange(ctx, who, in, &made); err != nil {
			return 0, err
		}
		known = made.GetID()
	}
	return known, c.deploymentStatus(ctx, who, repoID, known, d)
}

func (c *Client) deploymentStatus(ctx context.Context, who account, repoID, id int64, d Deployment) error {
	body := map[string]any{"state": string(d.State), "description": clip(oneLine(d.Description), maxDescription), "auto_inactive": false}
	if d.URL != "" {
		body["environment_url"], body["log_url"] = d.URL, d.URL
	}
	_, err := c.do(ctx, who, call{method: http.MethodPost, path: fmt.Sprintf("repositories/%d/deployments/%d/statuses", repoID, id), body: body})
	return err
}

// maxRetired bounds how many deployments of one environment are set inactive.
const maxRetired = 100

// RetireDeployments sets the deployments of an environment inactive, the newest first.
func (c *Client) RetireDeployments(ctx context.Context, repoID int64, environment string) error {
	if c.lacks(repoID, "deployments") {
		return nil
	}
	gone := Deployment{Environment: environment, State: DeploymentInactive, Description: "The database was removed"}
	path := fmt.Sprintf("repositories/%d/deployments?environment=%s", repoID, url.QueryEscape(environment))
	err := c.asRepository(ctx, repoID, func(who account) error {
		retired := 0
		return c.list(ctx, who, path, false, func(page []byte) (bool, error) {
			var all []*github.Deployment
			if err := json.Unmarshal(page, &all); err != nil {
				return false, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's list of deployments cannot be read: %w", err)
			}
			for _, d := range all {
				if d.GetEnvironment() != environment || retired == maxRetired {
					continue
				}
				if err := c.deploymentStatus(ctx, who, repoID, d.GetID(), gone); err != nil {
					return false, err
				}
				retired++
			}
			return retired < maxRetired, nil
		})
	})
	if err == nil {
		return nil
	}
	return c.deploymentFailed(ctx, repoID, gone, err)
}
