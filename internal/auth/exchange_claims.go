package auth

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// CIIssuer is an entry of auth.ci_issuers: whose jobs may have a token for a preview.
type CIIssuer struct {
	Issuer   *Issuer
	Audience string
	// GitHub says that claims are those of GitHub Actions. Otherwise RefPattern says how a claim names a preview.
	GitHub bool
	// Events are those of GitHub Actions that are accepted, of CIEvents; none means pull_request alone.
	Events []string
	// Match are further claims that a token must have: what the whole claim must match.
	Match map[string]*regexp.Regexp
	// Project is whose previews the jobs may have; for GitHub "" means those of the job's repository.
	Project string
	// RefClaim must match RefPattern as a whole. Its first group, or all of it, takes the place of {ref} in Preview, which is what comes after
	// "<project>-" in the preview's name: "pr-{ref}" for a pull request by its number, PreviewOfBranch, or a sandbox's name.
	RefClaim   string
	RefPattern *regexp.Regexp
	Preview    string
}

// PreviewOfBranch stands for the preview of the open pull request that wants the branch merged.
const PreviewOfBranch = "pr-of-{ref}"

// CIEvents are the events of GitHub Actions that may be accepted, in which what runs is what people with write access pushed.
// pull_request_target, workflow_run and issue_comment never are: they run with the rights of the base branch on what a stranger wrote,
// and a workflow that checks that out would hand over the database.
func CIEvents() []string { return []string{"pull_request", "push", "workflow_dispatch"} }

// wanted is what a token names: a sandbox, or a pull request.
type wanted struct {
	sandbox string
	query   CIQuery
}

// matches checks the claims that the configuration demands.
func (c *CIIssuer) matches(identity *Identity) error {
	for claim, pattern := range c.Match {
		if value := identity.Claim(claim); !matchesWhole(pattern, value) {
			return deny("the claim %s is %q, which does not match", claim, value)
		}
	}
	return nil
}

// matchesWhole reports whether a pattern matches all of a text that is there.
func matchesWhole(pattern *regexp.Regexp, text string) bool {
	at := pattern.FindStringIndex(text)
	return text != "" && at != nil && at[0] == 0 && at[1] == len(text)
}

func (c *CIIssuer) wanted(identity *Identity, r ExchangeRequest) (wanted, error) {
	if c.GitHub {
		return c.ofActions(identity, r)
	}
	return c.ofPattern(identity, r)
}

var (
	pullRef   = regexp.MustCompile(`^refs/pull/([1-9][0-9]{0,9})/merge$`)
	branchRef = regexp.MustCompile(`^refs/heads/(.+)$`)
	prName    = regexp.MustCompile(`^pr-([1-9][0-9]{0,9})$`)
)

// ofActions reads the claims of GitHub Actions (docs.github.com, "OpenID Connect reference"). Names of repositories are not looked at.
func (c *CIIssuer) ofActions(identity *Identity, r ExchangeRequest) (wanted, error) {
	var w wanted
	events := c.Events
	if len(events) == 0 {
		events = CIEvents()[:1]
	}
	event := identity.Claim("event_name")
	if !slices.Contains(events, event) || !slices.Contains(CIEvents(), event) {
		return w, deny("the event %q is not accepted", event)
	}
	var err error
	if w.query.RepositoryID, err = idClaim(identity, "repository_id"); err != nil {
		return w, err
	}
	if w.query.OwnerID, err = idClaim(identity, "repository_owner_id"); err != nil {
		return w, err
	}
	w.query.Commit = identity.Claim("sha")
	ref := identity.Claim("ref")
	if event == "pull_request" {
		if w.query.Number, err = numberIn(pullRef, ref); err != nil {
			return w, err
		}
		if r.PullRequest != 0 && r.PullRequest != w.query.Number {
			return w, deny("pull request %d was asked for in a job of pull request %d", r.PullRequest, w.query.Number)
		}
		return w, nil
	}
	match := branchRef.FindStringSubmatch(ref)
	if match == nil || identity.Claim("ref_type") != "branch" {
		return w, deny("the ref %q is not a branch", ref)
	}
	w.query.Branch, w.query.Number = match[1], r.PullRequest
	return w, nil
}

func idClaim(identity *Identity, name string) (int64, error) {
	id, err := strconv.ParseInt(identity.Claim(name), 10, 64)
	if err != nil || id <= 0 {
		return 0, deny("the claim %s is %q, which is not an id", name, identity.Claim(name))
	}
	return id, nil
}

func numberIn(pattern *regexp.Regexp, text string) (int, error) {
	match := pattern.FindStringSubmatch(text)
	if match == nil {
		return 0, deny("%q does not name a pull request", text)
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return 0, deny("%q does not name a pull request", text)
	}
	return n, nil
}

// ofPattern reads the claim that the configuration names.
func (c *CIIssuer) ofPattern(identity *Identity, r ExchangeRequest) (wanted, error) {
	value := identity.Claim(c.RefClaim)
	match := c.RefPattern.FindStringSubmatch(value)
	if match == nil || len(match[0]) != len(value) || value == "" {
		return wanted{}, deny("the claim %s is %q, which does not match", c.RefClaim, value)
	}
	ref := match[0]
	if len(match) > 1 {
		ref = match[1]
	}
	if c.Preview == PreviewOfBranch {
		return wanted{query: CIQuery{Project: c.Project, Branch: ref, Number: r.PullRequest}}, nil
	}
	name := strings.ReplaceAll(c.Preview, "{ref}", ref)
	if prName.MatchString(name) {
		n, err := numberIn(prName, name)
		if err == nil && r.PullRequest != 0 && r.PullRequest != n {
			err = deny("pull request %d was asked for in a job of pull request %d", r.PullRequest, n)
		}
		return wanted{query: CIQuery{Project: c.Project, Number: n}}, err
	}
	sandbox, err := mayfly.SandboxName(c.Project, slug(name))
	if err != nil {
		return wanted{}, deny("the claim %s is %q, from which no name can be made", c.RefClaim, value)
	}
	return wanted{sandbox: sandbox}, nil
}

// slug makes a part of a name of a branch as GitLab does for CI_COMMIT_REF_SLUG: lower case, what is not a letter or digit becomes "-".
// Two branches can so have the same name; both are the same project's.
func slug(text string) string {
	mapped := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	return strings.Trim(mapped, "-")
}

// subject names the job in logs.
func (c *CIIssuer) subject(identity *Identity) string {
	const longest = 200
	subject := "ci:" + identity.Subject
	if len(subject) > longest {
		subject = strings.ToValidUTF8(subject[:longest], "")
	}
	return subject
}
