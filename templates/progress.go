package templates

import (
	"slices"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// The phases of a build, in their order.
const (
	PhaseQuarantine   = "quarantine"    // restore a source that cannot be streamed; a part of connect
	PhaseFetch        = "fetch"         // bring a dump here, verify its checksum
	PhaseConnect      = "connect"       // reach the source, take the snapshot
	PhasePlan         = "plan"          // bind the rules to the columns
	PhaseSubset       = "subset"        // choose rows, if the rules say so
	PhaseInitialise   = "initialise"    // volume, initdb, start
	PhaseSchema       = "schema"        // roles, database, types, tables, functions, views
	PhaseLoad         = "load"          // rows, masked in flight
	PhaseAfterLoad    = "after_load"    // hooks, if there are any
	PhaseIndexes      = "indexes"       // indexes, constraints, triggers, policies
	PhaseRefresh      = "refresh"       // sequences, materialized views
	PhaseAfterMasking = "after_masking" // hooks, if there are any
	PhaseVerify       = "verify"        // row counts; VACUUM and ANALYZE
	PhaseScan         = "scan"          // statistics, the catalog and what else may hold an original
	PhaseFreeze       = "freeze"        // clean stop, WAL reset, read-only
)

// Progress is where a build is.
type Progress = mayfly.BuildProgress

const (
	// progressInterval is the least time between two calls of a progress function within one phase.
	progressInterval = 200 * time.Millisecond
	// rateWindow is how far back the rate of a build looks, rateStep the least time between two of its samples.
	rateWindow, rateStep = 30 * time.Second, time.Second
	// rateAfter is how long something runs before its rate and the time that it takes are told: the first moments mislead.
	rateAfter = 2 * time.Second
	// finishedShown is how many finished tables a Progress names.
	finishedShown = 20
)

// progressMeter passes on the progress of a build, not too often. All methods may be called concurrently.
type progressMeter struct {
	clock  func() time.Time
	notify func(Progress) // nil for nobody

	mu      sync.Mutex
	state   Progress
	last    time.Time
	samples []progressSample // of the last rateWindow
	running []*tableMeter
}

// progressSample is where a build was.
type progressSample struct {
	at    time.Time
	bytes int64
}

// enter starts a phase; it is always passed on.
func (m *progressMeter) enter(phase string) {
	m.change(true, func(p *Progress) { p.Phase, p.Table = phase, "" })
}

// change changes the state and passes it on if it is time, or if force is set.
func (m *progressMeter) change(force bool, do func(*Progress)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do(&m.state)
	if m.notify == nil {
		return
	}
	if now := m.clock(); force || now.Sub(m.last) >= progressInterval {
		m.last = now
		m.notify(m.snapshot(now))
	}
}

// snapshot returns the state with the rates. The caller holds the lock.
func (m *progressMeter) snapshot(now time.Time) Progress {
	p := m.state
	utc := now.UTC()
	p.UpdatedAt = &utc
	p.Finished = slices.Clone(p.Finished)
	if p.Phase != PhaseLoad || p.TotalBytes == 0 {
		m.samples = nil
		return p
	}
	if len(m.samples) == 0 || now.Sub(m.samples[len(m.samples)-1].at) >= rateStep {
		m.samples = append(m.samples, progressSample{now, p.Bytes})
	}
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > rateWindow {
		m.samples = m.samples[1:]
	}
	since := m.samples[0]
	p.BytesPerSecond, p.SecondsLeft = pace(p.Bytes-since.bytes, p.TotalBytes-p.Bytes, now.Sub(since.at))
	p.Running = nil
	for _, t := range m.running {
		p.Running = append(p.Running, t.progress(now))
	}
	return p
}

// pace returns how fast something is and how long what is left of it takes; 0 and nil if it is too early to tell, or stands still.
func pace(done, left int64, took time.Duration) (perSecond int64, secondsLeft *int64) {
	if took < rateAfter || done <= 0 {
		return 0, nil
	}
	perSecond = max(int64(float64(done)/took.Seconds()), 1)
	seconds := (left + perSecond - 1) / perSecond
	return perSecond, &seconds
}

// tableMeter counts the bytes of one table towards its share of the total, so that the sum never overshoots.
type tableMeter struct {
	meter    *progressMeter
	name     string
	weight   int64 // share of the total
	estimate int64 // of rows
	shown    int64
	rows     int64
	started  time.Time
}

// table starts to count a table.
func (m *progressMeter) table(name string, weight, estimate int64) *tableMeter {
	t := &tableMeter{meter: m, name: name, weight: weight, estimate: estimate, started: m.clock()}
	m.change(false, func(*Progress) { m.running = append(m.running, t) })
	return t
}

// progress is called with the meter's lock held.
func (t *tableMeter) progress(now time.Time) mayfly.TableProgress {
	p := mayfly.TableProgress{
		Table: t.name, Bytes: t.shown, TotalBytes: t.weight, Rows: t.rows, TotalRows: t.estimate, DurationMS: now.Sub(t.started).Milliseconds(),
	}
	p.BytesPerSecond, p.SecondsLeft = pace(t.shown, t.weight-t.shown, now.Sub(t.started))
	return p
}

// advance adds bytes that were read of the table.
func (t *tableMeter) advance(bytes int64) {
	t.meter.change(false, func(p *Progress) {
		step := min(bytes, t.weight-t.shown)
		t.shown += step
		p.Table, p.Bytes = t.name, p.Bytes+step
	})
}

// passed adds rows that were read of the table.
func (t *tableMeter) passed(rows int64) {
	t.meter.change(false, func(p *Progress) {
		t.rows += rows
		p.Rows += rows
	})
}

// done adds what is left of the table's share, and its rows as far as they were not told before.
func (t *tableMeter) done(rows int64) {
	t.meter.change(false, func(p *Progress) {
		rest := t.weight - t.shown
		p.Table, p.Bytes, p.Rows, p.TablesDone = t.name, p.Bytes+rest, p.Rows+rows-t.rows, p.TablesDone+1
		t.shown, t.rows = t.weight, rows
		t.meter.running = slices.DeleteFunc(t.meter.running, func(other *tableMeter) bool { return other == t })
		finished := t.progress(t.meter.clock())
		finished.SecondsLeft, finished.TotalRows = nil, rows
		p.Finished = append(p.Finished, finished)
		p.Finished = p.Finished[max(0, len(p.Finished)-finishedShown):]
	})
}
