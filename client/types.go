package client

import (
	"encoding/json"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Preview is a preview as the API shows it. It never has a credential in it.
type Preview struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Project string `json:"project"`
	Kind    string `json:"kind" jsonschema:"enum=pull_request,enum=sandbox"`
	// State is queued, pending, creating, migrating, ready, suspended, failed, deleting or deleted.
	State string `json:"state" jsonschema:"enum=queued,enum=pending,enum=creating,enum=migrating,enum=ready,enum=suspended,enum=failed,enum=deleting,enum=deleted"`
	// Settled is true when the preview is what it should be, or has failed for good: nothing more will happen by itself.
	Settled bool     `json:"settled"`
	Failure *Failure `json:"failure,omitempty"`
	// Queue is where it stands while it waits for room, in the state queued.
	Queue       *Queue       `json:"queue,omitempty"`
	PullRequest *PullRequest `json:"pull_request,omitempty"`
	Template    *TemplateRef `json:"template,omitempty"`
	// Origin is there if its data came from another preview or a snapshot rather than straight from the template.
	Origin *Origin `json:"origin,omitempty"`
	// Size is the size class it was made with; left out for the project's own limits.
	Size       string            `json:"size,omitempty"`
	Generation int64             `json:"generation"`
	Labels     map[string]string `json:"labels,omitempty"`
	CreatedBy  string            `json:"created_by,omitempty"`
	CreatedAt  time.Time         `json:"created_at"`
	ReadyAt    *time.Time        `json:"ready_at,omitempty"`
	LastUsedAt *time.Time        `json:"last_used_at,omitempty"`
	ExpiresAt  *time.Time        `json:"expires_at,omitempty"`
	// ProtectedUntil is there while it is protected: until then nobody and nothing deletes it or its data.
	ProtectedUntil *time.Time `json:"protected_until,omitempty"`
	// Steps is the timeline, oldest first. Lists leave it out.
	Steps []Step `json:"steps,omitempty"`

	// ETag is the version that was read, for IfMatch; "" in lists.
	ETag string `json:"-"`
}

// Queue is a place in the queue of previews that wait for room.
type Queue struct {
	// Position is 1 for the preview whose turn is next, of Length that wait.
	Position int       `json:"position"`
	Length   int       `json:"length"`
	Since    time.Time `json:"since"`
	// Reason is the limit that was reached when it was asked for.
	Reason string `json:"reason"`
}

// Origin is where the data of a preview came from.
type Origin struct {
	// PreviewID and Preview are the preview it was branched from; the name is left out when that one is gone.
	PreviewID string `json:"preview_id,omitempty"`
	Preview   string `json:"preview,omitempty"`
	// SnapshotID is the state that it was made from, and that a reset without a template goes back to.
	SnapshotID string `json:"snapshot_id"`
}

// Failure says what went wrong.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// PullRequest is the pull request of a preview.
type PullRequest struct {
	RepositoryID int64  `json:"repository_id"`
	Repository   string `json:"repository"`
	Number       int    `json:"number"`
	Title        string `json:"title,omitempty"`
	// HeadSHA is the commit that should be applied, AppliedSHA the one that is; "" for none.
	HeadSHA    string `json:"head_sha"`
	AppliedSHA string `json:"applied_sha"`
	BaseRef    string `json:"base_ref,omitempty"`
}

// TemplateRef names the template of a preview.
type TemplateRef struct {
	ID      string `json:"id"`
	Version int    `json:"version"`
}

