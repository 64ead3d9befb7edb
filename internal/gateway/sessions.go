package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
)

// spare is how many connections beyond a limit are let in only to be told so: that takes a TLS handshake.
const spare = 64

// sessions knows every open connection and enforces the limits.
type sessions struct {
	limits limits

	mu        sync.Mutex
	all       map[*session]*place
	byPreview map[string]map[*session]struct{}
	starting  map[*session]struct{}
	byAddr    map[netip.Addr]int // of starting
	left      chan struct{}      // closed, and made anew, when a place of one that has not logged in is free
}

// limits bound numbers of connections; below zero is no limit.
type limits struct{ total, perPreview, unauthenticated, startups int }

// place is where a connection stands with its preview. The registry's lock guards it.
type place struct {
	id       string // of the preview, "" until bound
	waited   bool   // the preview had to be waited for
	entered  bool   // it has a backend, or is about to, and has not logged in
	loggedIn bool
}

func newSessions(l limits) *sessions {
	return &sessions{
		limits: l, all: map[*session]*place{}, byPreview: map[string]map[*session]struct{}{},
		starting: map[*session]struct{}{}, byAddr: map[netip.Addr]int{}, left: make(chan struct{}),
	}
}

// admission is what becomes of a new connection: admitted, turned away without a word, or else told why it may not stay.
type admission string

const (
	admitted admission = ""
	turnAway admission = "turned away"
	tooFull  admission = "the gateway has as many connections as it may"
	tooEager admission = "too many connections from this address have not logged in yet"
)

// admit takes a new connection in, as one that has yet to authenticate, unless it turns it away.
func (r *sessions) admit(s *session) admission {
	r.mu.Lock()
	defer r.mu.Unlock()
	total, startups := len(r.all), r.byAddr[s.remote]
	if over(total, r.limits.total, spare) || over(startups, r.limits.startups, spare) {
		return turnAway
	}
	r.all[s] = &place{}
	r.starting[s] = struct{}{}
	r.byAddr[s.remote]++
	switch {
	case over(total, r.limits.total, 0):
		return tooFull
	case over(startups, r.limits.startups, 0):
		return tooEager
	}
	return admitted
}

// bind says which preview a connection is for. It may be called again with another id, for a preview that was replaced.
func (r *sessions) bind(s *session, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[s].id == id {
		return
	}
	r.unbind(s)
	r.all[s].id = id
	if r.byPreview[id] == nil {
		r.byPreview[id] = map[*session]struct{}{}
	}
	r.byPreview[id][s] = struct{}{}
}

// waits records that a connection waits for its preview.
func (r *sessions) waits(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[s].waited = true
}

// enter gives a connection one of the preview's places for those that have not logged in, when there is one: strangers
// get as far as this, and shall not use up what Postgres has. Clients that come at once just take turns.
func (r *sessions) enter(ctx context.Context, s *session) error {
	for {
		left, err := r.tryEnter(s)
		if left == nil {
			return err
		}
		select {
		case <-left:
		case <-ctx.Done():
			return tooMany("preview %s has %d connections that have not logged in, its limit", s.name, r.limits.unauthenticated)
		}
	}
}

// tryEnter returns a channel to wait for if all places are taken.
func (r *sessions) tryEnter(s *session) (<-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.all[s]
	entered, loggedIn := r.tally(mine.id)
	switch {
	case over(loggedIn, r.limits.perPreview, 0):
		return nil, r.full(s)
	case over(entered, r.limits.unauthenticated, 0):
		return r.left, nil
	}
	mine.entered = true
	return nil, nil
}

// leave gives the place back.
func (r *sessions) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.vacate(r.all[s])
}

// authenticated ends the startup of a connection and counts it as one of the preview's.
func (r *sessions) authenticated(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	mine := r.all[s]
	if _, loggedIn := r.tally(mine.id); over(loggedIn, r.limits.perPreview, 0) {
		return r.full(s)
	}
	r.vacate(mine)
	mine.loggedIn = true
	r.started(s)
	return nil
}

func (r *sessions) full(s *session) error {
	return tooMany("preview %s has %d connections, its limit", s.name, r.limits.perPreview)
}

// tally and vacate need the lock.
func (r *sessions) tally(id string) (entered, loggedIn int) {
	for s := range r.byPreview[id] {
		switch p := r.all[s]; {
		case p.loggedIn:
			loggedIn++
		case p.entered:
			entered++
		}
	}
	return entered, loggedIn
}

func (r *sessions) vacate(p *place) {
	if p.entered {
		p.entered = false
		close(r.left)
		r.left = make(chan struct{})
	}
}

func (r *sessions) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started(s)
	r.vacate(r.all[s])
	r.unbind(s)
	delete(r.all, s)
}

// started and unbind need the lock.
func (r *sessions) started(s *session) {
	if _, ok := r.starting[s]; !ok {
		return
	}
	delete(r.starting, s)
	if r.byAddr[s.remote]--; r.byAddr[s.remote] == 0 {
		delete(r.byAddr, s.remote)
	}
}

func (r *sessions) unbind(s *session) {
	id := r.all[s].id
	delete(r.byPreview[id], s)
	if len(r.byPreview[id]) == 0 {
		delete(r.byPreview, id)
	}
}

func (r *sessions) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

func (r *sessions) list() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session, 0, len(r.all))
	for s := range r.all {
		list = append(list, s)
	}
	return list
}

// of returns the connections of a preview.
func (r *sessions) of(id string) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session, 0, len(r.byPreview[id]))
	for s := range r.byPreview[id] {
		list = append(list, s)
	}
	return list
}

// count returns how many connections keep a preview in use: those that have logged in, and those that it was woken for.
func (r *sessions) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for s := range r.byPreview[id] {
		if p := r.all[s]; p.loggedIn || p.waited {
			n++
		}
	}
	return n
}

// using returns the id of the preview that the session has logged in to, or "".
func (r *sessions) using(s *session) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.all[s]; p.loggedIn {
		return p.id
	}
	return ""
}

// previews returns the ids of the previews that somebody has logged in to.
func (r *sessions) previews() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.byPreview))
	for id := range r.byPreview {
		if _, loggedIn := r.tally(id); loggedIn > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func over(n, limit, extra int) bool { return limit >= 0 && n >= limit+extra }

func tooMany(format string, args ...any) *refusal {
	return &refusal{
		code: codeTooManyConnections, message: "sorry, too many clients already",
		detail: fmt.Sprintf(format, args...) + ".", hint: "Close other connections or try again later.", outcome: "too_many_connections",
	}
}
