package schedule

import (
	"math/rand/v2"
	"strings"
	"time"
	_ "time/tzdata" // time zones also on machines and in images that have none

	"github.com/robfig/cron/v3"

	mayfly "github.com/mayflydb/mayfly"
)

// Schedule is a cron expression in a time zone.
type Schedule struct {
	spec     string
	location *time.Location
	cron     cron.Schedule
}

// Parse reads a cron expression of five fields (minute, hour, day of month, month, day of week), or one of @hourly, @daily,
// @weekly, @monthly, @yearly and "@every 6h". zone is a name of the IANA time zone database, "" for UTC. CodeInvalid for what
// cannot be understood, and for moments that never come.
func Parse(spec, zone string) (*Schedule, error) {
	spec = strings.Join(strings.Fields(spec), " ")
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "time_zone %q is not known", zone).WithHint("use a name such as Europe/Berlin; UTC if left out")
	}
	if strings.Contains(spec, "TZ=") {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "schedule %q names a time zone", spec).WithHint("set time_zone beside it")
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(spec)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "schedule %q cannot be understood: %w", spec, err).
			WithHint(`five fields: minute hour day-of-month month day-of-week; "0 3 * * *" is every night at three`)
	}
	s := &Schedule{spec: spec, location: location, cron: parsed}
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, location)).IsZero() { // looks five years ahead, and that is a leap year
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the moment of the schedule %q never comes", spec).WithHint("is there such a day in that month?")
	}
	return s, nil
}

// Next returns the first moment after t.
func (s *Schedule) Next(t time.Time) time.Time { return s.cron.Next(t.In(s.location)).UTC() }

// Jittered returns slot and up to jitter more, drawn at random, but never as late as the slot after it.
func (s *Schedule) Jittered(slot time.Time, jitter time.Duration) time.Time {
	if gap := s.Next(slot).Sub(slot); gap > 0 {
		jitter = min(jitter, gap-time.Second)
	}
	if jitter <= 0 {
		return slot
	}
	return slot.Add(rand.N(jitter)) //nolint:gosec // to spread load, not a secret
}

// String returns the expression and its time zone.
func (s *Schedule) String() string { return s.spec + " " + s.location.String() }
