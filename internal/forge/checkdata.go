package forge

import (
	"fmt"
	"strings"

	"github.com/mayflydb/mayfly"
)

// CheckData is what the two checks of a pull request in one project are made of. Its comment has everything that is shown at length.
type CheckData struct {
	CommentData

	// Named is true if the names of the checks say which project it is: another project has the plain ones in the same repository.
	Named bool
	// Reason says why there is no preview; "" for the usual words.
	Reason string
	// Waiting says what a preview that is being made waits for, "" for nothing; WaitingLong that it has taken too long to go on without
	// an answer.
	Waiting     string
	WaitingLong bool
	// FailureCode is the preview's, if State is StateFailed.
	FailureCode mayfly.Code
	// Migrates is true if the project has migrations.
	Migrates    bool
	Annotations []Annotation
}

// Checks returns the check on the database and the one on its migrations. Both always say something, so that both can be required.
func Checks(d CheckData) (database, migrations Check) {
	base := Check{DetailsURL: safeLink(d.PageURL), ExternalID: ExternalID(d.Project, d.Number)}
	database, migrations = base, base
	database.Name = CheckName(CheckDatabase, d.Project, d.Named)
	migrations.Name = CheckName(CheckMigrations, d.Project, d.Named)
	database.State, database.Title = databaseCheck(d)
	migrations.State, migrations.Title = migrationsCheck(d)
	database.Summary, migrations.Summary = checkSummaries(d)
	if d.State == StateInvalidConfig {
		database.Annotations = d.Annotations
	} else {
		migrations.Annotations = d.Annotations
	}
	if d.Preview == "" {
		return database, migrations
	}
	rebuild := CheckAction{Label: "Rebuild", Description: "Clone and migrate anew, same password", Identifier: ActionRebuild}
	reset := CheckAction{Label: "Reset", Description: "Rebuild, with a new password", Identifier: ActionReset}
	if database.State.Concluded() {
		database.Actions = []CheckAction{reset, rebuild}
	}
	if migrations.State.Concluded() {
		migrations.Actions = []CheckAction{rebuild}
	}
	return database, migrations
}

// SupersededCheck ends a check on a commit that is no longer the head.
func SupersededCheck(name, head string) Check {
	return Check{
		Name: name, State: CheckCancelled, Title: "Superseded by " + short(head),
		Summary: "Another commit is the head of the pull request now; what there is to say is said there.",
	}
}

// RemovedCheck ends a check whose database is gone before it had anything to say.
func RemovedCheck(name string) Check {
	return Check{
		Name: name, State: CheckCancelled, Title: "The database was removed",
		Summary: "The pull request was closed, or the database was removed, before this came to an end.",
	}
}

func databaseCheck(d CheckData) (CheckState, string) {
	switch d.State {
	case StateCreating, StateMigrating, StateQueued:
		return underWay(d)
	case StateReady, StateSuspended:
		return CheckSuccess, oneLine(d.Preview) + " is ready"
	case StateFailed:
		return failedCheck(d)
	case StateDeleted:
		return CheckCancelled, "The database was removed"
	case StateForkDenied:
		return CheckNeutral, or(d.Reason, "Pull requests from forks get no database")
	case StateSkipped:
		return CheckNeutral, or(d.Reason, "This pull request gets no database")
	case StateAwaitingApproval:
		return CheckBlocked, or(d.Reason, "Waiting for the approval of somebody with write access")
	case StateInvalidConfig:
		return CheckFailure, or(d.Reason, ".mayfly.yml on the base branch cannot be used")
	}
	return CheckError, "Nothing is known about the database"
}

// underWay is a check that has not ended, unless it waits for so long that it is better to say so.
func underWay(d CheckData) (CheckState, string) {
	switch {
	case d.State == StateQueued && d.WaitingLong:
		return CheckError, "Not yet: waiting for room"
	case d.Waiting != "" && d.WaitingLong:
		return CheckError, "Not yet: " + d.Waiting
	case d.State == StateQueued:
		return CheckRunning, "Waiting for room"
	case d.Waiting != "":
		return CheckRunning, "Waiting: " + d.Waiting
	case d.State == StateMigrating:
		return CheckRunning, "Applying migrations"
	}
	return CheckRunning, "Cloning the database"
}

func failedCheck(d CheckData) (CheckState, string) {
	title := "The database could not be made"
	if d.Failure != nil {
		title = d.Failure.Message
	}
	switch d.FailureCode {
	case mayfly.CodeMigrationFailed, mayfly.CodeMigrationInvalid, mayfly.CodeInvalid:
		return CheckFailure, or(d.Reason, title)
	case mayfly.CodeHeadGone:
		return CheckCancelled, or(d.Reason, title)
	case "":
		return CheckFailure, or(d.Reason, title)
	}
	return CheckError, or(d.Reason, title)
}

