package mayfly

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kind says what a preview was made for. Both kinds use the same machinery.
type Kind string

// The kinds of preview.
const (
	KindPullRequest Kind = "pull_request"
	KindSandbox     Kind = "sandbox"
)

// PreviewState is where a preview is, as last observed by converge.
type PreviewState string

// The states of a preview. Transitions: queued → pending → creating → migrating → ready ⇄ suspended; any of them → failed;
// failed → creating (retry or reset); any → deleting → deleted.
const (
	PreviewQueued    PreviewState = "queued"    // accepted; waits for room, which a quota or the machine does not have now
	PreviewPending   PreviewState = "pending"   // recorded; nothing made yet
	PreviewCreating  PreviewState = "creating"  // being cloned and started
	PreviewMigrating PreviewState = "migrating" // running; pending migrations are being applied
	PreviewReady     PreviewState = "ready"     // running and at the desired state
	PreviewSuspended PreviewState = "suspended" // stopped; wakes on connect
	PreviewFailed    PreviewState = "failed"    // Failure says why
	PreviewDeleting  PreviewState = "deleting"  // being torn down
	PreviewDeleted   PreviewState = "deleted"   // gone; the row stays as history
)

// PullRequest identifies the pull request behind a preview. RepositoryID and Number are the identity; the rest is for
// people and changes with renames.
type PullRequest struct {
	RepositoryID int64  `json:"repository_id"`
	Number       int    `json:"number"`
	Repository   string `json:"repository"`
	HeadSHA      string `json:"head_sha"`
	BaseRef      string `json:"base_ref,omitempty"`
	BaseSHA      string `json:"base_sha,omitempty"`
	Title        string `json:"title,omitempty"`
	// HeadRef is the branch of the head, Author the login of whoever opened it. These, Title and Labels are text of strangers.
	HeadRef string   `json:"head_ref,omitempty"`
	Author  string   `json:"author,omitempty"`
	Draft   bool     `json:"draft,omitempty"`
	Fork    bool     `json:"fork,omitempty"` // the head is in another repository, or that repository is gone
	Labels  []string `json:"labels,omitempty"`
}

