package lint

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mayflydb/mayfly/migrations/observe"
)

// figures says what a statement cost on a relation of this size, and what waited for it.
func (c *checking) figures(r *observe.Relation, held time.Duration, mode string) string {
	took := time.Duration(c.now.DurationMS * float64(time.Millisecond))
	text := fmt.Sprintf("%s (%s%s) in %s", r.Title(), size(r.Bytes), rows(r.Rows), duration(took))
	if mode != "" {
		text += fmt.Sprintf(", with %s held for %s, when %s", mode, duration(held), waiting(mode))
	}
	const enough = 8 << 20 // below, most of the time has nothing to do with the size
	if r.Bytes >= enough && took >= 10*time.Millisecond {
		text += fmt.Sprintf("; about %s per GB", duration(time.Duration(float64(took)*float64(1<<30)/float64(r.Bytes))))
	}
	return text
}

// waiting says what a lock keeps others from.
func waiting(mode string) string {
	switch mode {
	case "AccessExclusiveLock":
		return "nobody can read or write it"
	case "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock":
		return "nobody can write it"
	}
	return "nobody can change its definition"
}

func rows(n int64) string {
	if n < 0 {
		return ""
	}
	return ", about " + number(n) + " rows"
}

// number groups digits by threes.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
	default:
		return fmt.Sprintf("%d kB", (bytes+1023)/1024)
	}
}

func duration(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
}