// Step is one entry of a timeline.
type Step struct {
	Name       string     `json:"name"`
	Detail     string     `json:"detail,omitempty"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	// DurationMS is the time it took so far, in milliseconds.
	DurationMS float64 `json:"duration_ms"`
	Error      string  `json:"error,omitempty"`
}

// StepEvent is a step of a preview or a template that began or ended, as the stream of events has it.
type StepEvent struct {
	// StepID tells steps apart: one that ended has the id that it began with.
	StepID int64 `json:"step_id"`
	Step
}

// PreviewList is a page of previews.
type PreviewList struct {
	Items []Preview `json:"items"`
	// Next is the value of the query parameter "after" for the next page; "" on the last one. It means nothing else.
	Next string `json:"next,omitempty"`
}

// CreatePreview asks for a sandbox. At most one of TemplateVersion, From and Snapshot says what it is made from; without any it is
// the project's newest template.
type CreatePreview struct {
	Project string `json:"project"`
	// Name is the part after "<project>-"; left out for a random one.
	Name string `json:"name,omitempty"`
	// TTL is how long it lives, such as "12h" or "7d"; left out for the project's setting.
	TTL string `json:"ttl,omitempty"`
	// Labels are for people and filters: up to 32, keys of 63 bytes, values of 255.
	Labels map[string]string `json:"labels,omitempty"`
	// TemplateVersion is the version of the template it is made from.
	TemplateVersion int `json:"template_version,omitempty" jsonschema:"minimum=1"`
	// From is the name of a preview of the same project: the new one has its data as of now.
	From string `json:"from,omitempty"`
	// Snapshot is the id of a snapshot of the same project.
	Snapshot string `json:"snapshot,omitempty"`
	// Size is one of the server's size classes that the project allows; left out for the project's own limits.
	Size string `json:"size,omitempty"`
	// Queue false has it refused, with the code quota_exceeded or pool_full, if there is no room for it now. Left out, it waits for room in
	// the state queued.
	Queue *bool `json:"queue,omitempty"`
}

// ChangePreview changes a preview. Fields that are left out stay as they are.
type ChangePreview struct {
	// TTL extends the preview's life to this long from now, such as "2d".
	TTL string `json:"ttl,omitempty"`
	// Suspended stops the preview's Postgres, or starts it again.
	Suspended *bool `json:"suspended,omitempty"`
	// Labels are merged into those it has; null takes one away.
	Labels map[string]*string `json:"labels,omitempty"`
}

// Reset says what a preview is made anew from. Nothing means what it was branched from or, for all others, the newest template.
type Reset struct {
	// Template is "newest", or "same" for the one the preview has.
	Template string `json:"template,omitempty" jsonschema:"enum=newest,enum=same"`
	// TemplateVersion is a version of the project's templates instead.
	TemplateVersion int `json:"template_version,omitempty" jsonschema:"minimum=1"`
}

// Protect asks for a preview to be protected.
type Protect struct {
	// For is how long from now, such as "7d"; up to 90d.
	For string `json:"for"`
	// Reason is one line for those who wonder; left out for none.
	Reason string `json:"reason,omitempty"`
}

// Snapshot is a state of a preview's data that can be returned to.
type Snapshot struct {
	ID string `json:"id"`
	// Name is its name among the snapshots of its preview.
	Name    string `json:"name"`
	Project string `json:"project"`
	// PreviewID and Preview are the preview that it is of; the name is left out when that one is gone.
	PreviewID string       `json:"preview_id"`
	Preview   string       `json:"preview,omitempty"`
	Template  *TemplateRef `json:"template,omitempty"`
	// SHA is the commit whose migrations it has, for those of a pull request.
	SHA       string    `json:"sha,omitempty"`
	SizeBytes int64     `json:"size_bytes"`
	CreatedBy string    `json:"created_by,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// Keep says that it outlives its preview, until ExpiresAt.
	Keep      bool       `json:"keep"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// CreateSnapshot asks for a snapshot of a preview as it is now.
type CreateSnapshot struct {
	// Name is lower case, digits and '-'; left out for one made of the time.
	Name string `json:"name,omitempty"`
	// Keep lets it outlive its preview, for the time in TTL: 30 days if that is left out, up to 90d.
	Keep bool   `json:"keep,omitempty"`
	TTL  string `json:"ttl,omitempty"`
}

// SnapshotList is a page of snapshots.
type SnapshotList struct {
	Items []Snapshot `json:"items"`
	Next  string     `json:"next,omitempty"`
}

// DeletedSnapshot says that a snapshot is gone.
type DeletedSnapshot struct {
	ID      string `json:"id"`
	Deleted bool   `json:"deleted"`
}

// Credentials are how to connect to a preview through the gateway.
type Credentials struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Database string `json:"database"`
	User     string `json:"user"`
	Password string `json:"password"`
	SSLMode  string `json:"sslmode"`
	// URL has all of them.
	URL string `json:"url"`
}

// Template is a template as the API shows it.
type Template struct {
	ID      string `json:"id"`
	Project string `json:"project"`
	Version int    `json:"version"`
	// State is building, ready, failed, retired or deleted.
	State     string     `json:"state" jsonschema:"enum=building,enum=ready,enum=failed,enum=retired,enum=deleted"`
	Source    string     `json:"source"`
	Major     int        `json:"major,omitempty"`
	SizeBytes int64      `json:"size_bytes,omitempty"`
	RowCount  int64      `json:"row_count,omitempty"`
	Failure   *Failure   `json:"failure,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	ReadyAt   *time.Time `json:"ready_at,omitempty"`
	// Current says that new previews are clones of this one, TooOld that it is also older than the project's templates.max_age.
	Current bool `json:"current,omitempty"`
	TooOld  bool `json:"too_old,omitempty"`
	// Cause is why it was built: request, schedule, or catch_up for a schedule that was missed. RequestedBy is who asked.
	Cause       string `json:"cause,omitempty" jsonschema:"enum=request,enum=schedule,enum=catch_up"`
	RequestedBy string `json:"requested_by,omitempty"`
	// Cancelled says who stopped its build; RolledBack who took it out of use, and why.
	Cancelled  *Mark `json:"cancelled,omitempty"`
	RolledBack *Mark `json:"rolled_back,omitempty"`
	// Progress is there while it is being built.
	Progress *Progress `json:"progress,omitempty"`
	// Steps and Report are left out of lists.
	Steps  []Step          `json:"steps,omitempty"`
	Report json.RawMessage `json:"report,omitempty"`
	// Drift is there once the template's migrations were compared with the default branch, and left out of lists.
	Drift *Drift `json:"drift,omitempty"`
}

