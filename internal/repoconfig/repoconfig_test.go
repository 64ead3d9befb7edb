package repoconfig_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/repoconfig"
)

// server is what the server's configuration says of the project.
func server() mayfly.Project {
	return mayfly.Project{
		Name:       "shop",
		Migrations: mayfly.MigrationSettings{Tool: mayfly.MigrationToolAuto, Path: "db"},
		Previews: mayfly.PreviewSettings{
			PullRequestTTL: 48 * time.Hour, IdleAfter: time.Hour,
			PullRequests: mayfly.PullRequestPolicy{Forks: mayfly.ForksApprove, Paths: []string{"services/**"}},
		},
	}
}

func narrow(t *testing.T, text string, project mayfly.Project) (mayfly.Project, []repoconfig.Problem) {
	t.Helper()
	file, problems := repoconfig.Parse([]byte(text))
	if len(problems) > 0 {
		return project, problems
	}
	return file.Narrow(project)
}

func TestEveryKeyNarrows(t *testing.T) {
	t.Parallel()
	got, problems := narrow(t, `
version: 1
projects:
  shop:
    enabled: true
    drafts: off
    only_label: preview
    paths: ["services/shop/**", go.mod]
    ttl: 1d
    idle: 10m
    size: small
    bots: skip
    forks: deny
    migrations:
      path: db/migrations
      tool: goose
      always_rebuild: on
    seeds: [db/seeds]
`, server())
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	want := server()
	want.Migrations = mayfly.MigrationSettings{Tool: "goose", Path: "db/migrations", AlwaysRebuild: true, Seed: []string{"db/seeds"}}
	want.Previews.PullRequestTTL, want.Previews.IdleAfter = 24*time.Hour, 10*time.Minute
	want.Previews.PullRequests = mayfly.PullRequestPolicy{
		SkipDrafts: true, OnlyLabel: "preview", Paths: []string{"services/**"}, RepositoryPaths: []string{"services/shop/**", "go.mod"},
		Forks: mayfly.ForksDeny, Bots: mayfly.BotsSkip, Size: "small",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("narrowed to\n%+v, want\n%+v", got, want)
	}
}

func TestNothingSaidChangesNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "version: 1\n", "projects:\n", "projects: {shop: {}}\n", "projects:\n  shop:\n", "projects:\n  other:\n    enabled: off\n"} {
		got, problems := narrow(t, text, server())
		if len(problems) > 0 || !reflect.DeepEqual(got, server()) {
			t.Errorf("%q gives %+v with problems %v", text, got, problems)
		}
	}
}

func TestProblemsHaveLinesAndHints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, line, message, hint string }{
		{"misspelled key", "projects:\n  shop:\n    draft: off\n", ".mayfly.yml:3:", `"draft" is no key`, `"drafts"`},
		{"misspelled top", "project: {}\n", ".mayfly.yml:1:", `"project" is no key`, `"projects"`},
		{"twice", "projects:\n  shop:\n    ttl: 1d\n    ttl: 2d\n", ".mayfly.yml:", "", ""},
		{"not YAML", "projects:\n  shop: [\n", ".mayfly.yml:", "not YAML", ""},
		{"tab", "projects:\n\tshop: {}\n", ".mayfly.yml:", "not YAML", ""},
		{"another version", "version: 2\n", ".mayfly.yml:1:", "version is not 1", ""},
		{"alias", "projects:\n  a: &x {enabled: off}\n  shop: *x\n", ".mayfly.yml:", "", ""},
		{"no list", "projects:\n  shop:\n    paths: services\n", ".mayfly.yml:3:", "not a list", ""},
		{"out of the repository", "projects:\n  shop:\n    paths: [../x]\n", ".mayfly.yml:3:", "not a path", ""},
		{"no time", "projects:\n  shop:\n    ttl: soon\n", ".mayfly.yml:3:", "not a time", "2d"},
		{"no policy", "projects:\n  shop:\n    forks: schema\n", ".mayfly.yml:3:", "not known", "schema-only"},
		{"longer than the server's", "projects:\n  shop:\n    ttl: 3d\n", ".mayfly.yml:3:", "more than the server's", "narrow"},
		{"never idle", "projects:\n  shop:\n    idle: 2h\n", ".mayfly.yml:3:", "more than the server's", "narrow"},
		{"forks that the server does not allow", "projects:\n  shop:\n    forks: schema-only\n", ".mayfly.yml:3:", "not what the server's", "narrow"},
		{"bots", "projects:\n  shop:\n    bots: preview\n", ".mayfly.yml:3:", "more than", "narrow"},
		{"elsewhere", "projects:\n  shop:\n    migrations:\n      path: other\n", ".mayfly.yml:4:", "not within", "narrow"},
		{"beside", "projects:\n  shop:\n    migrations:\n      path: dbx\n", ".mayfly.yml:4:", "not within", "narrow"},
		{"a command", "projects:\n  shop:\n    migrations:\n      tool: command\n", ".mayfly.yml:4:", "not the server's", "narrow"},
		{"large", strings.Repeat("#", repoconfig.MaxBytes+1), ".mayfly.yml:1:", "more than", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, problems := narrow(t, tt.text, server())
			if len(problems) == 0 {
				t.Fatalf("no problem; it gives %+v", got)
			}
			p := problems[0]
			if !strings.HasPrefix(p.String(), tt.line) || !strings.Contains(p.Message, tt.message) || !strings.Contains(p.Hint, tt.hint) {
				t.Errorf("the problem is %q with hint %q", p, p.Hint)
			}
		})
	}
}

func TestWhatTheServerTurnedOffStaysOff(t *testing.T) {
	t.Parallel()
	project := server()
	project.Previews.PullRequests.SkipDrafts = true
	project.Previews.PullRequests.OnlyLabel = "db"
	project.Migrations.AlwaysRebuild = true
	for _, text := range []string{"drafts: on", "only_label: other", "migrations: {always_rebuild: off}"} {
		if _, problems := narrow(t, "projects:\n  shop:\n    "+text+"\n", project); len(problems) != 1 {
			t.Errorf("%s: problems %v, want one", text, problems)
		}
	}
}

func TestUnknownProjectsAreTold(t *testing.T) {
	t.Parallel()
	file, problems := repoconfig.Parse([]byte("projects:\n  shop: {}\n  shpo:\n    enabled: off\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	unknown := file.Unknown([]string{"shop"})
	if len(unknown) != 1 || unknown[0].Line != 3 || !strings.Contains(unknown[0].Hint, "shop") {
		t.Errorf("unknown: %+v", unknown)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "projects:\n  shop:\n    ttl: 1d\n", "a: &a [*a]", "- x", "projects: {shop: {paths: [a, b]}}", "!!binary x"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := repoconfig.Parse(text)
		if (file == nil) != (len(problems) > 0) {
			t.Errorf("%q: file %v with problems %v", text, file, problems)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Message == "" {
				t.Errorf("%q: problem %+v", text, p)
			}
		}
		if file != nil {
			file.Narrow(mayfly.Project{Name: "shop"})
		}
	})
}
