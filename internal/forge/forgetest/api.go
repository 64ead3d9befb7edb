package forgetest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// routes is the part of the API that the server has. The first one that matches serves.
func (s *Server) routes() []route {
	return append(s.lifeRoutes(), []route{
		{pattern: "GET /user", handle: s.getUser},
		{pattern: "GET /app", asApp: true, handle: s.getApp},
		{pattern: "GET /app/hook/config", asApp: true, handle: s.getHookConfig},
		{pattern: "POST /app/installations/{installation}/access_tokens", asApp: true, handle: s.createToken},
		{pattern: "GET /repositories/{id}/installation", asApp: true, handle: s.getInstallation},
		{pattern: "GET /repositories/{id}", handle: s.getRepository},
		{pattern: "GET /repositories/{id}/pulls", handle: s.listPulls},
		{pattern: "GET /repositories/{id}/pulls/{number}", handle: s.getPull},
		{pattern: "GET /repositories/{id}/branches/{branch}", handle: s.getBranch},
		{pattern: "GET /repositories/{id}/git/trees/{sha}", handle: s.getTree},
		{pattern: "GET /repositories/{id}/git/blobs/{sha}", handle: s.getBlob},
		{pattern: "GET /repositories/{id}/git/commits/{sha}", handle: s.getCommit},
		{pattern: "GET /repositories/{id}/tarball/{sha}", handle: s.getTarball},
		{pattern: "GET /repositories/{id}/issues/comments/{comment}", handle: s.getComment},
		{pattern: "GET /repositories/{id}/issues/{number}/comments", handle: s.listComments},
		{pattern: "POST /repositories/{id}/issues/{number}/comments", handle: s.createComment},
		{pattern: "PATCH /repositories/{id}/issues/comments/{comment}", handle: s.editComment},
		{pattern: "DELETE /repositories/{id}/issues/comments/{comment}", handle: s.deleteComment},
		{pattern: "POST /repositories/{id}/statuses/{sha}", handle: s.createStatus},
		{pattern: "GET /repositories/{id}/commits/{sha}/statuses", handle: s.listStatuses},
		{pattern: "POST /graphql", handle: s.graphQL},
		{pattern: "GET /app/installations", asApp: true, handle: s.listInstallations},
		{pattern: "GET /repositories/{id}/contents/{path...}", handle: s.getContents},
		{pattern: "GET /repositories/{id}/collaborators/{login}/permission", handle: s.getPermission},
		{pattern: "POST /repositories/{id}/issues/comments/{comment}/reactions", handle: s.createReaction},
		{pattern: "POST /repositories/{id}/check-runs", handle: s.createCheckRun},
		{pattern: "PATCH /repositories/{id}/check-runs/{check}", handle: s.updateCheckRun},
		{pattern: "GET /repositories/{id}/deployments", handle: s.listDeployments},
		{pattern: "POST /repositories/{id}/deployments", handle: s.createDeployment},
		{pattern: "POST /repositories/{id}/deployments/{deployment}/statuses", handle: s.createDeploymentStatus},
	}...)
}

func (s *Server) getRepository(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	s.mu.Lock()
	body := repo.json()
	s.mu.Unlock()
	s.conditional(w, r, body)
}

func (s *Server) listPulls(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	state := r.URL.Query().Get("state")
	if state == "" {
		state = "open"
	}
	var chosen []*PR
	for _, p := range repo.PullRequests() {
		p.refresh(r.Context())
		s.mu.Lock()
		if state == "all" || p.open == (state == "open") {
			chosen = append(chosen, p)
		}
		s.mu.Unlock()
	}
	if r.URL.Query().Get("direction") != "asc" {
		for i, j := 0, len(chosen)-1; i < j; i, j = i+1, j-1 {
			chosen[i], chosen[j] = chosen[j], chosen[i]
		}
	}
	paginate(s, w, r, chosen, func(p *PR) object {
		s.mu.Lock()
		defer s.mu.Unlock()
		return p.json(false)
	})
}

func (s *Server) getPull(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	p := s.pull(w, r, repo)
	if p == nil {
		return
	}
	p.refresh(r.Context())
	s.mu.Lock()
	body := p.json(true)
	s.mu.Unlock()
	s.conditional(w, r, body)
}

// pull returns the pull request that the path names, or answers 404.
func (s *Server) pull(w http.ResponseWriter, r *http.Request, repo *Repo) *PR {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := repo.pulls[number(r.PathValue("number"), 0)]
	if p == nil {
		fail(w, http.StatusNotFound, "Not Found")
	}
	return p
}

var sha = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (s *Server) getTree(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	name := r.PathValue("sha")
	if !sha.MatchString(name) {
		fail(w, http.StatusUnprocessableEntity, "The tree_sha parameter is not a valid tree id.")
		return
	}
	recursive := r.URL.Query().Has("recursive")
	id, lines, err := repo.git.tree(r.Context(), name, recursive)
	if err != nil {
		s.gitFailed(w, err)
		return
	}
	truncated := false
	if recursive && len(lines) > s.options.TruncateTrees {
		lines, truncated = lines[:s.options.TruncateTrees], true
	}
	entries := []object{}
	for _, line := range lines {
		e := object{"path": line.path, "mode": line.mode, "type": line.kind, "sha": line.sha}
		switch line.kind {
		case "blob":
			e["size"], e["url"] = line.size, s.api(repo, "git/blobs/"+line.sha)
		case "tree":
			e["url"] = s.api(repo, "git/trees/"+line.sha)
		}
		entries = append(entries, e)
	}
	s.conditional(w, r, object{"sha": id, "url": s.api(repo, "git/trees/"+id), "tree": entries, "truncated": truncated})
}

