package forgetest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"
)

// Delivery is a webhook delivery to send.
type Delivery struct {
	URL    string
	Secret []byte // nil sends no signature
	ID     string // "" means a new one
	Event  string // "" means "pull_request"
	Action string // "opened", "synchronize", "closed", …; none for "ping"
	PR     *PR    // required for pull_request
	// Repo is the repository of an event without a pull request.
	Repo *Repo
	// Comment makes it an issue_comment on PR; CheckRun a check_run, of which Requested is the button, if any.
	Comment   *Comment
	CheckRun  *CheckRun
	Requested string
	// Ref is the branch of a push ("main" if ""), Before and After its commits; those of a merge group are Before and After too.
	Ref, Before, After string
	// Extra is merged into the payload: "changes", "label" and what else an action carries.
	Extra map[string]any
	// Payload replaces the payload made from the above.
	Payload []byte
	// HTTP sends it. nil means a client of its own.
	HTTP *http.Client
}

// Answer is what the receiver of a delivery said.
type Answer struct {
	ID     string // of the delivery
	Status int
	Body   []byte
	Took   time.Duration
}

// Deliver sends a delivery, signed as GitHub signs, and returns the answer.
func (s *Server) Deliver(ctx context.Context, d Delivery) (Answer, error) {
	return s.deliver(ctx, d, false)
}

func (s *Server) deliver(ctx context.Context, d Delivery, again bool) (Answer, error) {
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
			return Answer{}, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(payload))
	if err != nil {
		return Answer{}, fmt.Errorf("make a delivery: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "GitHub-Hookshot/forgetest")
	request.Header.Set("X-GitHub-Event", d.Event)
	request.Header.Set("X-GitHub-Delivery", d.ID)
	request.Header.Set("X-GitHub-Hook-ID", "1")
	if d.Secret != nil {
		mac := hmac.New(sha256.New, d.Secret)
		mac.Write(payload)
		request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	client := d.HTTP
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second} // GitHub waits that long
	}
	began := time.Now()
	reply, err := client.Do(request)
	if err != nil {
		s.logDelivery(d, payload, 0, again)
		return Answer{ID: d.ID}, fmt.Errorf("deliver: %w", err)
	}
	s.logDelivery(d, payload, reply.StatusCode, again)
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 1<<20))
	if err != nil {
		return Answer{ID: d.ID}, fmt.Errorf("read the answer to a delivery: %w", err)
	}
	return Answer{ID: d.ID, Status: reply.StatusCode, Body: body, Took: time.Since(began)}, nil
}

// Payload makes the payload of a delivery as things are now.
func (s *Server) Payload(ctx context.Context, d Delivery) ([]byte, error) {
	repo := d.Repo
	if d.PR != nil {
		repo = d.PR.repo
		d.PR.refresh(ctx)
	}
	if repo == nil {
		return nil, fmt.Errorf("a %s delivery needs a repository", d.Event)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := object{"repository": repo.json(), "organization": organization(repo.owner), "sender": account("dev", "User")}
	if s.options.AppKey != nil {
		o["installation"] = object{"id": s.installation(repo.owner), "node_id": "I_1"}
	}
	if d.Action != "" {
		o["action"] = d.Action
	}
	d.describe(o, repo)
	maps.Copy(o, d.Extra)
	payload, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("make a payload: %w", err)
	}
	return payload, nil
}

// describe adds what the event is about. The caller holds the lock.
func (d *Delivery) describe(o object, repo *Repo) {
	branch := d.Ref
	if branch == "" {
		branch = "main"
	}
	switch {
	case d.Event == "ping":
		o["zen"], o["hook_id"] = "Keep it logically awesome.", 1
		o["hook"] = object{
			"type": "Repository", "id": 1, "name": "web", "active": true, "events": []string{"pull_request"},
			"config": object{"content_type": "json", "insecure_ssl": "0", "url": d.URL},
		}
	case d.Event == "push":
		o["ref"], o["before"], o["after"], o["forced"], o["deleted"], o["created"] = "refs/heads/"+branch, d.Before, d.After, false, false, false
		o["commits"], o["head_commit"], o["pusher"] = []object{}, object{"id": d.After}, object{"name": "dev"}
	case d.Event == "merge_group":
		o["merge_group"] = object{
			"head_sha": d.After, "head_ref": "refs/heads/gh-readonly-queue/" + branch + "/pr-1-" + d.Before, "base_sha": d.Before, "base_ref": "refs/heads/" + branch,
			"head_commit": object{"id": d.After},
		}
	case d.CheckRun != nil:
		o["check_run"] = d.CheckRun.json(repo.server, repo)
		if d.Requested != "" {
			o["requested_action"] = object{"identifier": d.Requested}
		}
	case d.Comment != nil && d.PR != nil:
		o["comment"], o["sender"] = d.Comment.json(repo), account(d.Comment.Author, "User")
		issue := d.PR.json(false)
		o["issue"] = object{
			"number": d.PR.number, "title": d.PR.title, "state": issue["state"], "user": issue["user"], "labels": issue["labels"],
			"pull_request": object{"url": issue["url"], "html_url": issue["html_url"]},
		}
	case d.PR != nil:
		o["number"], o["pull_request"], o["sender"] = d.PR.number, d.PR.json(true), account(d.PR.author, "User")
		if d.Action == "synchronize" {
			o["before"], o["after"] = d.PR.baseSHA, d.PR.headSHA
		}
	}
}

// newGUID returns an id like those of GitHub's deliveries.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
