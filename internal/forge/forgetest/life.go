package forgetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// life is what the server knows of deliveries. It is guarded by the server's lock.
type life struct {
	log   []*loggedDelivery // oldest first
	hooks map[int64]string  // by repository: where its webhook sends
}

// loggedDelivery is one attempt, and what a further one needs.
type loggedDelivery struct {
	id     int64
	at     time.Time
	status int
	again  bool
	repo   int64
	Delivery
}

// lifeRoutes is the part of the API that policies and the log of deliveries need.
func (s *Server) lifeRoutes() []route {
	return []route{
		{pattern: "GET /repositories/{id}/pulls/{number}/files", handle: s.listFiles},
		{pattern: "GET /app/hook/deliveries", asApp: true, handle: s.listDeliveries},
		{pattern: "POST /app/hook/deliveries/{delivery}/attempts", asApp: true, handle: s.redeliver},
		{pattern: "GET /repositories/{id}/hooks", handle: s.listHooks},
		{pattern: "GET /repositories/{id}/hooks/{hook}/deliveries", handle: s.listDeliveries},
		{pattern: "POST /repositories/{id}/hooks/{hook}/deliveries/{delivery}/attempts", handle: s.redeliver},
	}
}

// SetHook gives a repository a webhook that sends to an address; its log can be read by whoever may read the repository.
func (r *Repo) SetHook(address string) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if r.server.life.hooks == nil {
		r.server.life.hooks = map[int64]string{}
	}
	r.server.life.hooks[r.id] = address
}

func (s *Server) listFiles(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	p := s.pull(w, r, repo)
	if p == nil {
		return
	}
	p.refresh(r.Context())
	s.mu.Lock()
	base, head := p.baseSHA, p.headSHA
	s.mu.Unlock()
	out, err := repo.git.run(r.Context(), nil, "", "diff", "--name-status", "--find-renames", base+"..."+head)
	if err != nil {
		s.gitFailed(w, err)
		return
	}
	paginate(s, w, r, strings.FieldsFunc(out, func(c rune) bool { return c == '\n' }), func(line string) object {
		fields := strings.Split(line, "\t")
		status := map[byte]string{'A': "added", 'M': "modified", 'D': "removed", 'R': "renamed"}[line[0]]
		name := fields[len(fields)-1]
		o := object{
			"sha": head, "filename": name, "status": status, "additions": 1, "deletions": 0, "changes": 1,
			"blob_url": "https://github.com/blob/" + head, "raw_url": "https://github.com/raw/" + head,
			"contents_url": s.api(repo, "contents/"+name),
		}
		if len(fields) == 3 {
			o["previous_filename"] = fields[1]
		}
		return o
	})
}

// logDelivery records an attempt.
func (s *Server) logDelivery(d Delivery, payload []byte, status int, again bool) {
	d.Payload = payload
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &loggedDelivery{id: s.nextID(), at: s.now(), status: status, again: again, Delivery: d}
	var named struct {
		Repository struct {
			ID int64 `json:"id"`
		} `json:"repository"`
	}
	if json.Unmarshal(payload, &named) == nil {
		entry.repo = named.Repository.ID
	}
	s.life.log = append(s.life.log, entry)
}

// Lose records a delivery as one that did not arrive, and returns its id.
func (s *Server) Lose(ctx context.Context, d Delivery) (string, error) {
	if d.Event == "" {
		d.Event = "pull_request"
	}
	if d.ID == "" {
		d.ID = newGUID()
	}
	payload := d.Payload
	if payload == nil {
		var err error
		if payload, err = s.Payload(ctx, d); err != nil {
			return "", err
		}
	}
	s.logDelivery(d, payload, http.StatusBadGateway, false)
	return d.ID, nil
}

// logOf returns the log that the path asks for, newest first.
func (s *Server) logOf(r *http.Request, repo *Repo) []*loggedDelivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*loggedDelivery
	for _, d := range s.life.log {
		if repo == nil || d.repo == repo.id {
			out = append(out, d)
		}
	}
	slices.Reverse(out)
	if after, err := strconv.ParseInt(r.URL.Query().Get("cursor"), 10, 64); err == nil {
		out = slices.DeleteFunc(out, func(d *loggedDelivery) bool { return d.id >= after })
	}
	return out
}

