package forgetest

import (
	"encoding/base64"
	"net/http"
	"path"
	"strings"
)

// getContents answers with a file, or with the list of a directory, at ref.
func (s *Server) getContents(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	ref := r.URL.Query().Get("ref")
	if ref == "" {
		ref = "refs/heads/main"
	}
	commit := repo.git.resolve(r.Context(), ref)
	if commit == "" {
		fail(w, http.StatusNotFound, "No commit found for the ref "+ref)
		return
	}
	_, lines, err := repo.git.tree(r.Context(), commit, true)
	if err != nil {
		s.gitFailed(w, err)
		return
	}
	asked := strings.Trim(r.PathValue("path"), "/")
	list := []object{}
	for _, line := range lines {
		if line.path == asked && line.kind == "blob" {
			s.file(w, r, repo, line)
			return
		}
		if dir := path.Dir(line.path); dir == asked || dir == "." && asked == "" {
			list = append(list, s.contentEntry(repo, line))
		}
	}
	if len(list) == 0 {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	s.conditional(w, r, list)
}

func (s *Server) contentEntry(repo *Repo, line treeLine) object {
	kind := map[string]string{"blob": "file", "tree": "dir", "commit": "submodule"}[line.kind]
	if line.mode == "120000" {
		kind = "symlink"
	}
	at := s.api(repo, "contents/"+line.path)
	return object{
		"name": path.Base(line.path), "path": line.path, "sha": line.sha, "size": max(0, line.size), "type": kind,
		"url": at, "html_url": at, "git_url": at, "download_url": nil, "_links": object{"self": at, "html": at, "git": at},
	}
}

func (s *Server) file(w http.ResponseWriter, r *http.Request, repo *Repo, line treeLine) {
	content, err := repo.git.blob(r.Context(), line.sha)
	if err != nil {
		s.gitFailed(w, err)
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "raw") {
		w.Header().Set("Content-Type", "application/vnd.github.raw+json; charset=utf-8")
		_, _ = w.Write([]byte(content))
		return
	}
	o := s.contentEntry(repo, line)
	o["encoding"], o["content"] = "base64", base64.StdEncoding.EncodeToString([]byte(content))
	s.conditional(w, r, o)
}
