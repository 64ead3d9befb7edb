package forgetest

import (
	"net/http"
	"os"
	"os/exec"
	"strconv"
)

// getTarball answers with a redirect, as GitHub does.
func (s *Server) getTarball(w http.ResponseWriter, r *http.Request, _ caller, repo *Repo) {
	name := r.PathValue("sha")
	if repo.git.resolve(r.Context(), name) == "" {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	http.Redirect(w, r, s.url+"/codeload/"+strconv.FormatInt(repo.id, 10)+"/"+name+"?token=of-the-archive", http.StatusFound)
}

// codeload serves archives, as another host of GitHub's does: it asks for the token in the address.
func (s *Server) codeload(w http.ResponseWriter, r *http.Request, segments []string) {
	id, err := strconv.ParseInt(segments[1], 10, 64)
	s.mu.Lock()
	repo, override := s.repositories[id], s.archive
	s.mu.Unlock()
	if err != nil || repo == nil || r.URL.Query().Get("token") == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-gzip")
	if override != nil {
		_, _ = w.Write(override)
		return
	}
	commit := segments[2]
	cmd := exec.CommandContext(r.Context(), "git", "archive", "--format=tar.gz", "--prefix="+repo.owner+"-"+repo.name+"-"+commit[:7]+"/", commit)
	cmd.Dir, cmd.Stdout = repo.git.dir, w
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + repo.git.dir, "GIT_CONFIG_NOSYSTEM=1"}
	_ = cmd.Run() // a client that reads to the end sees what is missing
}

// ServeArchive makes the server answer with this whenever an archive is asked for; nil ends that.
func (s *Server) ServeArchive(archive []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive = archive
}
