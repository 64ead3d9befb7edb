package outgoing

import (
	"net/url"

	mayfly "github.com/mayflydb/mayfly"
)

// Preset are the settings of a known kind of host.
type Preset struct {
	// Host is "vercel" or "render"; Address is its API's, "" for the usual one.
	Host, Address string
	// Project is Vercel's project or Render's service, Team Vercel's team, if any.
	Project, Team string
	// Key is the name of the environment variable, "" for DATABASE_URL. For Render it is a template: all previews share a service.
	Key   string
	Token string
}

// NewPush makes the calls of a preset.
func NewPush(p Preset) (*Push, error) {
	if p.Project == "" || p.Token == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "preset %q needs project and token_file", p.Host)
	}
	switch p.Host {
	case "vercel":
		return vercel(p)
	case "render":
		return render(p)
	}
	return nil, mayfly.Errorf(mayfly.CodeInvalid, "preset %q is neither vercel nor render", p.Host).
		WithHint("write url, method, headers and body for others; docs/outgoing.md shows how")
}

func or(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// vercel sets a variable for the branch of a pull request in Vercel's preview environment (Vercel REST API, "Create one or more
// environment variables" with upsert, and "Remove an environment variable").
func vercel(p Preset) (*Push, error) {
	base, project := or(p.Address, "https://api.vercel.com"), url.PathEscape(p.Project)
	team := ""
	if p.Team != "" {
		team = "teamId=" + url.QueryEscape(p.Team)
	}
	headers := map[string]string{"Authorization": "Bearer {{.Secrets.token}}", "Content-Type": "application/json"}
	set, err := ParseRequest(RequestText{
		Method: "POST", URL: base + "/v10/projects/" + project + "/env?upsert=true" + amp(team), Headers: headers,
		Body: `{"key":` + quoted(or(p.Key, "DATABASE_URL")) + `,"value":{{json .Connection.URL}},"type":"sensitive","target":["preview"],` +
			`"gitBranch":{{json .PullRequest.Branch}},"comment":{{json .Preview.Name}}}`,
	})
	if err != nil {
		return nil, err
	}
	query := ""
	if team != "" {
		query = "?" + team
	}
	remove, err := ParseRequest(RequestText{
		Method: "DELETE", URL: base + "/v9/projects/" + project + "/env/{{urlpath .Kept.env_id}}" + query,
		Headers: map[string]string{"Authorization": headers["Authorization"]},
	})
	return &Push{
		Set: set, Remove: remove, Keep: map[string]string{"env_id": "created.id"}, Secrets: map[string]string{"token": p.Token}, PullRequestsOnly: true,
	}, err
}

func amp(query string) string {
	if query == "" {
		return ""
	}
	return "&" + query
}

func quoted(text string) string { return `"` + text + `"` }

// render sets a variable of a Render service (Render API, "Add or update environment variable" and "Delete environment variable").
func render(p Preset) (*Push, error) {
	address := or(p.Address, "https://api.render.com") + "/v1/services/" + url.PathEscape(p.Project) + "/env-vars/" +
		or(p.Key, "DATABASE_URL_PR_{{.PullRequest.Number}}")
	headers := map[string]string{"Authorization": "Bearer {{.Secrets.token}}", "Content-Type": "application/json", "Accept": "application/json"}
	set, err := ParseRequest(RequestText{Method: "PUT", URL: address, Headers: headers, Body: `{"value":{{json .Connection.URL}}}`})
	if err != nil {
		return nil, err
	}
	remove, err := ParseRequest(RequestText{Method: "DELETE", URL: address, Headers: map[string]string{"Authorization": headers["Authorization"]}})
	return &Push{Set: set, Remove: remove, Secrets: map[string]string{"token": p.Token}, PullRequestsOnly: true}, err
}
