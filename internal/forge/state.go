package forge

import (
	"fmt"
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
)

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