func migrationsCheck(d CheckData) (CheckState, string) {
	switch d.State {
	case StateReady, StateSuspended:
		return readyMigrations(d)
	case StateFailed:
		state, title := failedCheck(d)
		if state == CheckError {
			return CheckCancelled, "Not run: the database could not be made"
		}
		return state, title
	case StateCreating, StateMigrating, StateQueued, StateDeleted, StateForkDenied, StateSkipped, StateAwaitingApproval, StateInvalidConfig:
	}
	return databaseCheck(d)
}

func readyMigrations(d CheckData) (CheckState, string) {
	if !d.Migrates {
		return CheckNeutral, "The project has no migrations set up"
	}
	applied := 0
	for _, m := range d.Migrations {
		if m.State == "applied" {
			applied++
		}
	}
	if applied == 0 {
		return CheckSuccess, "Nothing to apply"
	}
	said := []string{plural(applied, "migration") + " applied"}
	worst := map[string]int{}
	for _, f := range d.Findings {
		worst[f.Severity]++
	}
	for _, severity := range []string{"error", "warning"} {
		if n := worst[severity]; n > 0 {
			said = append(said, plural(n, severity))
		}
	}
	return CheckSuccess, strings.Join(said, ", ")
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// checkSummaries are the texts of the two checks: what the comment shows, each its part.
func checkSummaries(d CheckData) (database, migrations string) {
	show := detail{rows: 50, name: 200, text: 1000, statement: 2000}
	var db, mig strings.Builder
	db.WriteString(summary(d.CommentData, show) + "\n")
	if d.Reason != "" {
		db.WriteString("\n" + prose(d.Reason, show.text) + "\n")
	}
	if d.Note != "" {
		db.WriteString("\n> " + prose(d.Note, show.text) + "\n")
	}
	if d.State == StateForkDenied || d.State == StateDeleted || d.Preview == "" {
		return db.String(), db.String()
	}
	mig.WriteString(db.String())
	connect(&db, d.CommentData)
	timeline(&db, d.Steps, show)
	footer(&db, d.CommentData)
	failure(&mig, d.CommentData, show)
	warnings(&mig, d.Warnings, show)
	migrationTable(&mig, d.Migrations, show)
	findings(&mig, d.Findings, show)
	costs(&mig, d.Costs, show)
	schema(&mig, d.Schema, show)
	if mig.Len() > maxCheckText {
		mig.Reset()
		fmt.Fprintf(&mig, "%s\n%s\n", summary(d.CommentData, show), restBehind(d.CommentData))
	}
	return db.String(), mig.String()
}

// ForStrangers returns what may be shown of a fork's pull request: codes and positions. A stranger's migration can put rows into the
// words of the database, and what its schema diff shows is the production schema.
func (d CheckData) ForStrangers() CheckData {
	d.Schema, d.Warnings, d.Costs = nil, nil, nil
	if d.Failure != nil {
		f := *d.Failure
		f.Message, f.Hint, f.Statement = "The migrations failed", "", ""
		if f.Code != mayfly.CodeMigrationFailed {
			f.Message = "The database could not be made"
		}
		if f.SQLSTATE != "" {
			f.Message += " (SQLSTATE " + f.SQLSTATE + ")"
		}
		d.Failure = &f
	}
	if strings.HasPrefix(d.Note, rebuiltNote) {
		d.Note = strings.TrimSuffix(rebuiltNote, ": ")
	}
	if d.Waiting != "" {
		d.Waiting, d.Note = "something that has to come first", ""
	}
	steps := make([]CommentStep, len(d.Steps))
	for i, s := range d.Steps {
		s.Detail = ""
		steps[i] = s
	}
	d.Steps = steps
	found := make([]CommentFinding, len(d.Findings))
	for i, f := range d.Findings {
		f.Message, f.Instead = "", ""
		found[i] = f
	}
	d.Findings = found
	if d.State != StateInvalidConfig { // that is about a file of the base branch
		remarks := make([]Annotation, len(d.Annotations))
		for i, a := range d.Annotations {
			a.Text = "Finding " + a.Title
			remarks[i] = a
		}
		d.Annotations = remarks
	}
	return d
}

// rebuiltNote begins a note that says why a database was made anew.
const rebuiltNote = "Rebuilt from the template: "

// RebuiltNote returns the note about a database that was made anew.
func RebuiltNote(why string) string { return rebuiltNote + why }
