package gateway

import (
	"context"
	"fmt"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
)

// reservedRolePrefix covers the superuser that Mayfly makes in every cluster (cluster.AdminRole) and any it may make later.
const reservedRolePrefix = "mayfly_"

// target is which preview a client means.
type target struct {
	name string
	// byHost is set when the TLS server name said so; then the database may have its real name.
	byHost bool
}

// route finds the preview's name in the TLS server name, if that is one label before the base domain, or else in the
// database name. Every preview's name has a '-' in it (<project>-<name>), so a label without one is another name of the
// gateway itself ("db.previews.example.com"), and the database name decides.
func route(baseDomain string, o opening) target {
	if label, ok := strings.CutSuffix(o.sni, "."+baseDomain); ok && baseDomain != "" &&
		strings.Contains(label, "-") && !strings.Contains(label, ".") {
		return target{name: label, byHost: true}
	}
	if o.startup.database == "" {
		return target{name: o.startup.user} // Postgres's default
	}
	return target{name: o.startup.database}
}

// refuseEarly refuses what needs no look-up.
func refuseEarly(s *startup, to target) error {
	switch {
	case s.user == cluster.AdminRole || strings.HasPrefix(s.user, reservedRolePrefix):
		return refusedRole(s.user)
	case s.replication:
		return &refusal{
			code: codeFeatureNotSupported, message: "replication connections are not available for previews", outcome: "refused",
		}
	case !plausibleName(to.name):
		return unknownDatabase(to.name)
	}
	return nil
}

// refuseRole refuses every role but the preview's owner and those that somebody was given: no other is meant to log in, whatever a
// migration has made.
func (s *session) refuseRole(ctx context.Context, packet *startup, preview *mayfly.Preview) error {
	if packet.user == preview.Owner {
		return nil
	}
	if s.g.opts.Logins == nil || !plausibleRole(packet.user) {
		return refusedRole(packet.user)
	}
	may, err := s.g.opts.Logins.MayLogin(ctx, preview, packet.user)
	if err != nil {
		return err
	}
	if !may {
		return refusedRole(packet.user)
	}
	return nil
}

// plausibleRole reports whether somebody's role could have this name: it ends in eight digits of a hash, and "_ro" if it only reads. What
// could not is never looked up.
func plausibleRole(role string) bool {
	const hash = 8
	role = strings.TrimSuffix(role, "_ro")
	if len(role) < hash+2 || role[len(role)-hash-1] != '_' {
		return false
	}
	return strings.Trim(role[len(role)-hash:], "0123456789abcdef") == ""
}

func refusedRole(role string) error {
	return &refusal{
		code: codeInvalidAuthorization, message: fmt.Sprintf("role %q may not connect through the gateway", shorten(role)),
		hint: "Use the login of the preview's connection string; `mayfly url` prints it.", outcome: "refused",
	}
}

// realDatabase returns the name of the database inside the preview. A client that came by host name may use the real
// name, the preview's name, or none (libpq then sends the user's). Anything else is refused rather than guessed: it may
// be meant for another preview.
func realDatabase(s *startup, to target, preview *mayfly.Preview) (string, error) {
	if to.byHost {
		switch s.database {
		case "", s.user, preview.Name, preview.Database:
		default:
			refused := unknownDatabase(s.database)
			refused.detail = fmt.Sprintf("The host name selects preview %s, whose database is %q.", preview.Name, preview.Database)
			refused.hint = "Use that database name or the preview's name."
			return "", refused
		}
	}
	return preview.Database, nil
}

// plausibleName reports whether a preview could have this name; what could not is never looked up.
func plausibleName(name string) bool {
	if len(name) == 0 || len(name) > mayfly.MaxNameLength {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
