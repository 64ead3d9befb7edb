package forgetest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// SetRole gives a person a role in the repository: "admin", "maintain", "write", "triage", "read" or "none". Without one, a person has
// "read", as everybody has in a public repository.
func (r *Repo) SetRole(login, role string) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.roles[strings.ToLower(login)] = role
}

func (s *Server) getPermission(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	login := r.PathValue("login")
	s.mu.Lock()
	role := repo.roles[strings.ToLower(login)]
	s.mu.Unlock()
	if role == "" {
		role = "read"
	}
	// The older scale of "permission" knows neither maintain nor triage (GitHub docs, "Get repository permissions for a user").
	permission := map[string]string{"maintain": "write", "triage": "read"}[role]
	if permission == "" {
		permission = role
	}
	user := account(login, "User")
	user["role_name"] = role
	answer(w, http.StatusOK, object{"permission": permission, "role_name": role, "user": user})
}

// Reaction is a reaction to a comment.
type Reaction struct {
	ID      int64
	Content string // "+1", "-1", "eyes", "rocket", "confused", …
	By      string
}

// Reactions returns the reactions to a comment, oldest first.
func (r *Repo) Reactions(comment int64) []Reaction {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return slices.Clone(r.reactions[comment])
}

func (s *Server) createReaction(w http.ResponseWriter, r *http.Request, who caller, repo *Repo) {
	var body struct {
		Content string `json:"content"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		fail(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.comment(w, r, repo)
	if c == nil {
		return
	}
	kind := "User"
	if who.bot {
		kind = "Bot"
	}
	render := func(reaction Reaction) object {
		return object{"id": reaction.ID, "content": reaction.Content, "user": account(reaction.By, kind), "created_at": stamp(s.now())}
	}
	for _, reaction := range repo.reactions[c.ID] {
		if reaction.By == who.login && reaction.Content == body.Content {
			answer(w, http.StatusOK, render(reaction))
			return
		}
	}
	reaction := Reaction{ID: s.nextID(), Content: body.Content, By: who.login}
	repo.reactions[c.ID] = append(repo.reactions[c.ID], reaction)
	answer(w, http.StatusCreated, render(reaction))
}