// Equal reports whether both say the same.
func (pr *PullRequest) Equal(other *PullRequest) bool {
	a, b := *pr, *other
	same := slices.Equal(a.Labels, b.Labels)
	a.Labels, b.Labels = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// HasLabel reports whether the pull request has the label; GitHub's labels do not tell upper from lower case.
func (pr *PullRequest) HasLabel(name string) bool {
	return slices.ContainsFunc(pr.Labels, func(label string) bool { return strings.EqualFold(label, name) })
}

// Preview is a running or suspended clone of a template.
//
// It has two halves. What should be: Generation, HeadSHA in PullRequest, WantSuspended, WantDeleted, ExpiresAt; written
// by the API, the webhooks and the periodic jobs. What is: State, Observed*, Failure; written by converge alone, under
// the preview's lock.
type Preview struct {
	ID      string // "p" and 25 base32 characters; Resource makes the names of its volume and instance from it
	Name    string // unique among previews that are not deleted
	Project string
	Kind    Kind
	PR      *PullRequest // nil for sandboxes
	// TemplateID is the template it is, or will be, a clone of. "" until the first converge chooses the newest ready one.
	TemplateID string
	// TemplateVersion is the template's, for people; 0 if there is none yet. The store fills it in.
	TemplateVersion int

	// What should be.
	Generation    int64 // raised by reset; a clone of an older generation is replaced
	WantSuspended bool
	WantDeleted   bool
	ExpiresAt     *time.Time
	// ProtectedUntil is until when nobody and nothing removes it or its data; ProtectedBy and ProtectedReason say who wants that and why.
	ProtectedUntil               *time.Time
	ProtectedBy, ProtectedReason string
	// SizeClass is the size class it is made with, "" for the project's limits.
	SizeClass string
	// SnapshotID is what its next generation is cloned from, "" for its template. ParentID is the preview that it was branched from.
	SnapshotID string
	ParentID   string
	// ParentName is the name of that one while it lives. The store fills it in.
	ParentName string
	// PasswordVersion is raised by a new password that does not come with a new generation.
	PasswordVersion int64
	// Keep means that it is not removed when its time is up.
	Keep bool
	// SchemaOnly means that it is a clone without rows, for a stranger's pull request. It is set before the first clone.
	SchemaOnly bool
	// ClosedAt is since when its pull request is closed, or no longer one that gets a preview: it sleeps, and cannot be woken,
	// until the grace period ends or the pull request is opened again. nil while it is wanted.
	ClosedAt *time.Time

	// What is.
	State              PreviewState
	ObservedGeneration int64
	ObservedSHA        string // head SHA whose migrations are applied; "" if none
	Failure            *Failure
	// ObservedPassword is the PasswordVersion that its Postgres has.
	ObservedPassword int64
	// Revision is raised by the store with every change of what people decide by; its use and its timeline are none.
	Revision int64
	// ObservedBaseRef and ObservedBaseSHA are the base that the pending migrations and the report were computed with.
	ObservedBaseRef string
	ObservedBaseSHA string

	// Database, Owner: what clients connect as. PasswordSealed is the encrypted password (internal/auth opens it).
	Database       string
	Owner          string
	PasswordSealed []byte

	// ReservedMemory and ReservedDisk, in bytes, are what it may use: what quotas count.
	ReservedMemory, ReservedDisk int64
	// QueuedAt and QueuedWhy say since when it waits for room, and for what; nil and "" unless its state is queued.
	QueuedAt  *time.Time
	QueuedWhy string

	Labels    map[string]string
	CreatedBy string
	// CreatedToken is the id of the token that it was asked for with, "" if none was used.
	CreatedToken string
	CreatedAt    time.Time
	ReadyAt      *time.Time
	LastUsedAt   *time.Time
	DeletedAt    *time.Time
}

// Clone returns a copy of the preview that shares nothing with it that anybody changes in place.
func (p *Preview) Clone() *Preview {
	c := *p
	c.Labels = maps.Clone(p.Labels)
	if p.PR != nil {
		pr := *p.PR
		pr.Labels = slices.Clone(p.PR.Labels)
		c.PR = &pr
	}
	return &c
}

// Protected reports whether nobody and nothing may remove the preview or its data at that time.
func (p *Preview) Protected(at time.Time) bool {
	return p.ProtectedUntil != nil && at.Before(*p.ProtectedUntil)
}

// Resource returns the name of the volume and the instance of one generation of a preview. Each generation has its own,
// so that whatever exists under another generation's name is garbage, whenever a crash left it.
func (p *Preview) Resource(generation int64) string { return fmt.Sprintf("%s-%d", p.ID, generation) }

// Instance returns the name of the instance that clients are connected to: the generation that was built last.
func (p *Preview) Instance() string { return p.Resource(p.ObservedGeneration) }

// Connectable reports whether the gateway may hand a client to the preview now or after waking it. A preview whose
// migration failed stays inspectable, and one that is protected from being made anew keeps what it has.
func (p *Preview) Connectable() bool {
	switch p.State {
	case PreviewReady, PreviewSuspended:
		return true
	case PreviewFailed:
		return p.Failure != nil && (p.Failure.Code == CodeMigrationFailed || p.Failure.Code == CodeProtected)
	}
	return false
}

// Settled reports whether converge has nothing left to do for what is wanted now.
func (p *Preview) Settled() bool {
	if p.WantDeleted {
		return p.State == PreviewDeleted
	}
	if p.ObservedGeneration != p.Generation {
		return false
	}
	if p.PR != nil && p.ObservedSHA != p.PR.HeadSHA {
		return false
	}
	switch p.State {
	case PreviewFailed:
		return p.ObservedPassword == p.PasswordVersion || !p.Connectable()
	case PreviewReady:
		return !p.WantSuspended && p.ObservedPassword == p.PasswordVersion
	case PreviewSuspended:
		return p.WantSuspended
	}
	return false
}

// FollowsBase reports whether what the preview says about its migrations was computed with the pull request's base as it is now.
// It is not part of Settled: a base that moves seldom changes what is in the preview, and whoever waits for that need not wait.
func (p *Preview) FollowsBase() bool {
	return p.PR == nil || p.PR.BaseSHA == "" || p.WantDeleted || p.ObservedSHA == "" ||
		p.ObservedBaseSHA == p.PR.BaseSHA && p.ObservedBaseRef == p.PR.BaseRef
}

// Step is one entry of a preview's or template's timeline.
type Step struct {
	Name       string     `json:"name"` // "clone", "start", "migrate", …
	Detail     string     `json:"detail,omitempty"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	// Error is empty when the step succeeded or still runs.
	Error string `json:"error,omitempty"`
}

// MaxNameLength is the longest preview name, in bytes: the limit of a DNS label and of a Postgres identifier.
const MaxNameLength = 63

// MaxProjectNameLength leaves room for "-pr-<number>" and a useful sandbox name.
const MaxProjectNameLength = 30

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// ValidateProjectName returns an *Error with CodeInvalid unless name can start a preview's name.
func ValidateProjectName(name string) error {
	if !namePattern.MatchString(name) || len(name) > MaxProjectNameLength {
		return Errorf(CodeInvalid, "project name %q is not usable", name).
			WithHint("use lower-case letters, digits and '-', at most %d characters", MaxProjectNameLength)
	}
	return nil
}

// PullRequestName returns the name of a pull request's preview: "<project>-pr-<number>".
func PullRequestName(project string, number int) string {
	return fmt.Sprintf("%s-pr-%d", project, number)
}

var pullRequestSuffix = regexp.MustCompile(`^pr-[0-9]+$`)

// SandboxName returns the name of a sandbox, "<project>-<name>", or an *Error with CodeInvalid. Names that look like a
// pull request's ("pr-7") are refused. A name that already starts with "<project>-" is taken as it is.
func SandboxName(project, name string) (string, error) {
	short := strings.TrimPrefix(name, project+"-")
	full := project + "-" + short
	if !namePattern.MatchString(short) || len(full) > MaxNameLength {
		return "", Errorf(CodeInvalid, "sandbox name %q is not usable", name).
			WithHint("use lower-case letters, digits and '-'; with the project's name at most %d characters", MaxNameLength)
	}
	if pullRequestSuffix.MatchString(short) {
		return "", Errorf(CodeInvalid, "sandbox name %q is kept for pull requests", name).
			WithHint("choose a name that is not pr-<number>")
	}
	return full, nil
}

// NewID returns prefix and 25 random lower-case base32 characters (125 bits): a name safe for files, containers, labels.
func NewID(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return prefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))[:25]
}
