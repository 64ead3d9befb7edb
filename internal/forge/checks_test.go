package forge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
)

func TestCheckRuns(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	sha := b.open(t, "points", map[string]string{"db/1.sql": "select 1;\n"}).HeadSHA(t.Context())
	check := forge.Check{Name: forge.CheckMigrations, State: forge.CheckRunning, Title: "Applying", Summary: "…", ExternalID: forge.ExternalID("shop", 1)}
	id, err := b.client.SetCheck(t.Context(), b.repo.ID(), sha, 0, check)
	if err != nil || id == 0 {
		t.Fatalf("SetCheck = %d, %v", id, err)
	}
	check.State, check.Title = forge.CheckFailure, strings.Repeat("a title without end ", 50)
	check.Actions = []forge.CheckAction{{Label: "Reset", Description: "Make it anew from the template", Identifier: forge.ActionReset}}
	for i := range 120 {
		check.Annotations = append(check.Annotations, forge.Annotation{
			Path: "db/1.sql", Line: i, Level: forge.AnnotationWarning, Title: "lock", Text: fmt.Sprintf("finding %d", i),
		})
	}
	again, err := b.client.SetCheck(t.Context(), b.repo.ID(), sha, id, check)
	if err != nil || again != id {
		t.Fatalf("SetCheck = %d, %v; want %d", again, err, id)
	}
	runs := b.repo.CheckRuns(sha)
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	run := runs[0]
	if run.Conclusion != "failure" || len(run.Annotations) != 120 || run.Annotations[119].Message != "finding 119" || len(run.Actions) != 1 {
		t.Errorf("the run is %s with %d annotations and actions %v", run.Conclusion, len(run.Annotations), run.Actions)
	}
	if project, number, ok := forge.ParseExternalID(run.ExternalID); !ok || project != "shop" || number != 1 {
		t.Errorf("external id %q", run.ExternalID)
	}
	if calls := b.server.Calls()["PATCH /repositories/{id}/check-runs/{check}"]; calls != 3 {
		t.Errorf("120 annotations took %d changes, want 3 of 50 each", calls)
	}
}

// A token has no check runs, and an App from before Mayfly used them may lack the permission.
func TestChecksWithoutPermissionAreStatuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			b.server.Deny("POST /repositories/{id}/check-runs", true)
			sha := b.open(t, "points", map[string]string{"db/1.sql": "select 1;\n"}).HeadSHA(t.Context())
			for state, want := range map[forge.CheckState]string{
				forge.CheckRunning: "pending", forge.CheckSuccess: "success", forge.CheckNeutral: "success", forge.CheckFailure: "failure",
				forge.CheckError: "error", forge.CheckCancelled: "error", forge.CheckBlocked: "failure",
			} {
				id, err := b.client.SetCheck(t.Context(), b.repo.ID(), sha, 0, forge.Check{Name: forge.CheckDatabase, State: state, Title: string(state)})
				statuses := b.repo.Statuses(sha)
				if err != nil || id != 0 || len(statuses) == 0 || statuses[len(statuses)-1].State != want || statuses[len(statuses)-1].Context != forge.CheckDatabase {
					t.Errorf("%s: %d, %v, %+v; want %s", state, id, err, statuses, want)
				}
			}
			if tries := b.server.Calls()["POST /repositories/{id}/check-runs"]; tries > 1 {
				t.Errorf("tried %d times to make a check run", tries)
			}
		})
	}
}

func TestCheckOfACommitThatIsGone(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	_, err := b.client.SetCheck(t.Context(), b.repo.ID(), strings.Repeat("ab", 20), 0, forge.Check{Name: forge.CheckDatabase, State: forge.CheckSuccess})
	if mayfly.ErrorCode(err) != mayfly.CodeHeadGone {
		t.Errorf("the error is %v", err)
	}
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	pr := b.open(t, "points", map[string]string{"db/1.sql": "select 1;\n"})
	d := forge.Deployment{Environment: forge.Environment("shop-pr-1"), SHA: pr.HeadSHA(t.Context()), State: forge.DeploymentRunning, URL: "https://mayfly.example.com/previews/shop-pr-1"}
	id, err := b.client.SetDeployment(t.Context(), b.repo.ID(), 0, d)
	if err != nil || id == 0 {
		t.Fatalf("SetDeployment = %d, %v", id, err)
	}
	d.State = forge.DeploymentSuccess
	if again, err := b.client.SetDeployment(t.Context(), b.repo.ID(), id, d); err != nil || again != id {
		t.Fatalf("SetDeployment = %d, %v; want %d", again, err, id)
	}
	all := b.repo.Deployments()
	if len(all) != 1 || !all[0].Transient || all[0].Production || all[0].State() != "success" || all[0].Statuses[1].EnvironmentURL != d.URL {
		t.Errorf("deployments %+v", all)
	}
	if err := b.client.RetireDeployments(t.Context(), b.repo.ID(), d.Environment); err != nil {
		t.Fatal(err)
	}
	if all = b.repo.Deployments(); all[0].State() != "inactive" {
		t.Errorf("deployments %+v", all)
	}
}

func TestDeploymentsAreOptional(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	pr := b.open(t, "points", map[string]string{"db/1.sql": "select 1;\n"})
	b.server.SetPermission("deployments", "")
	b.server.Deny("POST /repositories/{id}/deployments", true)
	for range 2 {
		id, err := b.client.SetDeployment(t.Context(), b.repo.ID(), 0, forge.Deployment{Environment: "preview/x", SHA: pr.HeadSHA(t.Context()), State: forge.DeploymentSuccess})
		if err != nil || id != 0 {
			t.Errorf("SetDeployment = %d, %v", id, err)
		}
	}
	if tries := b.server.Calls()["POST /repositories/{id}/deployments"]; tries > 2 { // asRepository looks again once
		t.Errorf("tried %d times", tries)
	}
	missing, err := b.client.MissingPermissions(t.Context(), b.repo.ID())
	if err != nil || len(missing) != 1 || missing[0].Name != "deployments" {
		t.Errorf("MissingPermissions = %+v, %v", missing, err)
	}
}

func TestSuspendedInstallation(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	b.server.Suspend("acme", true)
	_, err := b.client.Repository(t.Context(), "acme/shop")
	if mayfly.ErrorCode(err) != mayfly.CodeForgeUnavailable || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("suspended: %v", err)
	}
	b.server.Suspend("acme", false)
	if _, err := b.client.Repository(t.Context(), "acme/shop"); err != nil {
		t.Errorf("unsuspended: %v", err)
	}
	b.server.Uninstall("acme", true)
	if _, err := b.client.Repository(t.Context(), "acme/shop"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("removed: %v", err)
	}
}
