package webhooks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/mayflydb/mayfly"
)

// The events that Mayfly acts on. Every other event is recorded and nothing is done about it.
const (
	EventPing                     = "ping"
	EventPullRequest              = "pull_request"
	EventPush                     = "push"
	EventDelete                   = "delete"
	EventIssueComment             = "issue_comment"
	EventCheckRun                 = "check_run"
	EventCheckSuite               = "check_suite"
	EventMergeGroup               = "merge_group"
	EventRepository               = "repository"
	EventInstallation             = "installation"
	EventInstallationRepositories = "installation_repositories"
)

// Facts are the few things a payload is read for: where to look on the forge. Zero values mean that the payload does
// not say.
type Facts struct {
	Action         string
	RepositoryID   int64
	Repository     string // "owner/name" at the time of the delivery
	Number         int    // of the pull request
	InstallationID int64  // of the GitHub App; 0 for a plain repository webhook
}

// repositoryName is what GitHub allows: login of at most 39 characters, name of at most 100.
var (
	repositoryName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}/[A-Za-z0-9._-]{1,100}$`)
	actionName     = regexp.MustCompile(`^[a-z_]{1,64}$`)
)

// Hint reads Facts from the payload of event. It is pure, and lenient about everything except what the events need
// that Mayfly acts on: a pull_request payload must name its repository, its number and its action. Anything that is
// not a JSON object in UTF-8 is an *mayfly.Error with CodeInvalid.
func Hint(event string, payload []byte) (Facts, error) {
	// Checked on top of JSON's own rules because PostgreSQL, which is where payloads go, refuses other encodings.
	if !utf8.Valid(payload) {
		return Facts{}, malformed("the payload is not UTF-8")
	}
	if trimmed := bytes.TrimLeft(payload, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return Facts{}, malformed("the payload is not a JSON object")
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(payload, &top); err != nil {
		return Facts{}, malformed("the payload is not JSON: %w", err)
	}
	var facts Facts
	if action := field[string](top["action"]); actionName.MatchString(action) {
		facts.Action = action
	}
	repository := field[map[string]json.RawMessage](top["repository"])
	facts.RepositoryID = max(0, field[int64](repository["id"]))
	if name := field[string](repository["full_name"]); repositoryName.MatchString(name) {
		facts.Repository = name
	}
	installation := field[map[string]json.RawMessage](top["installation"])
	facts.InstallationID = max(0, field[int64](installation["id"]))
	facts.Number = pullRequestNumber(top)
	if event == EventPullRequest && (facts.RepositoryID == 0 || facts.Number == 0 || facts.Action == "") {
		return Facts{}, malformed("a pull_request payload must have repository.id, number and action")
	}
	return facts, nil
}

// pullRequestNumber finds the number at the places where the events put it: at the top (pull_request), in the pull
// request (reviews), or in the issue (comments), which is a pull request only if it says so.
func pullRequestNumber(top map[string]json.RawMessage) int {
	if raw, ok := top["pull_request"]; ok {
		if n := field[int](top["number"]); n > 0 {
			return n
		}
		return max(0, field[int](field[map[string]json.RawMessage](raw)["number"]))
	}
	issue := field[map[string]json.RawMessage](top["issue"])
	if pull := issue["pull_request"]; len(pull) > 0 && string(pull) != "null" {
		return max(0, field[int](issue["number"]))
	}
	return 0
}

// field decodes raw as a T, and gives the zero T for anything else: payloads of events that Mayfly does not act on may
// have any shape.
func field[T any](raw json.RawMessage) T {
	var value, zero T
	if len(raw) == 0 || json.Unmarshal(raw, &value) != nil {
		return zero
	}
	return value
}

func malformed(format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "%w", fmt.Errorf(format, args...)).
		WithHint("redeliver it from the webhook's page on GitHub; if it fails again, report it with the delivery id")
}

// actions are those that can matter, by event; nil for an event without actions.
func actions() map[string][]string {
	return map[string][]string{
		EventPing: nil, EventPush: nil, EventDelete: nil,
		EventPullRequest: {
			"opened", "reopened", "synchronize", "closed", "edited", "ready_for_review", "converted_to_draft", "labeled", "unlabeled",
		},
		EventIssueComment: {"created"},
		EventCheckRun:     {"rerequested", "requested_action"},
		EventCheckSuite:   {"rerequested"},
		EventMergeGroup:   {"checks_requested"},
		EventRepository: {
			"renamed", "transferred", "archived", "unarchived", "deleted", "edited", "privatized", "publicized",
		},
		EventInstallation:             {"created", "deleted", "suspend", "unsuspend", "new_permissions_accepted"},
		EventInstallationRepositories: {"added", "removed"},
	}
}

// Actionable reports whether something may have to be done about the delivery: a pull request whose database may have to change, a
// command, a repository that came or went. Edited is one because the base branch can be edited. A comment is one only on a pull
// request. The inbox records the others as handled.
func (d Delivery) Actionable() bool {
	known, ok := actions()[d.Event]
	if !ok || (d.Event == EventIssueComment && d.Number == 0) {
		return false
	}
	return known == nil || slices.Contains(known, d.Action)
}
