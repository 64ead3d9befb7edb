package webhooks_test

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/mayflydb/mayfly/webhooks"
)

// example is one of GitHub's published payloads.
type example struct {
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload"`
}

func examples(t *testing.T) []example {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "examples.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	if err := json.NewDecoder(unzipped).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPublishedExamples(t *testing.T) {
	t.Parallel()
	actionable := map[string]int{}
	for i, e := range examples(t) {
		facts, err := webhooks.Hint(e.Event, e.Payload)
		if err != nil {
			t.Errorf("example %d (%s) is refused: %v", i, e.Event, err)
			continue
		}
		d := webhooks.Delivery{Event: e.Event, Action: facts.Action, Number: facts.Number, RepositoryID: facts.RepositoryID}
		if d.Actionable() {
			actionable[e.Event]++
		}
		needsRepository := e.Event != webhooks.EventInstallation && e.Event != webhooks.EventInstallationRepositories && e.Event != webhooks.EventPing
		if needsRepository && (facts.RepositoryID == 0 || facts.Repository == "") {
			t.Errorf("example %d (%s %s) names no repository: %+v", i, e.Event, facts.Action, facts)
		}
		if e.Event == webhooks.EventPullRequest && facts.Number == 0 {
			t.Errorf("example %d (%s %s) has no number", i, e.Event, facts.Action)
		}
	}
	for _, event := range []string{
		webhooks.EventPing, webhooks.EventPullRequest, webhooks.EventPush, webhooks.EventDelete, webhooks.EventCheckRun, webhooks.EventCheckSuite,
		webhooks.EventMergeGroup, webhooks.EventRepository, webhooks.EventInstallation, webhooks.EventInstallationRepositories,
	} {
		if actionable[event] == 0 {
			t.Errorf("no published example of %s is one to act on", event)
		}
	}
}

func TestAnswersToEventsAndActions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		event, action string
		number        int
		want          bool
	}{
		{event: "issue_comment", action: "created", number: 7, want: true},
		{event: "issue_comment", action: "edited", number: 7},
		{event: "issue_comment", action: "created"}, // of an issue
		{event: "pull_request", action: "labeled", number: 7, want: true},
		{event: "pull_request", action: "assigned", number: 7},
		{event: "check_run", action: "created"},
		{event: "check_run", action: "rerequested", want: true},
		{event: "push", want: true},
		{event: "star", action: "created"},
	} {
		d := webhooks.Delivery{Event: tt.event, Action: tt.action, Number: tt.number}
		if got := d.Actionable(); got != tt.want {
			t.Errorf("%s %s (number %d) is one to act on: %t, want %t", tt.event, tt.action, tt.number, got, tt.want)
		}
	}
}
