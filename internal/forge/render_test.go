package forge_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
)

var update = flag.Bool("update", false, "write the golden files anew")

func base(state forge.State) forge.CommentData {
	built := time.Date(2026, 3, 4, 2, 0, 0, 0, time.UTC)
	return forge.CommentData{
		RepositoryID: 9001, Number: 42, Project: "shop", State: state, Preview: "shop-pr-42",
		HeadSHA:         "1a2b3c4d5e6f7081928374655647382910abcdef",
		TemplateVersion: 3, TemplateReadyAt: built, ClonedAt: built.Add(5*time.Hour + 20*time.Minute),
	}
}

func steps() []forge.CommentStep {
	return []forge.CommentStep{
		{Name: "clone", Detail: "reflink, 1.2 GiB", Took: 24 * time.Millisecond},
		{Name: "start", Took: 131 * time.Millisecond},
		{Name: "migrate", Detail: "2 of 2", Took: 88 * time.Millisecond},
	}
}

func comments() map[string]forge.CommentData {
	creating := base(forge.StateCreating)
	creating.Steps = []forge.CommentStep{{Name: "clone", Took: 24 * time.Millisecond}, {Name: "start", Running: true}}

	migrating := base(forge.StateMigrating)
	migrating.Steps = steps()[:2]
	migrating.Migrations = []forge.CommentMigration{
		{Name: "0006_add_loyalty.up.sql", State: "applied", Took: 61 * time.Millisecond}, {Name: "0007_index.up.sql", State: "pending"},
	}

	ready := base(forge.StateReady)
	ready.Steps = steps()
	ready.Migrations = []forge.CommentMigration{
		{Name: "0005_old.up.sql", State: "skipped"},
		{Name: "0006_add_loyalty.up.sql", State: "applied", Took: 61 * time.Millisecond},
		{Name: "0007_index.up.sql", State: "applied", Took: 12345 * time.Millisecond},
	}
	ready.Note = "The database was made anew, because 0006_add_loyalty.up.sql was edited after it had been applied."
	ready.Warnings = []string{"customers.phone_2 looks personal (phone): add a rule to sanitize.yaml before production has rows in it"}
	ready.Findings = []forge.CommentFinding{
		{Severity: "error", Code: "add-column-rewrite", File: "db/migrations/0006_add_loyalty.up.sql", Line: 2, Message: "adds the column ref with a default that is computed for each row, so PostgreSQL rewrote the whole table: public.orders (4.1 GB, about 12,000,000 rows) in 38.0 s", Instead: "add the column without the default"},
		{Severity: "info", Code: "missing-lock-timeout", File: "db/migrations/0006_add_loyalty.up.sql", Line: 2, Message: "waits for AccessExclusiveLock on public.orders without a limit of its own"},
	}
	ready.Costs = []forge.CommentCost{{Name: "0006_add_loyalty.up.sql", Took: 38 * time.Second, Locked: 38 * time.Second, Lock: "AccessExclusiveLock", Rows: 3, WALBytes: 4 << 30, DiskBytes: 512 << 10}}
	ready.Schema = &forge.CommentSchema{Added: 1, Text: "@@ public.orders @@\n+ column ref uuid not null default gen_random_uuid()\n"}
	ready.PageURL = "https://mayfly.example.com/previews/shop-pr-42"

	suspended := base(forge.StateSuspended)
	expires := time.Date(2026, 3, 11, 9, 30, 0, 0, time.FixedZone("", 7200))
	suspended.ExpiresAt = &expires

	failed := base(forge.StateFailed)
	failed.Steps = append(steps()[:2:2], forge.CommentStep{Name: "migrate", Took: 9 * time.Millisecond, Failed: true})
	failed.Migrations = []forge.CommentMigration{
		{Name: "0006_add_loyalty.up.sql", State: "applied", Took: 61 * time.Millisecond},
		{Name: "0007_index.up.sql", State: "failed", Took: 9 * time.Millisecond},
		{Name: "0008_more.up.sql", State: "pending"},
	}
	failed.Failure = &forge.CommentFailure{
		Code: mayfly.CodeMigrationFailed, Message: `column "points" of relation "customers" already exists`,
		File: "db/migrations/0007_index.up.sql", Line: 3, SQLSTATE: "42701",
		Statement: "ALTER TABLE customers\n  ADD COLUMN points int NOT NULL DEFAULT 0;",
		Hint:      "the template already has this column; use ADD COLUMN IF NOT EXISTS or drop the statement",
	}

	poolFull := base(forge.StateFailed)
	poolFull.TemplateVersion = 0
	poolFull.Failure = &forge.CommentFailure{Code: mayfly.CodePoolFull, Message: "the pool has 1.1 GiB left", Hint: "close a pull request"}

	fork := forge.CommentData{RepositoryID: 9001, Number: 43, Project: "shop", State: forge.StateForkDenied, HeadSHA: base("").HeadSHA}
	return map[string]forge.CommentData{
		"creating": creating, "migrating": migrating, "ready": ready, "suspended": suspended, "failed": failed,
		"pool_full": poolFull, "deleted": base(forge.StateDeleted), "fork_denied": fork, "hostile": hostile(1),
	}
}

