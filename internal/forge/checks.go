package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// The names of the checks. Of several projects of a repository all but the first have theirs behind them (CheckName).
const (
	CheckDatabase   = "mayfly / database"
	CheckMigrations = "mayfly / migrations"
)

// CheckName returns the name under which a check is shown and can be required. named is true if another project has the plain name.
func CheckName(check, project string, named bool) string {
	if !named {
		return check
	}
	return check + " (" + project + ")"
}

// CheckState is what a check says: that it runs, or how it ended.
type CheckState string

// The states, apart from running GitHub's conclusions.
const (
	CheckRunning   CheckState = "running"
	CheckSuccess   CheckState = "success"
	CheckFailure   CheckState = "failure"         // the pull request is to blame
	CheckError     CheckState = "error"           // it is not: for GitHub a failure too
	CheckNeutral   CheckState = "neutral"         // nothing to do; counts as passed where it is required
	CheckCancelled CheckState = "cancelled"       // superseded or removed; does not count as passed
	CheckBlocked   CheckState = "action_required" // somebody with write access has to do something
)

// Concluded reports whether the check has ended.
func (s CheckState) Concluded() bool { return s != CheckRunning }

// status is the commit status that says the same as near as it can.
func (s CheckState) status() StatusState {
	switch s {
	case CheckRunning:
		return StatusPending
	case CheckSuccess, CheckNeutral:
		return StatusSuccess
	case CheckFailure, CheckBlocked:
		return StatusFailure
	case CheckError, CheckCancelled:
	}
	return StatusError
}

// Check is what one check says about a commit. Its texts are made safe by whoever makes them: Title is shown as text, Summary is Markdown.
type Check struct {
	Name        string
	State       CheckState
	Title       string
	Summary     string
	DetailsURL  string // http(s), or ""
	ExternalID  string
	StartedAt   time.Time // zero if not known
	Annotations []Annotation
	Actions     []CheckAction
}

// CheckAction is a button on a check.
type CheckAction struct {
	Label       string // at most 20 characters
	Description string // at most 40
	Identifier  string // ActionReset, ActionRebuild
}

// Limits of GitHub on a check run.
const (
	maxCheckText      = 65535
	maxCheckTitle     = 255
	annotationsInCall = 50
	// maxAnnotations bounds the further calls that one check may take.
	maxAnnotations    = 200
	maxAnnotationText = 4000
)

// SetCheck makes a check say something about a commit. The App has check runs: known is the id of the one to change, or 0 for a new one,
// and the id of the one that says it now is returned. Only a run that has not concluded is worth changing: a new one of the same name takes
// the place of one that has, and annotations cannot be taken back from it. A token has commit statuses of the same name, without ids.
// CodeHeadGone if the commit no longer exists.
func (c *Client) SetCheck(ctx context.Context, repoID int64, sha string, known int64, check Check) (id int64, err error) {
	if !shaPattern.MatchString(sha) {
		return 0, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a commit id", sha)
	}
	if !c.IsApp() || c.lacks(repoID, "checks") {
		return 0, c.setCheckStatus(ctx, repoID, sha, check)
	}
	err = c.asRepository(ctx, repoID, func(who account) (err error) {
		id, err = c.checkRun(ctx, who, repoID, sha, known, check)
		return err
	})
	refused := (*Refused)(nil)
	switch {
	case err == nil || mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return id, err
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden: // an App from before it needed checks
		c.noteLack(repoID, "checks")
		return 0, c.setCheckStatus(ctx, repoID, sha, check)
	case errors.Is(err, errNotFound):
		return 0, invisible(err, fmt.Sprintf("repository %d", repoID))
	case errors.Is(err, errUnprocessable) && strings.Contains(strings.ToLower(err.Error()), "commit"):
		return 0, headGone(sha, err)
	}
	return 0, fmt.Errorf("set check %q of %s in repository %d: %w", check.Name, short(sha), repoID, err)
}

func (c *Client) setCheckStatus(ctx context.Context, repoID int64, sha string, check Check) error {
	return c.SetStatus(ctx, repoID, sha, Status{
		State: check.State.status(), Context: check.Name, Description: check.Title, TargetURL: check.DetailsURL,
	})
}