func (s *Server) listDeliveries(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	log := s.logOf(r, repo)
	size := min(number(r.URL.Query().Get("per_page"), 30), 100)
	if len(log) > size {
		log = log[:size]
		w.Header().Set("Link", fmt.Sprintf(`<%s%s?per_page=%d&cursor=%d>; rel="next"`, s.url, r.URL.Path, size, log[size-1].id))
	}
	entries := []object{}
	for _, d := range log {
		var action any
		if d.Action != "" {
			action = d.Action
		}
		entries = append(entries, object{
			"id": d.id, "guid": d.ID, "delivered_at": stamp(d.at), "redelivery": d.again, "duration": 0.1,
			"status": http.StatusText(d.status), "status_code": d.status, "event": d.Event, "action": action,
			"installation_id": nil, "repository_id": d.repo, "throttled_at": nil,
		})
	}
	answer(w, http.StatusOK, entries)
}

func (s *Server) listHooks(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	s.mu.Lock()
	address, ok := s.life.hooks[repo.id]
	s.mu.Unlock()
	hooks := []object{}
	if ok {
		hooks = append(hooks, object{
			"type": "Repository", "id": repo.id, "name": "web", "active": true, "events": []string{"pull_request"},
			"config":     object{"content_type": "json", "insecure_ssl": "0", "url": address},
			"updated_at": stamp(s.now()), "created_at": stamp(s.now()), "url": s.api(repo, "hooks/1"),
			"test_url": s.api(repo, "hooks/1/test"), "ping_url": s.api(repo, "hooks/1/pings"),
			"last_response": object{"code": nil, "status": "unused", "message": nil},
		})
	}
	s.conditional(w, r, hooks)
}

// redeliver answers as GitHub does, and makes the attempt before it does: tests see its result.
func (s *Server) redeliver(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	id, err := strconv.ParseInt(r.PathValue("delivery"), 10, 64)
	for _, d := range s.logOf(&http.Request{URL: r.URL}, repo) {
		if err == nil && d.id == id {
			again := d.Delivery
			again.Payload = bytes.Clone(d.Payload)
			if _, err := s.deliver(r.Context(), again, true); err != nil {
				s.log.Warn("fake github: redelivery failed", "error", err)
			}
			answer(w, http.StatusAccepted, object{})
			return
		}
	}
	fail(w, http.StatusNotFound, "Not Found")
}

// Edit changes what people can change of a pull request on its page.
func (p *PR) Edit(change func(*PREdit)) {
	p.repo.server.mu.Lock()
	defer p.repo.server.mu.Unlock()
	e := PREdit{Title: p.title, Draft: p.draft, Labels: slices.Clone(p.labels), Base: p.base}
	change(&e)
	p.title, p.draft, p.labels, p.base, p.updated = e.Title, e.Draft, e.Labels, e.Base, p.repo.server.now()
}

// PREdit is what Edit can change.
type PREdit struct {
	Title  string
	Draft  bool
	Labels []string
	Base   string
}

// PayloadWith makes the payload of an event about a repository (nil for none) by somebody, with more members.
func (s *Server) PayloadWith(repo *Repo, sender string, more map[string]any) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := object{"sender": account(sender, "User")}
	if repo != nil {
		o["repository"], o["organization"] = repo.json(), organization(repo.owner)
		if s.options.AppKey != nil {
			o["installation"] = object{"id": s.installation(repo.owner), "node_id": "I_1"}
		}
	}
	for key, value := range more {
		o[key] = value
	}
	payload, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("make a payload: %w", err)
	}
	return payload, nil
}

// CommentPayload makes the payload of issue_comment for a comment on the pull request.
func (p *PR) CommentPayload(action string, comment int64) ([]byte, error) {
	s, r := p.repo.server, p.repo
	s.mu.Lock()
	c := r.comments[comment]
	if c == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("there is no comment %d", comment)
	}
	body := c.json(r)
	issue := object{
		"id": r.id*1000 + int64(p.number), "number": p.number, "title": p.title, "user": account(p.author, "User"), "state": "open",
		"pull_request": object{"url": s.api(r, fmt.Sprintf("pulls/%d", p.number))},
	}
	s.mu.Unlock()
	return s.PayloadWith(r, c.Author, object{"action": action, "issue": issue, "comment": body})
}
