package forgetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// maxViolations is how many violations are kept: the first ones tell what is wrong.
const maxViolations = 20

// violated notes that a call, or the fake's own answer, is not what GitHub publishes.
func (s *Server) violated(r *http.Request, what string, err error) {
	text := fmt.Sprintf("%s %s: %s: %v", r.Method, r.URL.Path, what, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, text)
	}
}

// Violations returns the calls that GitHub's published description does not allow, and answers of the fake that it does not allow.
// Close returns them as an error.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.violations...)
}

// Expect forgets the violations so far: for a test that makes calls which are wrong on purpose.
func (s *Server) Expect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = nil
}

func (s *Server) violationError() error {
	if all := s.Violations(); len(all) > 0 {
		return errors.New("calls that differ from GitHub's published description:\n" + strings.Join(all, "\n"))
	}
	return nil
}

// checked serves a request, after and before it has been compared with the description.
func (s *Server) checked(w http.ResponseWriter, r *http.Request, path string, repo *Repo, serve func(http.ResponseWriter, *http.Request)) {
	if s.options.Unchecked || path == "graphql" { // queries are checked where they are read
		serve(w, r)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		fail(w, http.StatusBadRequest, "Problems reading the body")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	known, err := published()
	if err != nil {
		s.violated(r, "setup", err)
		fail(w, http.StatusInternalServerError, "Server Error")
		return
	}
	op, err := known.find(r.Method, path, repo)
	if err != nil {
		s.violated(r, "request", err)
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	if err := op.checkRequest(r.Context(), r, body); err != nil {
		s.violated(r, "request", err)
	}
	recorded := httptest.NewRecorder()
	serve(recorded, r)
	answered, err := op.complete(r.Context(), r, body, recorded)
	if err != nil {
		s.violated(r, fmt.Sprintf("the fake's answer %d", recorded.Code), err)
	}
	for name, values := range recorded.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(answered)
}
