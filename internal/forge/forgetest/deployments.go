package forgetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Deployment is a deployment of a commit to an environment.
type Deployment struct {
	ID          int64
	SHA         string
	Ref         string
	Environment string
	Description string
	Transient   bool
	Production  bool
	CreatedAt   time.Time
	// Statuses are oldest first.
	Statuses []DeploymentStatus
}

// State is the deployment's last state, or "" if it has none yet.
func (d *Deployment) State() string {
	if len(d.Statuses) == 0 {
		return ""
	}
	return d.Statuses[len(d.Statuses)-1].State
}

// DeploymentStatus is one state that a deployment had.
type DeploymentStatus struct {
	ID             int64
	State          string
	Description    string
	EnvironmentURL string
	LogURL         string
}

// Deployments returns all deployments of a repository, oldest first.
func (r *Repo) Deployments() []Deployment {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	var all []Deployment
	for _, id := range sortedKeys(r.deployments) {
		d := *r.deployments[id]
		d.Statuses = slices.Clone(d.Statuses)
		all = append(all, d)
	}
	return all
}

func (s *Server) createDeployment(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	var body struct {
		Ref              string   `json:"ref"`
		Environment      string   `json:"environment"`
		Description      string   `json:"description"`
		AutoMerge        *bool    `json:"auto_merge"`
		RequiredContexts []string `json:"required_contexts"`
		Transient        bool     `json:"transient_environment"`
		Production       bool     `json:"production_environment"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	commit := repo.git.resolve(r.Context(), body.Ref)
	switch {
	case commit == "":
		fail(w, http.StatusUnprocessableEntity, "No ref found for: "+body.Ref)
		return
	case body.RequiredContexts == nil: // all statuses have to be green
		fail(w, http.StatusConflict, "Conflict: Commit status checks failed for "+body.Ref+".")
		return
	case body.AutoMerge == nil || *body.AutoMerge:
		fail(w, http.StatusConflict, "Conflict merging main into "+body.Ref)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &Deployment{
		ID: s.nextID(), SHA: commit, Ref: body.Ref, Environment: body.Environment, Description: body.Description,
		Transient: body.Transient, Production: body.Production, CreatedAt: s.now(),
	}
	repo.deployments[d.ID] = d
	answer(w, http.StatusCreated, d.json(s, repo))
}

func (s *Server) listDeployments(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	query := r.URL.Query()
	chosen := repo.Deployments()
	slices.Reverse(chosen)
	chosen = slices.DeleteFunc(chosen, func(d Deployment) bool {
		return query.Has("environment") && query.Get("environment") != d.Environment || query.Has("sha") && query.Get("sha") != d.SHA
	})
	paginate(s, w, r, chosen, func(d Deployment) object {
		s.mu.Lock()
		defer s.mu.Unlock()
		return d.json(s, repo)
	})
}

func (s *Server) createDeploymentStatus(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	var body struct {
		State          string `json:"state"`
		Description    string `json:"description"`
		EnvironmentURL string `json:"environment_url"`
		LogURL         string `json:"log_url"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	if len([]rune(body.Description)) > 140 {
		fail(w, http.StatusUnprocessableEntity, "description is too long (maximum is 140 characters)")
		return
	}
	id, err := strconv.ParseInt(r.PathValue("deployment"), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := repo.deployments[id]
	if err != nil || d == nil {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	status := DeploymentStatus{ID: s.nextID(), State: body.State, Description: body.Description, EnvironmentURL: body.EnvironmentURL, LogURL: body.LogURL}
	d.Statuses = append(d.Statuses, status)
	answer(w, http.StatusCreated, object{
		"id": status.ID, "state": status.State, "description": status.Description, "environment": d.Environment,
		"environment_url": status.EnvironmentURL, "log_url": status.LogURL, "target_url": "", "created_at": stamp(s.now()), "updated_at": stamp(s.now()),
		"url": s.api(repo, fmt.Sprintf("deployments/%d/statuses/%d", d.ID, status.ID)), "deployment_url": s.api(repo, fmt.Sprintf("deployments/%d", d.ID)),
		"repository_url": s.api(repo, ""),
	})
}

func (d *Deployment) json(s *Server, r *Repo) object {
	return object{
		"id": d.ID, "sha": d.SHA, "ref": d.Ref, "environment": d.Environment, "original_environment": d.Environment, "description": d.Description,
		"transient_environment": d.Transient, "production_environment": d.Production, "task": "deploy", "payload": object{},
		"created_at": stamp(d.CreatedAt), "updated_at": stamp(d.CreatedAt), "creator": nil,
		"url": s.api(r, fmt.Sprintf("deployments/%d", d.ID)), "statuses_url": s.api(r, fmt.Sprintf("deployments/%d/statuses", d.ID)), "repository_url": s.api(r, ""),
	}
}
