package templates

import (
	"testing"
	"time"
)

func TestProgressTellsRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	clock := &fakeClock{now: time.Unix(1000, 0)}
	forward := func(d time.Duration) { clock.now = clock.now.Add(d) }
	var last Progress
	m := &progressMeter{clock: clock.Now, notify: func(p Progress) { last = p }}
	m.enter(PhaseLoad)
	m.change(true, func(p *Progress) { p.TotalBytes, p.TotalRows, p.TablesTotal = 1000, 50, 2 })
	orders, people := m.table("public.orders", 800, 40), m.table("public.people", 200, 10)
	forward(time.Second)
	orders.advance(10)
	if last.BytesPerSecond != 0 || last.SecondsLeft != nil {
		t.Errorf("after a second it pretends to know: %+v", last)
	}
	for range 9 {
		forward(time.Second)
		orders.advance(10)
		orders.passed(1)
	}
	if last.Bytes != 100 || last.BytesPerSecond != 10 || last.SecondsLeft == nil || *last.SecondsLeft != 90 || last.UpdatedAt == nil {
		t.Errorf("after ten seconds: %+v", last)
	}
	if len(last.Running) != 2 || last.Running[0].Table != "public.orders" || last.Running[0].Rows != 8 || last.Running[0].TotalRows != 40 ||
		last.Running[0].BytesPerSecond != 10 || *last.Running[0].SecondsLeft != 70 || last.Running[1].SecondsLeft != nil {
		t.Errorf("the running tables are %+v", last.Running)
	}
	people.done(12)
	forward(time.Second)
	orders.advance(10_000) // more than was known beforehand
	if last.Bytes != 1000 || last.TablesDone != 1 || len(last.Running) != 1 || len(last.Finished) != 1 {
		t.Errorf("when one is done: %+v", last)
	}
	if f := last.Finished[0]; f.Table != "public.people" || f.Rows != 12 || f.Bytes != 200 || f.SecondsLeft != nil {
		t.Errorf("the finished table is %+v", f)
	}
	orders.done(41)
	m.enter(PhaseIndexes)
	if last.Rows != 53 || last.TablesDone != 2 || len(last.Running) != 0 || last.SecondsLeft != nil {
		t.Errorf("at the end: %+v", last)
	}
}

func TestProgressStandsStill(t *testing.T) {
	t.Parallel()
	clock := &fakeClock{now: time.Unix(1000, 0)}
	var last Progress
	m := &progressMeter{clock: clock.Now, notify: func(p Progress) { last = p }}
	m.enter(PhaseLoad)
	m.change(true, func(p *Progress) { p.TotalBytes = 1000 })
	table := m.table("public.orders", 1000, 0)
	for range 3 {
		clock.now = clock.now.Add(10 * time.Second)
		table.advance(100)
	}
	for range 60 {
		clock.now = clock.now.Add(time.Second)
		table.advance(0)
	}
	if last.Bytes != 300 || last.BytesPerSecond != 0 || last.SecondsLeft != nil {
		t.Errorf("a source that sends nothing for a minute: %+v", last)
	}
}

func TestLatestDoesNotWait(t *testing.T) {
	t.Parallel()
	release, got := make(chan struct{}), make(chan int64, 1000)
	l := newLatest(func(p Progress) {
		<-release
		got <- p.Bytes
	})
	for n := range int64(100) {
		l.put(Progress{Bytes: n}) // nobody takes them
	}
	close(release)
	l.stop()
	close(got)
	var last int64
	count := 0
	for n := range got {
		last = n
		count++
	}
	if last != 99 || count > 3 {
		t.Errorf("%d values arrived, the last is %d", count, last)
	}
}
