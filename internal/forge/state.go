package forge

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mayflydb/mayfly"
)

// State is what a comment or a status tells about a pull request's database.
type State string

// The states: those of previews, as far as people need to tell them apart, and the denial to forks, who have none.
const (
	StateCreating   State = "creating"
	StateMigrating  State = "migrating"
	StateReady      State = "ready"
	StateSuspended  State = "suspended"
	StateFailed     State = "failed"
	StateDeleted    State = "deleted"
	StateForkDenied State = "fork_denied"
	// StateQueued is accepted and waits for room.
	StateQueued State = "queued"
	// StateSkipped is left without a database by a policy: a draft, a bot, a label, paths that no project is about.
	StateSkipped State = "skipped"
	// StateAwaitingApproval is a fork's pull request that somebody with write access may approve.
	StateAwaitingApproval State = "awaiting_approval"
	// StateInvalidConfig is a pull request whose base branch has a .mayfly.yml that cannot be used.
	StateInvalidConfig State = "invalid_config"
)

// Annotation is a remark on lines of a file, as a check shows it.
type Annotation struct {
	Path  string
	Line  int // from 1; less means 1
	End   int // the last line; less than Line means Line
	Level AnnotationLevel
	Title string
	Text  string
}

// AnnotationLevel says how bad it is.
type AnnotationLevel string

// The levels that GitHub knows.
const (
	AnnotationNotice  AnnotationLevel = "notice"
	AnnotationWarning AnnotationLevel = "warning"
	AnnotationFailure AnnotationLevel = "failure"
)

// Identifiers of the buttons on a check; GitHub sends them back in check_run deliveries with the action requested_action.
const (
	ActionReset   = "reset"
	ActionRebuild = "rebuild"
)

// ExternalID is what a check run carries to say which pull request of which project it is about: deliveries about check runs of forks
// name no pull request.
func ExternalID(project string, number int) string {
	return fmt.Sprintf("mayfly:%s:%d", project, number)
}

// ParseExternalID is the reverse of ExternalID. ok is false for what others have made.
func ParseExternalID(id string) (project string, number int, ok bool) {
	rest, ok := strings.CutPrefix(id, "mayfly:")
	if !ok {
		return "", 0, false
	}
	project, digits, ok := strings.Cut(rest, ":")
	number, err := strconv.Atoi(digits)
	return project, number, ok && err == nil && number > 0 && project != ""
}

// StateOf returns the state to tell for a preview's.
func StateOf(s mayfly.PreviewState) State {
	switch s {
	case mayfly.PreviewMigrating:
		return StateMigrating
	case mayfly.PreviewReady:
		return StateReady
	case mayfly.PreviewSuspended:
		return StateSuspended
	case mayfly.PreviewFailed:
		return StateFailed
	case mayfly.PreviewDeleting, mayfly.PreviewDeleted:
		return StateDeleted
	case mayfly.PreviewQueued:
		return StateQueued
	case mayfly.PreviewPending, mayfly.PreviewCreating:
	}
	return StateCreating
}

// StatusData is what a commit status is made of.
type StatusData struct {
	State   State
	Preview string
	// Applied is the number of migrations that were applied; Took is how long the preview took to become ready, or 0.
	Applied int
	Took    time.Duration
	// Failure is set when State is StateFailed.
	Failure   *mayfly.Failure
	TargetURL string
}

// StatusFor returns the commit status for a state. A database that could not be made because of the pull request is a
// failure; one that Mayfly could not make is an error. Forks get success, because a red status would tell every stranger
// that they did something wrong, and a required one would keep their pull requests from ever being merged.
func StatusFor(d StatusData) Status {
	s := Status{Context: StatusContext, TargetURL: d.TargetURL}
	switch d.State {
	case StateCreating:
		s.State, s.Description = StatusPending, "Cloning the database"
	case StateMigrating:
		s.State, s.Description = StatusPending, "Applying migrations"
	case StateReady, StateSuspended:
		s.State, s.Description = StatusSuccess, d.Preview+" is ready"
		if d.Applied > 0 {
			s.Description += ", " + plural(d.Applied, "migration") + " applied"
		}
		if d.Took > 0 {
			s.Description += " in " + duration(d.Took)
		}
	case StateFailed:
		s.State, s.Description = failureStatus(d.Failure)
	case StateDeleted:
		s.State, s.Description = StatusSuccess, "The database was removed"
	case StateForkDenied:
		s.State, s.Description = StatusSuccess, "Pull requests from forks get no database"
	case StateQueued:
		s.State, s.Description = StatusPending, "Waiting for room"
	case StateSkipped:
		s.State, s.Description = StatusSuccess, "This pull request gets no database"
	case StateAwaitingApproval:
		s.State, s.Description = StatusPending, "Waiting for the approval of somebody with write access"
	case StateInvalidConfig:
		s.State, s.Description = StatusFailure, ".mayfly.yml on the base branch cannot be used"
	}
	s.Description = clip(oneLine(s.Description), maxDescription)
	return s
}

func failureStatus(f *mayfly.Failure) (StatusState, string) {
	if f == nil {
		return StatusError, "The database could not be made"
	}
	switch f.Code {
	case mayfly.CodeMigrationFailed, mayfly.CodeMigrationInvalid, mayfly.CodeHeadGone:
		return StatusFailure, f.Message
	}
	return StatusError, f.Message
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// duration prints d as precisely as is useful: milliseconds below ten seconds, and so on.
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Round(24*time.Hour).Hours()/24))
}
