package forgetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// CheckRun is a check run on a commit.
type CheckRun struct {
	ID         int64
	Name       string
	HeadSHA    string
	Status     string // "queued", "in_progress" or "completed"
	Conclusion string // "" until it is completed
	ExternalID string
	DetailsURL string
	Title      string
	Summary    string
	Text       string
	// Annotations are all that were added; GitHub appends those of each call.
	Annotations []Annotation
	// Actions are the identifiers of the buttons.
	Actions []string
	// Updates counts the calls after the first.
	Updates   int
	StartedAt time.Time
	EndedAt   time.Time
}

// Annotation is a remark on lines of a file.
type Annotation struct {
	Path    string `json:"path"`
	Start   int    `json:"start_line"`
	End     int    `json:"end_line"`
	Level   string `json:"annotation_level"`
	Message string `json:"message"`
	Title   string `json:"title"`
}

// CheckRuns returns the check runs of a commit, oldest first.
func (r *Repo) CheckRuns(sha string) []CheckRun {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	var found []CheckRun
	for _, id := range sortedKeys(r.checks) {
		if c := r.checks[id]; c.HeadSHA == sha {
			found = append(found, *c)
		}
	}
	return found
}

// AllCheckRuns returns the check runs of all commits, oldest first.
func (r *Repo) AllCheckRuns() []CheckRun {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	var found []CheckRun
	for _, id := range sortedKeys(r.checks) {
		found = append(found, *r.checks[id])
	}
	return found
}

// checkBody is what a call says about a check run; nil is what it leaves as it is.
type checkBody struct {
	Name        *string    `json:"name"`
	HeadSHA     string     `json:"head_sha"`
	Status      *string    `json:"status"`
	Conclusion  *string    `json:"conclusion"`
	ExternalID  *string    `json:"external_id"`
	DetailsURL  *string    `json:"details_url"`
	StartedAt   *time.Time `json:"started_at"`
	CompletedAt *time.Time `json:"completed_at"`
	Output      *struct {
		Title       *string      `json:"title"`
		Summary     *string      `json:"summary"`
		Text        *string      `json:"text"`
		Annotations []Annotation `json:"annotations"`
	} `json:"output"`
	Actions []struct {
		Label       string `json:"label"`
		Description string `json:"description"`
		Identifier  string `json:"identifier"`
	} `json:"actions"`
}

// Limits of check runs (GitHub docs, "Update a check run").
const (
	maxAnnotations = 50
	maxCheckText   = 65535
	maxActions     = 3
)

// refused says why GitHub would not take the body; "" if it does.
func (b *checkBody) refused() string {
	if b.Output != nil {
		if len(b.Output.Annotations) > maxAnnotations {
			return "No more than 50 items are allowed"
		}
		for _, text := range []*string{b.Output.Summary, b.Output.Text} {
			if text != nil && len(*text) > maxCheckText {
				return "Only 65535 characters are allowed"
			}
		}
		if b.Output.Title == nil || b.Output.Summary == nil {
			return "title and summary are required in output"
		}
		for _, a := range b.Output.Annotations {
			if a.Path == "" || a.Start < 1 || a.End < a.Start || len(a.Message) > 64<<10 || a.Message == "" || len(a.Title) > 255 {
				return "Invalid annotation"
			}
		}
	}
	if len(b.Actions) > maxActions {
		return "No more than 3 actions"
	}
	for _, action := range b.Actions {
		if len(action.Label) > 20 || len(action.Description) > 40 || len(action.Identifier) > 20 {
			return "An action is too long"
		}
	}
	if b.Status != nil && *b.Status == "completed" && b.Conclusion == nil {
		return "conclusion is required when status is completed"
	}
	return ""
}

// apply changes a check run as the body says. The caller holds the lock.
func (b *checkBody) apply(c *CheckRun, now time.Time) {
	set(&c.Name, b.Name)
	set(&c.Status, b.Status)
	set(&c.ExternalID, b.ExternalID)
	set(&c.DetailsURL, b.DetailsURL)
	set(&c.StartedAt, b.StartedAt)
	set(&c.Conclusion, b.Conclusion)
	if b.Conclusion != nil {
		c.Status, c.EndedAt = "completed", now
		set(&c.EndedAt, b.CompletedAt)
	} else if b.Status != nil {
		c.Conclusion, c.EndedAt = "", time.Time{} // running again
	}
	if b.Output != nil {
		set(&c.Title, b.Output.Title)
		set(&c.Summary, b.Output.Summary)
		set(&c.Text, b.Output.Text)
		c.Annotations = append(c.Annotations, b.Output.Annotations...)
	}
	if b.Actions != nil {
		c.Actions = nil
		for _, action := range b.Actions {
			c.Actions = append(c.Actions, action.Identifier)
		}
	}
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// readCheck reads the body of a call about a check run, or answers why not. Only Apps have check runs.
func readCheck(w http.ResponseWriter, r *http.Request, who caller) (*checkBody, bool) {
	if !who.bot {
		fail(w, http.StatusForbidden, "You must authenticate via a GitHub App.")
		return nil, false
	}
	body := new(checkBody)
	if json.NewDecoder(r.Body).Decode(body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return nil, false
	}
	if why := body.refused(); why != "" {
		fail(w, http.StatusUnprocessableEntity, "Invalid request.\n\n"+why)
		return nil, false
	}
	return body, true
}

func (s *Server) createCheckRun(w http.ResponseWriter, r *http.Request, who caller, repo *Repo) {
	body, ok := readCheck(w, r, who)
	if !ok {
		return
	}
	if !sha.MatchString(body.HeadSHA) || repo.git.resolve(r.Context(), body.HeadSHA) != body.HeadSHA {
		fail(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+body.HeadSHA)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &CheckRun{ID: s.nextID(), HeadSHA: body.HeadSHA, Status: "queued", StartedAt: s.now()}
	body.apply(c, s.now())
	repo.checks[c.ID] = c
	answer(w, http.StatusCreated, c.json(s, repo))
}

func (s *Server) updateCheckRun(w http.ResponseWriter, r *http.Request, who caller, repo *Repo) {
	body, ok := readCheck(w, r, who)
	if !ok {
		return
	}
	id, err := strconv.ParseInt(r.PathValue("check"), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := repo.checks[id]
	if err != nil || c == nil {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	c.Updates++
	body.apply(c, s.now())
	answer(w, http.StatusOK, c.json(s, repo))
}

func (c *CheckRun) json(s *Server, r *Repo) object {
	var conclusion any
	if c.Conclusion != "" {
		conclusion = c.Conclusion
	}
	return object{
		"id": c.ID, "name": c.Name, "head_sha": c.HeadSHA, "node_id": fmt.Sprintf("CR_%d", c.ID), "external_id": c.ExternalID,
		"status": c.Status, "conclusion": conclusion, "started_at": stamp(c.StartedAt), "completed_at": stamp(c.EndedAt),
		"url": s.api(r, fmt.Sprintf("check-runs/%d", c.ID)), "html_url": fmt.Sprintf("https://github.com/%s/%s/runs/%d", r.owner, r.name, c.ID),
		"details_url": c.DetailsURL, "pull_requests": []object{}, "check_suite": object{"id": c.ID + 1},
		"output": object{
			"title": c.Title, "summary": c.Summary, "text": c.Text, "annotations_count": len(c.Annotations),
			"annotations_url": s.api(r, fmt.Sprintf("check-runs/%d/annotations", c.ID)),
		},
		"app": object{"id": s.options.AppID, "slug": s.options.AppSlug, "name": s.options.AppSlug},
	}
}
