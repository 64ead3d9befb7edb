package forgetest

import "net/http"

// SetAppHook says where the App's deliveries go, as its settings do. "" for nowhere.
func (s *Server) SetAppHook(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appHook = address
}

func (s *Server) getHookConfig(w http.ResponseWriter, _ *http.Request, _ caller, _ *Repo) {
	s.mu.Lock()
	address := s.appHook
	s.mu.Unlock()
	if address == "" {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	answer(w, http.StatusOK, object{"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": address})
}
