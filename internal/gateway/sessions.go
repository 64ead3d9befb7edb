package gateway

import (
	"fmt"
	"net/netip"
	"sync"
)

// spare is how many connections beyond a limit are let in only to be told so: that takes a TLS handshake.
const spare = 64

// sessions knows every open connection and enforces the limits.
type sessions struct {
	maxTotal, maxPerPreview, maxStartups int // < 0: no limit

	mu        sync.Mutex
	all       map[*session]string // preview id, "" until bound
	byPreview map[string]map[*session]struct{}
	starting  map[*session]struct{}
	byAddr    map[netip.Addr]int // of starting
}

func newSessions(maxTotal, maxPerPreview, maxStartups int) *sessions {
	return &sessions{
		maxTotal: maxTotal, maxPerPreview: maxPerPreview, maxStartups: maxStartups,
		all: map[*session]string{}, byPreview: map[string]map[*session]struct{}{},
		starting: map[*session]struct{}{}, byAddr: map[netip.Addr]int{},
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
	if over(total, r.maxTotal, spare) || over(startups, r.maxStartups, spare) {
		return turnAway
	}
	r.all[s] = ""
	r.starting[s] = struct{}{}
	r.byAddr[s.remote]++
	switch {
	case over(total, r.maxTotal, 0):
		return tooFull
	case over(startups, r.maxStartups, 0):
		return tooEager
	}
	return admitted
}

// bind says which preview a connection is for. It may be called again with another id, for a preview that was replaced.
func (r *sessions) bind(s *session, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[s] == id {
		return nil
	}
	if over(len(r.byPreview[id]), r.maxPerPreview, 0) {
		return tooMany("preview %s has %d connections, its limit", s.name, r.maxPerPreview)
	}
	r.unbind(s)
	r.all[s] = id
	if r.byPreview[id] == nil {
		r.byPreview[id] = map[*session]struct{}{}
	}
	r.byPreview[id][s] = struct{}{}
	return nil
}

// authenticated ends the startup of a connection.
func (r *sessions) authenticated(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started(s)
}

func (r *sessions) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started(s)
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
	id := r.all[s]
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

// count returns how many connections a preview has.
func (r *sessions) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byPreview[id])
}

// idOf returns the id of the preview that the session is bound to, or "".
func (r *sessions) idOf(s *session) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[s]
}

// previews returns the ids of the previews that have connections.
func (r *sessions) previews() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.byPreview))
	for id := range r.byPreview {
		ids = append(ids, id)
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