// Drift is where production's tracking table, as a template has it, and the default branch differ.
type Drift struct {
	// Commit is the one of the default branch that was compared.
	Commit string `json:"commit"`
	// NotDeployed are merged and production does not have them; NotMerged the reverse.
	NotDeployed []string `json:"not_deployed"`
	NotMerged   []string `json:"not_merged"`
}

// Attestation is a signed statement about a template: a DSSE envelope. Its payload is JSON in base64.
type Attestation struct {
	PayloadType string                 `json:"payloadType"` //nolint:tagliatelle // as DSSE has it
	Payload     string                 `json:"payload"`
	Signatures  []AttestationSignature `json:"signatures"`
}

// AttestationSignature is a signature by Ed25519, in base64.
type AttestationSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// AttestationKey is the public key that checks attestations, in PEM.
type AttestationKey struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm" jsonschema:"enum=ed25519"`
	PublicKey string `json:"public_key"`
}

// Rescan is what another scan of a template found. Clean says that no original survives where none may be.
type Rescan struct {
	Clean   bool            `json:"clean"`
	Summary string          `json:"summary"`
	Outcome json.RawMessage `json:"outcome"` // as in the attestation
}

// Progress is how far a template's build is.
type Progress = mayfly.BuildProgress

// Mark is what somebody decided about a template.
type Mark struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Reason says why something is done; it may be left out.
type Reason struct {
	Reason string `json:"reason,omitempty"`
}

// RollBack asks for an older template to be used for new previews.
type RollBack struct {
	// ToVersion is its version; 0 or nothing for the one before the current.
	ToVersion int    `json:"to_version,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// RolledBack is what a rollback did: the template that is current now, and those that it replaces.
type RolledBack struct {
	Current  Template   `json:"current"`
	Replaced []Template `json:"replaced"`
}

// Project is a project as the API shows it.
type Project struct {
	Name string `json:"name"`
	// Schedule is when its templates are built; nothing if only on request.
	Schedule *Schedule `json:"schedule,omitempty"`
}

// Schedule is when the templates of a project are built.
type Schedule struct {
	Schedule string `json:"schedule"` // a cron expression
	TimeZone string `json:"time_zone"`
	// NextAt is when the next build begins, jitter included.
	NextAt      *time.Time `json:"next_at,omitempty"`
	LastRunAt   *time.Time `json:"last_run_at,omitempty"`
	LastOutcome string     `json:"last_outcome,omitempty"`
}

// ProjectList is the projects that a token may see.
type ProjectList struct {
	Items []Project `json:"items"`
}

// RevokedToken says that a token is invalid from now on.
type RevokedToken struct {
	ID      string `json:"id"`
	Revoked bool   `json:"revoked"`
}

// TemplateList is a page of the templates of a project.
type TemplateList struct {
	Items []Template `json:"items"`
	Next  string     `json:"next,omitempty"`
}

// Problem is an error as the API shows it: problem details (RFC 9457) with a stable code and a hint.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Hint   string `json:"hint,omitempty"`
	// Errors name what is wrong with a request, field by field.
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError is what is wrong with one field of a request: a JSON pointer into the body ("/labels/team"), or the name of a query
// parameter or a header.
type FieldError = mayfly.FieldError