func (s *Server) getBlob(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	name := r.PathValue("sha")
	if !sha.MatchString(name) {
		fail(w, http.StatusUnprocessableEntity, "The sha parameter must be exactly 40 characters and contain only [0-9a-f].")
		return
	}
	content, err := repo.git.blob(r.Context(), name)
	if err != nil {
		s.gitFailed(w, err)
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "raw") {
		w.Header().Set("Content-Type", "application/vnd.github.raw+json; charset=utf-8")
		_, _ = w.Write([]byte(content))
		return
	}
	s.conditional(w, r, object{
		"sha": name, "size": len(content), "url": s.api(repo, "git/blobs/"+name),
		"content": base64.StdEncoding.EncodeToString([]byte(content)), "encoding": "base64",
	})
}

func (s *Server) getCommit(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	name := r.PathValue("sha")
	if !sha.MatchString(name) || repo.git.resolve(r.Context(), name) != name {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	out, err := repo.git.run(r.Context(), nil, "", "show", "--no-patch", "--format=%T%n%P%n%aI%n%B", name)
	if err != nil {
		s.gitFailed(w, err)
		return
	}
	part := append(strings.SplitN(out, "\n", 4), "", "", "", "")
	parents := []object{}
	for parent := range strings.FieldsSeq(part[1]) {
		parents = append(parents, object{"sha": parent, "url": s.api(repo, "git/commits/"+parent)})
	}
	person := object{"name": "Developer", "email": "dev@example.com", "date": part[2]}
	s.conditional(w, r, object{
		"sha": name, "url": s.api(repo, "git/commits/"+name), "message": strings.TrimSpace(part[3]),
		"tree": object{"sha": part[0], "url": s.api(repo, "git/trees/"+part[0])}, "parents": parents,
		"author": person, "committer": person,
	})
}

func (s *Server) gitFailed(w http.ResponseWriter, err error) {
	if errors.Is(err, errNoObject) {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	s.log.Error("fake github: git failed", "error", err)
	fail(w, http.StatusInternalServerError, "Server Error")
}

func (s *Server) listComments(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	p := s.pull(w, r, repo)
	if p == nil {
		return
	}
	paginate(s, w, r, p.Comments(), func(c Comment) object {
		s.mu.Lock()
		defer s.mu.Unlock()
		return c.json(repo)
	})
}

// maxComment is GitHub's limit, in characters.
const maxComment = 65536

// commentText reads the text of a comment, or answers why not.
func commentText(w http.ResponseWriter, r *http.Request) (string, bool) {
	var body struct {
		Body string `json:"body"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return "", false
	}
	if body.Body == "" || utf8.RuneCountInString(body.Body) > maxComment {
		answer(w, http.StatusUnprocessableEntity, object{
			"message": "Validation Failed",
			"errors": []object{{"resource": "IssueComment", "code": "unprocessable", "field": "data",
				"message": fmt.Sprintf("Body is too long (maximum is %d characters)", maxComment)}},
		})
		return "", false
	}
	return body.Body, true
}

func (s *Server) createComment(w http.ResponseWriter, r *http.Request, who caller, repo *Repo) {
	p := s.pull(w, r, repo)
	if p == nil {
		return
	}
	text, ok := commentText(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusCreated, repo.addComment(p.number, who, text).json(repo))
}

// comment returns the comment that the path names, or answers 404. The caller holds mu.
func (s *Server) comment(w http.ResponseWriter, r *http.Request, repo *Repo) *Comment {
	id, err := strconv.ParseInt(r.PathValue("comment"), 10, 64)
	c := repo.comments[id]
	if err != nil || c == nil {
		fail(w, http.StatusNotFound, "Not Found")
		return nil
	}
	return c
}

func (s *Server) getComment(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.comment(w, r, repo); c != nil {
		answer(w, http.StatusOK, c.json(repo))
	}
}

func (s *Server) editComment(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	text, ok := commentText(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.comment(w, r, repo); c != nil {
		c.Body, c.UpdatedAt = text, s.now()
		answer(w, http.StatusOK, c.json(repo))
	}
}

func (s *Server) deleteComment(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.comment(w, r, repo); c != nil {
		delete(repo.comments, c.ID)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) createStatus(w http.ResponseWriter, r *http.Request, who caller, repo *Repo) {
	name := r.PathValue("sha")
	var body struct {
		State       string `json:"state"`
		Context     string `json:"context"`
		Description string `json:"description"`
		TargetURL   string `json:"target_url"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	switch body.State {
	case "pending", "success", "failure", "error":
	default:
		fail(w, http.StatusUnprocessableEntity, "Validation Failed")
		return
	}
	if utf8.RuneCountInString(body.Description) > 140 {
		answer(w, http.StatusUnprocessableEntity, object{
			"message": "Validation Failed",
			"errors":  []object{{"resource": "Status", "code": "custom", "field": "description", "message": "description is too long (maximum is 140 characters)"}},
		})
		return
	}
	if !sha.MatchString(name) || repo.git.resolve(r.Context(), name) != name {
		fail(w, http.StatusUnprocessableEntity, "No commit found for SHA: "+name)
		return
	}
	if body.Context == "" {
		body.Context = "default"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{
		ID: s.nextID(), State: body.State, Context: body.Context, Description: body.Description, TargetURL: body.TargetURL,
		CreatedAt: s.now(), Creator: who.login,
	}
	repo.statuses[name] = append(repo.statuses[name], status)
	answer(w, http.StatusCreated, status.json(s, repo, name))
}

func (s *Server) listStatuses(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	name := r.PathValue("sha")
	all := repo.Statuses(name)
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	paginate(s, w, r, all, func(status Status) object {
		s.mu.Lock()
		defer s.mu.Unlock()
		return status.json(s, repo, name)
	})
}
