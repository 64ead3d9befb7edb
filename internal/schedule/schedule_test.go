package schedule_test

import (
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/schedule"
)

func TestNext(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ spec, zone, after, want string }{
		"utc":              {"0 3 * * *", "", "2026-11-20T03:00:00Z", "2026-11-21T03:00:00Z"},
		"zone":             {"0 3 * * *", "Asia/Kathmandu", "2026-11-20T00:00:00Z", "2026-11-20T21:15:00Z"},
		"weekdays":         {"30 6 * * 1-5", "", "2026-11-20T07:00:00Z", "2026-11-23T06:30:00Z"},
		"blanks":           {"  0   3 * *   * ", "UTC", "2026-11-20T03:00:00Z", "2026-11-21T03:00:00Z"},
		"leap day":         {"0 0 29 2 *", "", "2026-11-20T00:00:00Z", "2028-02-29T00:00:00Z"},
		"descriptor":       {"@daily", "Europe/Berlin", "2026-11-20T12:00:00Z", "2026-11-20T23:00:00Z"},
		"every":            {"@every 6h", "", "2026-11-20T12:00:00Z", "2026-11-20T18:00:00Z"},
		"clock put back":   {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		"after clock back": {"30 3 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"},
	} {
		s, err := schedule.Parse(test.spec, test.zone)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, test.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after).Format(time.RFC3339); got != test.want {
			t.Errorf("%s: after %s comes %s instead of %s", name, test.after, got, test.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, test := range [][2]string{
		{"", ""}, {"0 3 * *", ""}, {"0 3 * * * *", ""}, {"61 * * * *", ""}, {"0 0 30 2 *", ""}, {"TZ=", ""}, {"CRON_TZ=UTC 0 3 * * *", ""},
		{"0 3 * * *", "Mars/Olympus"}, {"0 3 * * *", "Local"}, {"0 3 * * *", "../../etc/passwd"}, {"@every x", ""}, {"@nightly", ""},
	} {
		if _, err := schedule.Parse(test[0], test[1]); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%q in %q gives %v", test[0], test[1], err)
		}
	}
}

func TestJitterStaysBeforeTheNextSlot(t *testing.T) {
	t.Parallel()
	s, err := schedule.Parse("0 * * * *", "")
	if err != nil {
		t.Fatal(err)
	}
	slot := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	seen := map[time.Time]bool{}
	for range 200 {
		got := s.Jittered(slot, 5*time.Hour)
		if got.Before(slot) || !got.Before(s.Next(slot)) {
			t.Fatalf("%s became %s", slot, got)
		}
		seen[got] = true
	}
	if len(seen) < 100 {
		t.Errorf("200 draws gave %d moments", len(seen))
	}
	if got := s.Jittered(slot, 0); !got.Equal(slot) {
		t.Errorf("without jitter %s became %s", slot, got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0 3 * * *", "UTC")
	f.Add("@every 1h", "Europe/Berlin")
	f.Add("*/0 * * * *", "")
	f.Fuzz(func(_ *testing.T, spec, zone string) {
		if s, err := schedule.Parse(spec, zone); err == nil {
			_ = s.Jittered(s.Next(time.Unix(0, 0)), time.Hour)
		}
	})
}
