package forge

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mayflydb/mayfly"
)

// CommentData is what the comment on a pull request is made of. There is no field for a credential. Text may come from
// anybody: RenderComment makes it harmless.
//
// The same data gives the same text, and an unchanged text is not written again: so times in it are those of events,
// never that of rendering.
type CommentData struct {
	RepositoryID int64
	Number       int
	Project      string

	State   State
	Preview string // its name, "shop-pr-42"
	HeadSHA string
	BaseSHA string // of the base branch that it was computed with; "" if not known
	// Note is a sentence about what is special this time: "The database was made anew, because …".
	Note string
	// LastCommand is the comment command that was answered last, or nil.
	LastCommand *CommentCommand
	// Warnings are sentences about what a reviewer should look at, one each.
	Warnings []string

	// TemplateVersion and TemplateReadyAt describe what it is a clone of; ClonedAt is when it was cloned.
	TemplateVersion int
	TemplateReadyAt time.Time
	ClonedAt        time.Time
	// Attestation names the signed statement of what is in the template; "" if there is none.
	Attestation string

	Steps      []CommentStep
	Migrations []CommentMigration
	Findings   []CommentFinding
	Costs      []CommentCost
	Schema     *CommentSchema
	Failure    *CommentFailure

	// ExpiresAt is nil if the preview lives as long as its pull request is open.
	ExpiresAt *time.Time
	// PageURL is the http(s) address of the preview's page, or "".
	PageURL string
}

// CommentCommand is what somebody asked of Mayfly in a comment, and the answer.
type CommentCommand struct {
	Text   string // "/mayfly extend 2d"
	By     string // login
	Answer string // a sentence; GitHub's or the database's words are not in it
	Failed bool
}

// CommentStep is one step of the timeline.
type CommentStep struct {
	Name    string
	Detail  string
	Took    time.Duration
	Running bool
	Failed  bool
}

// CommentMigration is one migration that the pull request brings.
type CommentMigration struct {
	Name  string // the file's, "0007_add_loyalty.up.sql"
	State string // "applied", "failed", "pending" or "skipped"
	Took  time.Duration
}

// CommentFailure says what went wrong, as exactly as is known.
type CommentFailure struct {
	Code      mayfly.Code
	Message   string
	Hint      string
	File      string
	Line      int // from 1; 0 if not known
	SQLSTATE  string
	Statement string
}

// MaxCommentLength is GitHub's limit on a comment, in characters; RenderComment stays below it, counted in bytes.
const MaxCommentLength = 65536

// Marker returns the invisible text by which Mayfly finds its comment again.
func Marker(repoID int64, number int, project string) string {
	return fmt.Sprintf("<!-- mayfly:preview:%d:%d:%s -->", repoID, number, markerName(project))
}

// markerName keeps what a project's name may have, so that no name ends the HTML comment.
func markerName(project string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, strings.ReplaceAll(project, "--", "__"))
}

// detail says how much of foreign text is shown.
type detail struct {
	rows, name, text, statement int
	cut                         bool // much is left out, and it is said where to find it
}

// RenderComment returns the comment in GitHub's Markdown, below MaxCommentLength.
func RenderComment(d CommentData) string {
	for _, show := range []detail{
		{rows: 100, name: 200, text: 2000, statement: 4000},
		{rows: 20, name: 100, text: 500, statement: 1000, cut: true},
	} {
		if body := render(d, show); len(body) < MaxCommentLength {
			return body
		}
	}
	return render(d, detail{rows: 5, name: 60, text: 200, statement: 200, cut: true})
}

func render(d CommentData, show detail) string {
	var b strings.Builder
	b.WriteString(Marker(d.RepositoryID, d.Number, d.Project) + "\n")
	b.WriteString("### " + headline(d, show) + "\n\n")
	b.WriteString(summary(d, show) + "\n")
	if d.Note != "" {
		b.WriteString("\n> " + prose(d.Note, show.text) + "\n")
	}
	lastCommand(&b, d.LastCommand, show)
	if d.Preview == "" || d.State == StateForkDenied || d.State == StateDeleted {
		return b.String()
	}
	failure(&b, d, show)
	warnings(&b, d.Warnings, show)
	connect(&b, d)
	migrationTable(&b, d.Migrations, show)
	findings(&b, d.Findings, show)
	costs(&b, d.Costs, show)
	schema(&b, d.Schema, show)
	timeline(&b, d.Steps, show)
	if show.cut {
		b.WriteString("\n" + restBehind(d) + "\n")
	}
	footer(&b, d)
	return b.String()
}

