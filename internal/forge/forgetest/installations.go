package forgetest

import (
	"maps"
	"net/http"
	"slices"
)

// defaultPermissions are what the App is given unless SetPermission says otherwise.
var defaultPermissions = map[string]string{ //nolint:gochecknoglobals // a constant
	"checks": "write", "contents": "read", "deployments": "write", "issues": "write", "metadata": "read", "pull_requests": "write", "statuses": "write",
}

// SetPermission changes what the App may do: "write", "read", or "" for nothing. The routes stay as they are: see Deny.
func (s *Server) SetPermission(name, access string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.permissions[name] = access
}

// granted returns the App's permissions. The caller holds the lock.
func (s *Server) granted() map[string]string {
	all := maps.Clone(defaultPermissions)
	maps.Copy(all, s.permissions)
	maps.DeleteFunc(all, func(_, access string) bool { return access == "" })
	return all
}

// Suspend suspends the App's installation of an owner, or ends that.
func (s *Server) Suspend(owner string, suspended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended[s.installation(owner)] = suspended
}

// Uninstall removes the App's installation of an owner, or brings it back.
func (s *Server) Uninstall(owner string, removed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed[s.installation(owner)] = removed
}

// installationJSON describes the installation of an owner. The caller holds the lock.
func (s *Server) installationJSON(owner string) object {
	id := s.installation(owner)
	var suspended any
	if s.suspended[id] {
		suspended = stamp(s.now())
	}
	return object{
		"id": id, "app_id": s.options.AppID, "app_slug": s.options.AppSlug, "account": account(owner, "Organization"),
		"repository_selection": "all", "target_type": "Organization", "target_id": 1, "events": []string{"pull_request"}, "permissions": s.granted(),
		"suspended_at": suspended, "suspended_by": nil, "single_file_name": nil, "html_url": "https://github.com/settings/installations/1",
		"access_tokens_url": s.url + "/app/installations/1/access_tokens", "repositories_url": s.url + "/installation/repositories",
		"created_at": stamp(s.now()), "updated_at": stamp(s.now()),
	}
}

func (s *Server) listInstallations(w http.ResponseWriter, r *http.Request, _ caller, _ *Repo) {
	s.mu.Lock()
	var owners []string
	for _, owner := range slices.Sorted(maps.Keys(s.owners)) {
		if !s.removed[s.owners[owner]] {
			owners = append(owners, owner)
		}
	}
	s.mu.Unlock()
	paginate(s, w, r, owners, func(owner string) object {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.installationJSON(owner)
	})
}
