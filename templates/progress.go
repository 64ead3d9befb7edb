package templates

import (
	"sync"
	"time"
)

// The phases of a build, in their order.
const (
	PhaseConnect    = "connect"    // reach the source, take the snapshot
	PhasePlan       = "plan"       // bind the rules to the columns
	PhaseInitialise = "initialise" // volume, initdb, start
	PhaseSchema     = "schema"     // roles, database, types, tables, functions, views
	PhaseLoad       = "load"       // rows, masked in flight
	PhaseIndexes    = "indexes"    // indexes, constraints, triggers, policies
	PhaseRefresh    = "refresh"    // sequences, materialized views
	PhaseVerify     = "verify"     // row counts; VACUUM and ANALYZE
	PhaseFreeze     = "freeze"     // clean stop, WAL reset, read-only
)

// Progress is where a build is. Bytes and TotalBytes count in the unit that is known beforehand: the size of the tables
// in a live source, the compressed size of their data in an archive.
type Progress struct {
	Phase                   string
	Table                   string // of the latest change; "schema.table"
	Bytes, TotalBytes       int64
	Rows, TotalRows         int64 // TotalRows is an estimate, 0 if there is none
	TablesDone, TablesTotal int
}

// progressInterval is the least time between two calls of a progress function within one phase.
const progressInterval = 200 * time.Millisecond

// progressMeter passes on the progress of a build, not too often. All methods may be called concurrently.
type progressMeter struct {
	clock  func() time.Time
	notify func(Progress) // nil for nobody

	mu    sync.Mutex
	state Progress
	last  time.Time
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
		m.notify(m.state)
	}
}

// tableMeter counts the bytes of one table towards its share of the total, so that the sum never overshoots.
type tableMeter struct {
	meter  *progressMeter
	name   string
	weight int64 // share of the total
	shown  int64
}

// advance adds bytes that were read of the table.
func (t *tableMeter) advance(bytes int64) {
	step := min(bytes, t.weight-t.shown)
	t.shown += step
	t.meter.change(false, func(p *Progress) { p.Table, p.Bytes = t.name, p.Bytes+step })
}

// done adds what is left of the table's share, and its rows.
func (t *tableMeter) done(rows int64) {
	rest := t.weight - t.shown
	t.shown = t.weight
	t.meter.change(false, func(p *Progress) {
		p.Table, p.Bytes, p.Rows, p.TablesDone = t.name, p.Bytes+rest, p.Rows+rows, p.TablesDone+1
	})
}