// restBehind says where the rest is.
func restBehind(d CommentData) string {
	if link := safeLink(d.PageURL); link != "" {
		return "There is more than fits here: [the rest is on the preview's page](" + link + ")."
	}
	return "There is more than fits here: `mayfly get " + clip(oneLine(d.Preview), mayfly.MaxNameLength) + "` shows the rest."
}

// lastCommand shows what somebody asked for in a comment, and the answer.
func lastCommand(b *strings.Builder, c *CommentCommand, show detail) {
	if c == nil || c.Text == "" {
		return
	}
	sign := "▶️"
	if c.Failed {
		sign = "✖️"
	}
	fmt.Fprintf(b, "\n%s %s by %s: %s\n", sign, code(c.Text, show.name), code(c.By, show.name), prose(c.Answer, show.text))
}

func headline(d CommentData, show detail) string {
	name := code(d.Preview, show.name)
	if name == "" {
		name = "of " + code(d.Project, show.name)
	}
	switch d.State {
	case StateCreating:
		return "⏳ Database " + name + " is being created"
	case StateMigrating:
		return "⏳ Database " + name + " is being migrated"
	case StateReady:
		return "✅ Database " + name + " is ready"
	case StateSuspended:
		return "💤 Database " + name + " is asleep"
	case StateFailed:
		return "❌ Database " + name + " failed"
	case StateDeleted:
		return "🧹 Database " + name + " is gone"
	case StateForkDenied, StateSkipped:
		return "🔒 No database for this pull request"
	case StateQueued:
		return "⏳ Database " + name + " waits for room"
	case StateAwaitingApproval:
		return "🔒 Waiting for approval"
	case StateInvalidConfig:
		return "❌ `.mayfly.yml` cannot be used"
	}
	return "Database " + name
}

func summary(d CommentData, show detail) string {
	switch d.State {
	case StateForkDenied:
		return "It comes from a fork. Databases hold data derived from production, so pull requests from forks get none. " +
			"Nothing is wrong with the pull request, and there is nothing to do."
	case StateSkipped:
		return "Nothing is wrong with the pull request, and there is nothing to do."
	case StateAwaitingApproval:
		return "It comes from a fork. Somebody with write access can let this commit have a database: `/mayfly approve`. Another push needs another approval."
	case StateInvalidConfig:
		return "The configuration on the base branch has to be corrected first."
	case StateDeleted:
		return "The database and everything in it was removed. If the pull request is reopened, it gets a new one."
	}
	var parts []string
	if d.HeadSHA != "" {
		at := "At " + code(short(d.HeadSHA), show.name)
		if d.BaseSHA != "" {
			at += " on base " + code(short(d.BaseSHA), show.name)
		}
		parts = append(parts, at)
	}
	if d.TemplateVersion > 0 {
		parts = append(parts, template(d))
	}
	if d.Attestation != "" {
		parts = append(parts, "attestation "+code(d.Attestation, show.name))
	}
	if d.State == StateSuspended {
		parts = append(parts, "wakes when you connect")
	}
	if len(parts) == 0 {
		return "Waiting for its turn."
	}
	return strings.Join(parts, " · ") + "."
}

// template describes what was cloned, with its age at that moment.
func template(d CommentData) string {
	text := fmt.Sprintf("clone of template v%d", d.TemplateVersion)
	switch age := d.ClonedAt.Sub(d.TemplateReadyAt); {
	case d.TemplateReadyAt.IsZero() || d.ClonedAt.IsZero() || age < 0:
		return text
	case age < 2*time.Minute:
		return text + ", just built"
	default:
		return text + ", " + duration(age) + " old"
	}
}

func warnings(b *strings.Builder, list []string, show detail) {
	for i, w := range list {
		if i == 0 {
			b.WriteString("\n")
		}
		if i >= show.rows {
			fmt.Fprintf(b, "- ⚠️ and %d more\n", len(list)-i)
			return
		}
		b.WriteString("- ⚠️ " + prose(w, show.text) + "\n")
	}
}

