package webhooks_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/webhooks"
)

func fixture(tb testing.TB, name string) []byte {
	tb.Helper()
	payload, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return payload
}

func TestHint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, event, payload string
		want                 webhooks.Facts
		code                 mayfly.Code
	}{
		{name: "pull request", event: "pull_request", payload: string(fixture(t, "pull_request.opened.json")),
			want: webhooks.Facts{Action: "opened", RepositoryID: 9001, Repository: "acme/shop", Number: 42, InstallationID: 555}},
		{name: "ping", event: "ping", payload: string(fixture(t, "ping.json")),
			want: webhooks.Facts{RepositoryID: 9001, Repository: "acme/shop"}},
		{name: "comment on a pull request", event: "issue_comment", payload: string(fixture(t, "issue_comment.created.json")),
			want: webhooks.Facts{Action: "created", RepositoryID: 9001, Repository: "acme/shop", Number: 42}},
		{name: "comment on an issue", event: "issue_comment", payload: `{"action":"created","issue":{"number":7}}`,
			want: webhooks.Facts{Action: "created"}},
		{name: "review", event: "pull_request_review", payload: `{"action":"submitted","pull_request":{"number":7},"repository":{"id":3}}`,
			want: webhooks.Facts{Action: "submitted", RepositoryID: 3, Number: 7}},
		{name: "unknown event of another shape", event: "whatever", payload: `{"action":3,"repository":"x","number":"y","installation":[]}`},
		{name: "hostile names are dropped", event: "whatever", payload: `{"action":"\u0000","repository":{"full_name":"a/b\u0000"}}`},
		{name: "empty", event: "push", payload: ``, code: mayfly.CodeInvalid},
		{name: "array", event: "push", payload: `[]`, code: mayfly.CodeInvalid},
		{name: "null", event: "push", payload: `null`, code: mayfly.CodeInvalid},
		{name: "cut off", event: "push", payload: `{"action":"opened"`, code: mayfly.CodeInvalid},
		{name: "two objects", event: "push", payload: `{}{}`, code: mayfly.CodeInvalid},
		{name: "not UTF-8", event: "push", payload: "{\"action\":\"\xff\"}", code: mayfly.CodeInvalid},
		{name: "pull request without a repository", event: "pull_request", payload: `{"action":"opened","number":4,"pull_request":{}}`,
			code: mayfly.CodeInvalid},
		{name: "pull request with a negative number", event: "pull_request",
			payload: `{"action":"opened","number":-4,"pull_request":{},"repository":{"id":1}}`, code: mayfly.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := webhooks.Hint(tt.event, []byte(tt.payload))
			if mayfly.ErrorCode(err) != tt.code || got != tt.want {
				t.Errorf("Hint = %+v, %v; want %+v, code %q", got, err, tt.want, tt.code)
			}
		})
	}
}

func FuzzHint(f *testing.F) {
	for _, name := range []string{"pull_request.opened.json", "ping.json", "issue_comment.created.json"} {
		f.Add("pull_request", fixture(f, name))
	}
	f.Add("push", []byte(`{"action":"\u0000"}`))
	f.Fuzz(func(t *testing.T, event string, payload []byte) {
		facts, err := webhooks.Hint(event, payload)
		if err != nil {
			if mayfly.ErrorCode(err) != mayfly.CodeInvalid || facts != (webhooks.Facts{}) {
				t.Errorf("Hint(%q, %q) = %+v, %v: want no facts and CodeInvalid", event, payload, facts, err)
			}
			return
		}
		if !json.Valid(payload) {
			t.Errorf("Hint(%q, %q) took what is not JSON", event, payload)
		}
		if facts.RepositoryID < 0 || facts.Number < 0 || facts.InstallationID < 0 {
			t.Errorf("Hint(%q, %q) = %+v: negative", event, payload, facts)
		}
		if event == webhooks.EventPullRequest && (facts.RepositoryID == 0 || facts.Number == 0) {
			t.Errorf("Hint(%q, %q) = %+v: a pull request without identity", event, payload, facts)
		}
	})
}
