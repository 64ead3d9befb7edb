package reportpage

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mayflydb/mayfly/migrations/observe"
)

// scaleOf says what a statement's time depends on, with the figures of this data: so that one can tell what it costs on other data.
func scaleOf(s *observe.Statement) string {
	if s.Failed {
		return "it failed"
	}
	took := span(s.DurationMS)
	var largest int64 = -1
	text := ""
	for _, r := range s.Rewrites {
		if r.BytesBefore > largest && !r.Truncated {
			largest = r.BytesBefore
			rows := ""
			if r.Rows >= 0 {
				rows = group(r.Rows) + " rows, "
			}
			text = fmt.Sprintf("%s to rewrite %s (%s%s): grows with it", took, r.Relation, rows, size(r.BytesBefore))
		}
	}
	for _, r := range s.Scans {
		if r.Whole && r.Bytes > largest {
			largest = r.Bytes
			text = fmt.Sprintf("%s to read all of %s (%s rows, %s): grows with it", took, r.Relation, group(r.Read), size(r.Bytes))
		}
	}
	switch {
	case text != "":
		return text + perRow(s)
	case s.Rows > 0:
		return fmt.Sprintf("%s for %s rows: grows with them%s", took, group(s.Rows), perRow(s))
	case s.Observed == observe.FromNothing:
		return took
	}
	return took + ", whatever the amount of data"
}

// perRow is the time for a thousand rows, where it is more than noise.
func perRow(s *observe.Statement) string {
	rows := s.Rows
	for _, r := range s.Scans {
		if r.Whole {
			rows = max(rows, r.Read)
		}
	}
	if rows < 1000 || s.DurationMS < 1 {
		return ""
	}
	return ", " + span(s.DurationMS*1000/float64(rows)) + " for 1,000 rows"
}

// span is a time for people.
func span(milliseconds float64) string {
	switch {
	case milliseconds >= 60_000:
		return (time.Duration(milliseconds) * time.Millisecond).Round(time.Second).String()
	case milliseconds >= 1000:
		return strconv.FormatFloat(milliseconds/1000, 'f', 2, 64) + " s"
	case milliseconds >= 10:
		return strconv.FormatFloat(milliseconds, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(milliseconds, 'f', 2, 64) + " ms"
}

// size is a number of bytes for people.
func size(bytes int64) string {
	magnitude := max(bytes, -bytes)
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if magnitude >= unit.size {
			return strconv.FormatFloat(float64(bytes)/float64(unit.size), 'f', 1, 64) + " " + unit.name
		}
	}
	return strconv.FormatInt(bytes, 10) + " bytes"
}

// group writes a number with commas.
func group(n int64) string {
	text := strconv.FormatInt(max(n, -n), 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if n < 0 {
		return "-" + text
	}
	return text
}
