package outgoing

import (
	"slices"
	"time"

	"github.com/mayflydb/mayfly/internal/store"
)

// Target is a receiver: of webhooks, or, with Push, of the URL itself.
type Target struct {
	// Name is unique among targets; deliveries are stored by it.
	Name string
	// URL is where webhooks go. It may be a secret, as those of chats are.
	URL string
	// Secret signs webhooks (standard-webhooks, "v1"): 24 bytes or more.
	Secret []byte
	// Events and Projects bound what it is told; none means everything.
	Events, Projects []string
	// AllowLinkLocal lets it be at a link-local address, where clouds serve credentials of machines.
	AllowLinkLocal bool
	Push           *Push
}

// Wants reports whether the target is told of an event.
func (t *Target) Wants(project, kind string) bool {
	if t.Push != nil && kind == store.EventFailed {
		return false // what it has stays as it is
	}
	return (len(t.Events) == 0 || slices.Contains(t.Events, kind)) && (len(t.Projects) == 0 || slices.Contains(t.Projects, project))
}

// Push is what gives a preview's URL to a host of preview deployments, and takes it away again.
type Push struct {
	// Set is sent when the preview is ready and when it has changed; Remove when it is gone, if Set ever was.
	Set, Remove *Request
	// Keep are parts of the answer to Set that Remove needs: a path of names and indexes, "created.0.id", by the name that it has there.
	Keep map[string]string
	// Secrets are what templates of headers and bodies may use as .Secrets.<name>.
	Secrets map[string]string
	// PullRequestsOnly leaves sandboxes out.
	PullRequestsOnly bool
}

// Values are what a request's templates are made with.
type Values struct {
	Preview     Preview
	PullRequest PullRequest // zero for a sandbox
	Kept        map[string]string
	// Connection and Secrets are there in headers and bodies, not in addresses: those end up in logs on the way.
	Connection *Connection
	Secrets    map[string]string
}

// Preview names a preview.
type Preview struct{ ID, Name, Project string }

// PullRequest is the pull request of a preview. Branch is text of whoever made it.
type PullRequest struct {
	Number          int
	Repository      string
	Branch, HeadSHA string
}

// Connection is how to connect to a preview, with the password.
type Connection struct {
	URL, Host, Database, User, Password, SSLMode string
	Port                                         int
}

const (
	// requestTimeout bounds one attempt, and lease how long an attempt may hold a delivery.
	requestTimeout = 15 * time.Second
	lease          = time.Minute
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
)

// backoff returns how long to wait after so many attempts. Receivers are restarted within seconds and repaired within hours.
func backoff(attempts int) time.Duration {
	steps := []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute}
	if attempts > len(steps) {
		return time.Hour
	}
	return steps[max(attempts, 1)-1]
}