// checkRun creates or changes the run, and adds the annotations that did not fit.
func (c *Client) checkRun(ctx context.Context, who account, repoID int64, sha string, known int64, check Check) (int64, error) {
	all := checkAnnotations(check.Annotations)
	first := all[:min(len(all), annotationsInCall)]
	path := fmt.Sprintf("repositories/%d/check-runs", repoID)
	var run github.CheckRun
	err := errNotFound
	if known != 0 {
		in := call{method: http.MethodPatch, path: fmt.Sprintf("%s/%d", path, known), body: checkRunBody("", check, first)}
		err = c.exchange(ctx, who, in, &run)
	}
	if errors.Is(err, errNotFound) {
		err = c.exchange(ctx, who, call{method: http.MethodPost, path: path, body: checkRunBody(sha, check, first)}, &run)
	}
	if err != nil {
		return 0, err
	}
	for start := len(first); start < len(all); start += annotationsInCall {
		more := map[string]any{"output": checkOutput(check, all[start:min(len(all), start+annotationsInCall)])}
		in := call{method: http.MethodPatch, path: fmt.Sprintf("%s/%d", path, run.GetID()), body: more}
		if _, err := c.do(ctx, who, in); err != nil {
			return run.GetID(), err
		}
	}
	return run.GetID(), nil
}

// checkRunBody is what GitHub takes. sha is "" for a change.
func checkRunBody(sha string, check Check, annotations []map[string]any) map[string]any {
	body := map[string]any{"name": check.Name, "output": checkOutput(check, annotations)}
	if sha != "" {
		body["head_sha"] = sha
	}
	if check.DetailsURL != "" {
		body["details_url"] = check.DetailsURL
	}
	if check.ExternalID != "" {
		body["external_id"] = check.ExternalID
	}
	if !check.StartedAt.IsZero() {
		body["started_at"] = check.StartedAt.UTC().Format(time.RFC3339)
	}
	switch check.State {
	case CheckRunning:
		body["status"] = "in_progress"
	case CheckError:
		body["status"], body["conclusion"] = "completed", string(CheckFailure)
	case CheckSuccess, CheckFailure, CheckNeutral, CheckCancelled, CheckBlocked:
		body["status"], body["conclusion"] = "completed", string(check.State)
	}
	actions := []map[string]string{}
	for _, a := range check.Actions {
		actions = append(actions, map[string]string{"label": clip(a.Label, 20), "description": clip(a.Description, 40), "identifier": a.Identifier})
	}
	body["actions"] = actions
	return body
}

func checkOutput(check Check, annotations []map[string]any) map[string]any {
	title := clip(oneLine(check.Title), maxCheckTitle)
	if title == "" {
		title = check.Name
	}
	summary := check.Summary
	if len(summary) > maxCheckText {
		summary = "The details are too long for this page."
	}
	output := map[string]any{"title": title, "summary": summary}
	if len(annotations) > 0 {
		output["annotations"] = annotations
	}
	return output
}

// checkAnnotations are the annotations as GitHub takes them. Their text is shown as it is, not as Markdown.
func checkAnnotations(all []Annotation) []map[string]any {
	var out []map[string]any
	for _, a := range all {
		if a.Path == "" || len(out) == maxAnnotations {
			continue
		}
		text := strings.TrimSpace(clip(visible(cut(a.Text, maxAnnotationText), true), maxAnnotationText))
		if text == "" {
			text = a.Title
		}
		line := max(a.Line, 1)
		annotation := map[string]any{
			"path": a.Path, "start_line": line, "end_line": max(a.End, line), "annotation_level": string(a.Level), "message": text,
		}
		if title := clip(oneLine(cut(a.Title, maxCheckTitle)), maxCheckTitle); title != "" {
			annotation["title"] = title
		}
		out = append(out, annotation)
	}
	return out
}

// lackFor is for how long something that GitHub refused is not tried again.
const lackFor = 10 * time.Minute

type lack struct {
	repository int64
	permission string
}

// noteLack remembers that a permission is missing.
func (c *Client) noteLack(repoID int64, permission string) {
	c.log.Warn("github refuses for lack of a permission", "permission", permission, "repository", repoID)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lacking[lack{repoID, permission}] = c.now().Add(lackFor)
}

func (c *Client) lacks(repoID int64, permission string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Before(c.lacking[lack{repoID, permission}])
}
