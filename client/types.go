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
	// State is pending, creating, migrating, ready, suspended, failed, deleting or deleted.
	State string `json:"state" jsonschema:"enum=pending,enum=creating,enum=migrating,enum=ready,enum=suspended,enum=failed,enum=deleting,enum=deleted"`
	// Settled is true when the preview is what it should be, or has failed for good: nothing more will happen by itself.
	Settled     bool              `json:"settled"`
	Failure     *Failure          `json:"failure,omitempty"`
	PullRequest *PullRequest      `json:"pull_request,omitempty"`
	Template    *TemplateRef      `json:"template,omitempty"`
	Generation  int64             `json:"generation"`
	Labels      map[string]string `json:"labels,omitempty"`
	CreatedBy   string            `json:"created_by,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	ReadyAt     *time.Time        `json:"ready_at,omitempty"`
	LastUsedAt  *time.Time        `json:"last_used_at,omitempty"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	// Steps is the timeline, oldest first. Lists leave it out.
	Steps []Step `json:"steps,omitempty"`
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

// PreviewList is a page of previews, oldest first.
type PreviewList struct {
	Items []Preview `json:"items"`
	// Next is the value of the query parameter "after" for the next page; "" on the last one.
	Next string `json:"next,omitempty"`
}

// CreatePreview asks for a sandbox.
type CreatePreview struct {
	Project string `json:"project"`
	// Name is the part after "<project>-"; left out for a random one.
	Name string `json:"name,omitempty"`
	// TTL is how long it lives, such as "12h" or "7d"; left out for the project's setting.
	TTL    string            `json:"ttl,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// ChangePreview changes a preview. Fields that are left out stay as they are.
type ChangePreview struct {
	// TTL extends the preview's life to this long from now, such as "2d".
	TTL string `json:"ttl,omitempty"`
	// Suspended stops the preview's Postgres, or starts it again.
	Suspended *bool `json:"suspended,omitempty"`
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

// TemplateList is the templates of a project, oldest first.
type TemplateList struct {
	Items []Template `json:"items"`
}

// Problem is an error as the API shows it: problem details (RFC 9457) with a stable code and a hint.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Hint   string `json:"hint,omitempty"`
}