// hostile fills every field that others write, n times over.
func hostile(n int) forge.CommentData {
	attack := func(s string) string { return strings.Repeat(s, n) }
	d := base(forge.StateFailed)
	text := attack("@acme/admins #1 GH-2 <!-- x --> </details><img src=x onerror=alert(1)> ![x](http://evil) [y](javascript:z) " +
		"`code` ``` | ~~a~~ **b** _c_ $d$ https://evil.example www.evil.example \u202egnp.exe \x1b[31m\r\n# heading\r\n- item")
	d.Preview, d.Note = text, text
	d.Failure = &forge.CommentFailure{
		Code: mayfly.CodeMigrationFailed, Message: text, Hint: text, File: text, Line: 1, SQLSTATE: text,
		Statement: "SELECT '```';\n````\n@acme/admins <b>\n" + text,
	}
	d.Schema = &forge.CommentSchema{Added: 1, Text: "+ ```\n@acme/admins <b>\n" + text}
	for range 3 * n {
		d.Findings = append(d.Findings, forge.CommentFinding{Severity: "error", Code: text, File: text, Line: 3, Message: text, Instead: text}, forge.CommentFinding{Severity: "info", Message: text})
		d.Costs = append(d.Costs, forge.CommentCost{Name: text, Lock: text})
		d.Warnings = append(d.Warnings, text)
		d.Steps = append(d.Steps, forge.CommentStep{Name: text, Detail: text, Took: time.Millisecond})
		d.Migrations = append(d.Migrations, forge.CommentMigration{Name: text, State: "applied"}, forge.CommentMigration{Name: "a`b|c\\", State: "applied"})
	}
	d.LastCommand = &forge.CommentCommand{Text: text, By: text, Answer: text}
	d.HeadSHA, d.BaseSHA, d.Attestation = text, text, text
	d.PageURL = "https://evil.example/)[x](y"
	return d
}

func TestRenderComment(t *testing.T) {
	t.Parallel()
	for name, data := range comments() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := forge.RenderComment(data)
			path := filepath.Join("testdata", name+".md")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s (go test -update writes it):\n%s", path, got)
			}
			if !strings.HasPrefix(got, forge.Marker(data.RepositoryID, data.Number, data.Project)) {
				t.Errorf("does not start with the marker:\n%s", got)
			}
		})
	}
}

var (
	codeSpan = regexp.MustCompile("`[^`\n]+`")
	ours     = regexp.MustCompile(`<!-- mayfly:preview:[^>]* -->|</?(details|summary|sub)>|&#124;`)
	markup   = regexp.MustCompile(`@[A-Za-z]|#[0-9]|GH-[0-9]|<|://|(?i:www\.)[a-z]|[^\\]\]\(|\x1b|\r|\x{202e}`)
)