func failure(b *strings.Builder, d CommentData, show detail) {
	f := d.Failure
	if d.State != StateFailed || f == nil {
		return
	}
	b.WriteString("\n**" + prose(f.Message, show.text) + "**\n\n")
	if f.File != "" {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		b.WriteString("- at " + code(place, show.name) + "\n")
	}
	if f.SQLSTATE != "" {
		b.WriteString("- SQLSTATE " + code(f.SQLSTATE, show.name) + "\n")
	}
	if f.Code != "" {
		b.WriteString("- code " + code(string(f.Code), show.name) + "\n")
	}
	if f.Statement != "" {
		b.WriteString("\n" + fence("sql", f.Statement, show.statement))
	}
	if f.Hint != "" {
		b.WriteString("\n💡 " + prose(f.Hint, show.text) + "\n")
	}
}

// connect shows the commands that lead into the database. Credentials come from the service, to whoever may have them.
func connect(b *strings.Builder, d CommentData) {
	inspectable := d.State == StateFailed && d.Failure != nil && d.Failure.Code == mayfly.CodeMigrationFailed
	if d.Preview == "" || (d.State != StateReady && d.State != StateSuspended && !inspectable) {
		return
	}
	if inspectable {
		b.WriteString("\nThe database is left as the migration left it, to look at:\n")
	}
	name := clip(oneLine(d.Preview), mayfly.MaxNameLength)
	b.WriteString("\n" + fence("sh", "mayfly psql "+name+"\nmayfly url "+name, 400))
}

func migrationTable(b *strings.Builder, all []CommentMigration, show detail) {
	if len(all) == 0 {
		return
	}
	b.WriteString("\n| migration | | took |\n| --- | --- | ---: |\n")
	for i, m := range all {
		if i == show.rows {
			fmt.Fprintf(b, "| … and %d more | | |\n", len(all)-i)
			break
		}
		took := ""
		if m.State == "applied" || m.State == "failed" {
			took = duration(m.Took)
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", code(m.Name, show.name), migrationState(m.State), took)
	}
}

func migrationState(state string) string {
	switch state {
	case "applied":
		return "✅ applied"
	case "failed":
		return "❌ failed"
	case "skipped":
		return "already in the template"
	}
	return "⏳ pending"
}

func timeline(b *strings.Builder, steps []CommentStep, show detail) {
	if len(steps) == 0 {
		return
	}
	var total time.Duration
	for _, s := range steps {
		total += s.Took
	}
	fmt.Fprintf(b, "\n<details><summary>Timeline: %s in %s</summary>\n\n| step | ms |\n| --- | ---: |\n", plural(len(steps), "step"), duration(total))
	for i, s := range steps {
		if i == show.rows {
			fmt.Fprintf(b, "| … and %d more | |\n", len(steps)-i)
			break
		}
		name := prose(s.Name, show.name)
		if s.Detail != "" {
			name += " (" + prose(s.Detail, show.name) + ")"
		}
		took := strconv.FormatInt(s.Took.Milliseconds(), 10)
		switch {
		case s.Running:
			took = "…"
		case s.Failed:
			name = "❌ " + name
		}
		fmt.Fprintf(b, "| %s | %s |\n", name, took)
	}
	b.WriteString("\n</details>\n")
}

func footer(b *strings.Builder, d CommentData) {
	var parts []string
	if d.ExpiresAt != nil {
		parts = append(parts, "Expires "+d.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC")+"; <code>/mayfly extend 2d</code> in a comment extends it")
	} else {
		parts = append(parts, "Removed when the pull request is closed")
	}
	if link := safeLink(d.PageURL); link != "" {
		parts = append(parts, "[details]("+link+")")
	}
	b.WriteString("\n<sub>" + strings.Join(parts, " · ") + "</sub>\n")
}

// safeLink returns address if it can stand in a Markdown link as it is.
func safeLink(address string) string {
	if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
		return ""
	}
	if strings.ContainsAny(address, " \t\r\n()<>[]\\`\"") || len(address) > 500 {
		return ""
	}
	return address
}
