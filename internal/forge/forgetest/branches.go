package forgetest

import "net/http"

func (s *Server) getBranch(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	name := r.PathValue("branch")
	head := repo.git.resolve(r.Context(), "refs/heads/"+name)
	if head == "" {
		fail(w, http.StatusNotFound, "Branch not found")
		return
	}
	s.conditional(w, r, object{
		"name": name, "protected": false,
		"commit":         object{"sha": head, "url": s.api(repo, "commits/"+head)},
		"protection":     object{"enabled": false, "required_status_checks": object{"enforcement_level": "off", "contexts": []string{}}},
		"protection_url": s.api(repo, "branches/"+name+"/protection"),
	})
}