// withoutFences drops code blocks as GitHub sees them: a block ends with at least as many backticks as it began with.
func withoutFences(t *testing.T, body string) string {
	t.Helper()
	var rest strings.Builder
	var open string
	for line := range strings.Lines(body) {
		ticks := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case open == "" && len(ticks) >= 3:
			open = ticks
		case open == "":
			rest.WriteString(line)
		case len(ticks) >= len(open) && strings.TrimSpace(line) == ticks:
			open = ""
		}
	}
	if open != "" {
		t.Errorf("a code block does not end in:\n%s", body)
	}
	return rest.String()
}

// checkHarmless looks at what is left of a comment outside of code for anything that GitHub would make something of.
func checkHarmless(t *testing.T, body string) {
	t.Helper()
	rest := ours.ReplaceAllString(withoutFences(t, body), "")
	rest = codeSpan.ReplaceAllString(strings.NewReplacer(`\\`, "", "\\`", "").Replace(rest), "")
	if found := markup.FindAllString(rest, -1); found != nil {
		t.Errorf("markup %q is left in:\n%s", found, rest)
	}
	if len(body) >= forge.MaxCommentLength {
		t.Errorf("%d bytes", len(body))
	}
}

func TestRenderCommentNeutralisesForeignText(t *testing.T) {
	t.Parallel()
	checkHarmless(t, forge.RenderComment(hostile(1)))
}

// The checks show what the comment shows, in the same words.
func TestChecksNeutraliseForeignText(t *testing.T) {
	t.Parallel()
	for _, state := range []forge.State{
		forge.StateCreating, forge.StateMigrating, forge.StateReady, forge.StateFailed, forge.StateDeleted, forge.StateForkDenied, forge.StateQueued,
		forge.StateSkipped, forge.StateAwaitingApproval, forge.StateInvalidConfig,
	} {
		for _, n := range []int{1, 30} {
			d := forge.CheckData{CommentData: hostile(n), Reason: hostile(n).Note, Waiting: hostile(n).Note, Migrates: true}
			d.State = state
			for _, shown := range []forge.CheckData{d, d.ForStrangers()} {
				database, migrations := forge.Checks(shown)
				checkHarmless(t, database.Summary)
				checkHarmless(t, migrations.Summary)
			}
		}
	}
}

func TestRenderCommentIsShortEnough(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, 100} {
		body := forge.RenderComment(hostile(n))
		checkHarmless(t, body)
		if n == 100 && !strings.Contains(body, "more") {
			t.Errorf("%d times: nothing says that rows were left out:\n%s", n, body)
		}
	}
}

func TestMarkerCannotBeEnded(t *testing.T) {
	t.Parallel()
	if got := forge.Marker(1, 2, "a--><b>@c"); got != "<!-- mayfly:preview:1:2:a____b__c -->" {
		t.Errorf("marker %q", got)
	}
}

func FuzzRenderComment(f *testing.F) {
	f.Add("@a", "`", "```\n", "|")
	f.Add("\\", "\\|", "````", "<!-- -->")
	f.Add("wwwwww.x", "GH-GH-1", "http://a", "\xff")
	f.Fuzz(func(t *testing.T, message, name, statement, step string) {
		d := base(forge.StateFailed)
		d.Failure = &forge.CommentFailure{Code: mayfly.CodeMigrationFailed, Message: message, File: name, Statement: statement, Hint: message}
		d.Steps = []forge.CommentStep{{Name: step, Detail: message}}
		d.Migrations = []forge.CommentMigration{{Name: name, State: "applied"}}
		d.Note = step
		d.LastCommand = &forge.CommentCommand{Text: name, By: step, Answer: message}
		database, migrations := forge.Checks(forge.CheckData{CommentData: d, Reason: message, Waiting: step})
		checkHarmless(t, database.Summary)
		checkHarmless(t, migrations.Summary)
		body := forge.RenderComment(d)
		checkHarmless(t, body)
		// Each table row has the cells that its header has, whatever is in them.
		for row := range strings.Lines(withoutFences(t, body)) {
			if strings.HasPrefix(row, "| ") && !strings.Contains(row, "---") {
				if n := strings.Count(row, "|"); n != 3 && n != 4 {
					t.Errorf("row with %d bars: %q", n, row)
				}
			}
		}
	})
}
