package mayfly

import "time"

// TemplateState is where a template is in its life. Only a ready one is ever cloned.
type TemplateState string

// The states of a template.
const (
	TemplateBuilding TemplateState = "building" // being made; not offered to anyone
	TemplateReady    TemplateState = "ready"    // verified and frozen
	TemplateFailed   TemplateState = "failed"   // the build ended in an error; nothing is left on disk
	TemplateRetired  TemplateState = "retired"  // replaced; kept only while previews use it
	TemplateDeleted  TemplateState = "deleted"  // its volume is gone; the row stays as history
)

// Template is a finished, sanitized, frozen Postgres data directory. Immutable and versioned per project.
type Template struct {
	ID      string // "t" and 25 base32 characters; also the name of its volume
	Project string
	Version int // 1, 2, 3, … per project
	State   TemplateState
	Image   string // digest of the image that made it and that its previews run
	Major   int    // PostgreSQL major version
	// Database and Owner are copied from the project when the build started.
	Database string
	Owner    string
	Source   string // Source.Describe() of what it was built from
	// SizeBytes is the space the frozen data directory takes. RowCount is the exact number of rows in all tables.
	SizeBytes int64
	RowCount  int64
	Report    []byte // JSON, made by templates; nil until ready or failed
	Failure   *Failure
	// Attestation is the signed statement of what is in the template and what was done to it; nil if there is none.
	Attestation []byte
	// Cause says why it was built, RequestedBy who asked for it ("" for a schedule).
	Cause       TemplateCause
	RequestedBy string
	// Cancelled says who asked for the build to be stopped; RolledBack who took the finished template out of use again, and
	// why. Nil for neither.
	Cancelled  *Mark
	RolledBack *Mark
	CreatedAt  time.Time
	ReadyAt    *time.Time
}

// TemplateCause is why a template was built.
type TemplateCause string

// The causes of a build.
const (
	CauseRequest  TemplateCause = "request"  // somebody asked for it
	CauseSchedule TemplateCause = "schedule" // its time came
	CauseCatchUp  TemplateCause = "catch_up" // its time came while nothing was running
)

// Mark is what somebody decided about a template.
type Mark struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Failure is the recorded form of an Error.
type Failure struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// FailureOf records err. Causes are not kept: they may name things that people should not see.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	code := ErrorCode(err)
	message := err.Error()
	if code == CodeInternal {
		message = "internal error; the server's log has the details"
	}
	return &Failure{Code: code, Message: message, Hint: ErrorHint(err)}
}
