package forge

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-github/v60/github"
)

// Needed is a permission of the GitHub App.
type Needed struct {
	Name   string // as GitHub's API calls it
	Access string // "read" or "write"
	Why    string
	// Optional ones only make something invisible that works.
	Optional bool
}

// Permissions are what the App needs. docs/github.md lists the same.
func Permissions() []Needed {
	return []Needed{
		{Name: "metadata", Access: "read", Why: "find the repository"},
		{Name: "contents", Access: "read", Why: "read migrations and .mayfly.yml"},
		{Name: "pull_requests", Access: "write", Why: "see pull requests, and comment on them"},
		{Name: "issues", Access: "write", Why: "write the comment, read commands and react to them"},
		{Name: "checks", Access: "write", Why: "the checks mayfly / database and mayfly / migrations", Optional: true},
		{Name: "statuses", Access: "write", Why: "commit statuses, where checks are not allowed", Optional: true},
		{Name: "deployments", Access: "write", Why: "show the preview as a deployment", Optional: true},
	}
}

// MissingPermissions returns what the App's installation on a repository lacks. A token does not tell what it may do.
func (c *Client) MissingPermissions(ctx context.Context, repoID int64) ([]Needed, error) {
	if !c.IsApp() {
		return nil, nil
	}
	var installation github.Installation
	if err := c.get(ctx, asApp, fmt.Sprintf("repositories/%d/installation", repoID), &installation); err != nil {
		return nil, fmt.Errorf("read what the GitHub App may do in repository %d: %w", repoID, err)
	}
	p := installation.GetPermissions()
	given := map[string]string{
		"metadata": p.GetMetadata(), "contents": p.GetContents(), "pull_requests": p.GetPullRequests(), "issues": p.GetIssues(),
		"checks": p.GetChecks(), "statuses": p.GetStatuses(), "deployments": p.GetDeployments(),
	}
	return slices.DeleteFunc(Permissions(), func(n Needed) bool {
		return given[n.Name] == n.Access || given[n.Name] == "write" || given[n.Name] == "admin"
	}), nil
}
