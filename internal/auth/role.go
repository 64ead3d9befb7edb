package auth

import (
	"maps"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// Role is a named set of scopes that somebody has in a project.
type Role string

// The roles, each with everything that those before it have.
const (
	RoleViewer     Role = "viewer"     // looks at previews, templates and reports
	RoleDeveloper  Role = "developer"  // makes previews, changes their own, sees passwords
	RoleMaintainer Role = "maintainer" // changes everybody's previews, protects them, approves forks, builds templates, reads the audit log
	RoleAdmin      Role = "admin"      // everything in the project
)

// AllProjects is what stands for every project where a role is given.
const AllProjects = "*"

// Roles lists all roles, the one that may least first.
func Roles() []Role { return []Role{RoleViewer, RoleDeveloper, RoleMaintainer, RoleAdmin} }

// Rank orders the roles: the higher one has everything that the lower has. 0 for what is no role.
func (r Role) Rank() int { return slices.Index(Roles(), r) + 1 }

// Scopes returns what a role allows. An admin of one project has every scope there but ScopeAdmin, which is for the installation.
func (r Role) Scopes() []Scope {
	switch r {
	case RoleViewer:
		return []Scope{ScopePreviewsRead}
	case RoleDeveloper:
		return []Scope{ScopePreviewsRead, ScopePreviewsWrite, ScopeCredentialsRead}
	case RoleMaintainer:
		return []Scope{ScopePreviewsRead, ScopePreviewsWrite, ScopeCredentialsRead, ScopePreviewsManage, ScopeTemplatesWrite, ScopeAuditRead}
	case RoleAdmin:
		return slices.DeleteFunc(Scopes(), func(s Scope) bool { return s == ScopeAdmin })
	}
	return nil
}

// Grants are the roles that somebody has, by project; AllProjects is for every project.
type Grants map[string]Role

// In returns the role in a project, the higher one if there is one for all projects too; "" for none.
func (g Grants) In(project string) Role {
	role := g[project]
	if all := g[AllProjects]; all.Rank() > role.Rank() {
		role = all
	}
	return role
}

// Projects returns the projects that there is a role for, nil if there is one for all of them.
func (g Grants) Projects() []string {
	if g[AllProjects] != "" {
		return nil
	}
	return slices.Sorted(maps.Keys(g))
}

// Check returns an error with CodeInvalid for what is not a role.
func (g Grants) Check() error {
	for project, role := range g {
		if role.Rank() == 0 {
			return mayfly.Errorf(mayfly.CodeInvalid, "there is no role %q", string(role)).WithHint("roles: %s", roleNames())
		}
		if project == "" {
			return mayfly.Errorf(mayfly.CodeInvalid, "a role needs a project, or %s for all", AllProjects)
		}
	}
	return nil
}

func roleNames() string {
	names := make([]string, 0, 4)
	for _, r := range Roles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// ReadGrants reads roles as they are written on a command line: "developer" for each of the projects (all if there are none), or
// "shop=maintainer" for one. CodeInvalid for what is neither.
func ReadGrants(roles, projects []string) (Grants, error) {
	grants := Grants{}
	for _, text := range roles {
		project, role, one := strings.Cut(text, "=")
		switch {
		case one:
			grants[project] = Role(role)
		case len(projects) == 0:
			grants[AllProjects] = Role(text)
		default:
			for _, p := range projects {
				grants[p] = Role(text)
			}
		}
	}
	return grants, grants.Check()
}
