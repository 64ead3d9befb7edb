package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// followBuild shows a build until it ends: a bar that is redrawn on a terminal, a line per phase and every few seconds elsewhere.
func followBuild(ctx context.Context, c *client.Client, id string, timeout time.Duration, shown *buildProgress) (*client.Template, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last *client.Template
	err := c.FollowTemplate(ctx, id, func(t *client.Template) bool {
		last = t
		shown.show(t)
		return true
	})
	shown.end()
	if err != nil {
		if code := mayfly.ErrorCode(err); code == mayfly.CodeTimeout || code == mayfly.CodeCancelled {
			return last, mayfly.Errorf(code, "stopped waiting after %s; template %s is still being built", time.Since(shown.began).Round(time.Second), id).
				WithHint("see it with: mayfly template show %s; stop it with: mayfly template cancel %s", id, id)
		}
		return last, err
	}
	if last != nil && last.Failure != nil {
		return last, &mayfly.Error{Code: mayfly.Code(last.Failure.Code), Message: last.Failure.Message, Hint: last.Failure.Hint}
	}
	return last, nil
}

type buildProgress struct {
	w       *screen
	verbose bool // a line for every table
	began   time.Time
	steps   int             // finished steps shown
	tables  map[string]bool // finished tables shown
	unnamed int             // finished tables that came too fast to be named
	plainAt time.Time       // of the last plain progress line
	drawn   bool            // a bar is on the current line
}

func newBuildProgress(w *screen, verbose bool) *buildProgress {
	now := time.Now()
	return &buildProgress{w: w, verbose: verbose, began: now, plainAt: now, tables: map[string]bool{}}
}

// plainInterval is how often progress is told where a line cannot be redrawn.
const plainInterval = 5 * time.Second

func (b *buildProgress) show(t *client.Template) {
	if b.verbose && t.Progress != nil {
		b.showTables(t.Progress)
	}
	for _, step := range t.Steps[min(b.steps, len(t.Steps)):] {
		if step.FinishedAt == nil {
			break
		}
		b.steps++
		b.end()
		fmt.Fprintln(b.w, b.w.stepLine(step))
	}
	p := t.Progress
	if p == nil || p.TotalBytes == 0 || p.Bytes >= p.TotalBytes {
		return
	}
	line := loadLine(p)
	switch {
	case b.w.terminal:
		const width = 30
		full := int(width * p.Bytes / p.TotalBytes)
		fmt.Fprintf(b.w, "\r\x1b[K%-8s [%s%s] %s", p.Phase, strings.Repeat("#", full), strings.Repeat(".", width-full), line)
		b.drawn = true
	case time.Since(b.plainAt) > plainInterval:
		b.plainAt = time.Now()
		fmt.Fprintln(b.w, "...  "+p.Phase+": "+line)
		if b.verbose {
			for _, t := range p.Running {
				fmt.Fprintln(b.w, "...    "+tableLine(t))
			}
		}
	}
}

// showTables names the tables that were finished since it was called last. Of those that came in between too fast only the number is known.
func (b *buildProgress) showTables(p *client.Progress) {
	for _, t := range p.Finished {
		if b.tables[t.Table] {
			continue
		}
		b.tables[t.Table] = true
		b.end()
		fmt.Fprintf(b.w, "       %-40s %10d rows  %10s  %8.1f s\n", t.Table, t.Rows, bytesText(t.Bytes), float64(t.DurationMS)/1000)
	}
	if missed := p.TablesDone - len(b.tables) - b.unnamed; missed > 0 {
		b.unnamed += missed
		b.end()
		fmt.Fprintf(b.w, "       and %d more tables\n", missed)
	}
}

// loadLine says how far the loading is: bytes, rows, tables, rate and time left.
func loadLine(p *client.Progress) string {
	line := fmt.Sprintf("%s of %s, %d rows, %d of %d tables", bytesText(p.Bytes), bytesText(p.TotalBytes), p.Rows, p.TablesDone, p.TablesTotal)
	return line + paceText(p.BytesPerSecond, p.SecondsLeft)
}

func tableLine(t mayfly.TableProgress) string {
	line := fmt.Sprintf("%s: %s of %s, %d rows", t.Table, bytesText(t.Bytes), bytesText(t.TotalBytes), t.Rows)
	return line + paceText(t.BytesPerSecond, t.SecondsLeft)
}

func paceText(perSecond int64, secondsLeft *int64) string {
	if perSecond == 0 {
		return ""
	}
	text := ", " + bytesText(perSecond) + "/s"
	if secondsLeft != nil {
		text += ", " + rough(time.Duration(*secondsLeft)*time.Second) + " left"
	}
	return text
}

func (b *buildProgress) end() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.drawn = false
	}
}
