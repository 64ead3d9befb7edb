package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/mayflydb/mayfly"
)

// DefaultMaxBody is GitHub's own limit on payloads, 25 MiB (GitHub docs, "Webhook events and payloads").
const DefaultMaxBody = 25 << 20

// acceptTimeout leaves time to answer within the 10 seconds after which GitHub counts a delivery as failed.
const acceptTimeout = 8 * time.Second

// Delivery is one verified delivery.
type Delivery struct {
	ID    string // X-GitHub-Delivery: unique per event; a redelivery has the same
	Event string // X-GitHub-Event

	// What Hint found in the payload.
	Action         string
	RepositoryID   int64
	Repository     string // "owner/name" at the time of the delivery
	Number         int    // of the pull request; 0 if it is about none
	InstallationID int64  // 0 for a plain repository webhook

	// Payload is a JSON object in UTF-8, as received. It may hold the escape \u0000, which PostgreSQL's jsonb refuses
	// and its json, text and bytea accept.
	Payload    []byte
	ReceivedAt time.Time
}

// Inbox stores deliveries.
type Inbox interface {
	// Accept stores d and, if d.Actionable(), the job that looks at it, in one transaction, and returns after the
	// commit. It returns fresh=false, and has changed nothing, if a delivery with the same ID is already stored. A
	// repository that no project has is no error: the delivery is recorded and nothing is done. It is called
	// concurrently. The context outlives the HTTP request, so that a sender that hangs up does not undo a commit.
	Accept(ctx context.Context, d Delivery) (fresh bool, err error)
}

// Options configure the handler. Secrets and Inbox are required.
type Options struct {
	// Secrets are the webhook secrets in use. A delivery may be signed with any of them, so that a secret can be
	// rotated without losing deliveries. Without one (empty ones do not count) every delivery is refused.
	Secrets [][]byte
	Inbox   Inbox
	// MaxBody is the largest body accepted, in bytes. 0 means DefaultMaxBody.
	MaxBody int64
	// ReadTimeout is how long a sender may take for the body, the wait for its turn included. 0 means DefaultReadTimeout.
	ReadTimeout time.Duration
	// LargeBodies is how many bodies of more than 64 KiB are read at the same time. 0 means DefaultLargeBodies.
	LargeBodies int
	Logger      *slog.Logger
	Now         func() time.Time
}

type handler struct {
	secrets     [][]byte
	inbox       Inbox
	maxBody     int64
	readTimeout time.Duration
	large       chan struct{} // one element for each large body in memory whose signature is not known yet
	log         *slog.Logger
	now         func() time.Time
}

// NewHandler returns the handler for POST /webhooks/github. It answers 202 once the delivery is committed (200 to a
// ping), 401 and stores nothing if the signature is missing or wrong, 413 if the body is too large, 400 if a header is
// missing or the payload is not JSON, 415 if the body is neither JSON nor a form, 405 to anything but POST, 408 if
// the body does not come in time, and 503 if it is not its turn in time or the inbox could not store it: GitHub then shows the
// delivery as failed, and it can be redelivered. Bodies of errors are problem details (RFC 9457).
//
// Until a body is whole, its sender is a stranger. So what strangers can make the handler hold is bounded: LargeBodies bodies of
// MaxBody bytes, and 64 KiB for each connection, for ReadTimeout.
func NewHandler(o Options) http.Handler {
	h := &handler{
		inbox: o.Inbox, maxBody: o.MaxBody, readTimeout: cmp.Or(o.ReadTimeout, DefaultReadTimeout),
		large: make(chan struct{}, cmp.Or(o.LargeBodies, DefaultLargeBodies)), log: o.Logger, now: o.Now,
	}
	for _, secret := range o.Secrets {
		if len(secret) > 0 { // anyone can sign with an empty key
			h.secrets = append(h.secrets, secret)
		}
	}
	if h.maxBody <= 0 {
		h.maxBody = DefaultMaxBody
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	readCtx, readDone := context.WithTimeout(r.Context(), h.readTimeout)
	defer readDone()
	bound(readCtx, w)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.refuse(w, r, http.StatusMethodNotAllowed, mayfly.Errorf(mayfly.CodeInvalid, "only POST is served here").
			WithHint("set this address as the payload URL of a GitHub webhook"))
		return
	}
	delivery, status, refusal := h.read(readCtx, w, r)
	if refusal != nil {
		h.refuse(w, r, status, refusal)
		return
	}
	unbound(w)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), acceptTimeout)
	defer cancel()
	fresh, err := h.inbox.Accept(ctx, delivery)
	if err != nil {
		h.log.Error("webhook delivery not stored", "delivery", delivery.ID, "event", delivery.Event, "error", err)
		h.refuse(w, r, http.StatusServiceUnavailable,
			mayfly.Errorf(mayfly.CodeStateUnavailable, "the delivery could not be stored").
				WithHint("redeliver it from the webhook's page on GitHub; open pull requests are also reconciled periodically"))
		return
	}
	h.log.Info("webhook delivery accepted", "delivery", delivery.ID, "event", delivery.Event, "action", delivery.Action,
		"repository", delivery.Repository, "number", delivery.Number, "fresh", fresh)
	answer(w, delivery, fresh)
}

// read verifies the request and returns the delivery in it, or the status to refuse it with. Nothing but the length is
// looked at before the signature has been verified over the raw body.
func (h *handler) read(ctx context.Context, w http.ResponseWriter, r *http.Request) (Delivery, int, *mayfly.Error) {
	if r.ContentLength > h.maxBody {
		return Delivery{}, http.StatusRequestEntityTooLarge, h.tooLarge()
	}
	mac, ok := parseSignature(r.Header.Get(SignatureHeader))
	if !ok || len(h.secrets) == 0 {
		return Delivery{}, http.StatusUnauthorized, h.unverified()
	}
	body, status, refusal := h.verified(ctx, w, r, mac)
	if refusal != nil {
		return Delivery{}, status, refusal
	}
	return h.parse(r.Header, body)
}

// GitHub's ids are UUIDs and its events are snake case; anything of that alphabet and a sane length will do.
var (
	deliveryID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	eventName  = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
)

// parse reads a verified body.
func (h *handler) parse(header http.Header, body []byte) (Delivery, int, *mayfly.Error) {
	id, event := header.Get("X-GitHub-Delivery"), header.Get("X-GitHub-Event")
	if !deliveryID.MatchString(id) || !eventName.MatchString(event) {
		return Delivery{}, http.StatusBadRequest,
			mayfly.Errorf(mayfly.CodeInvalid, "X-GitHub-Delivery or X-GitHub-Event is missing or malformed").
				WithHint("a proxy in front of Mayfly must pass on the X-GitHub-* headers")
	}
	payload, ok := payloadOf(header.Get("Content-Type"), body)
	if !ok {
		return Delivery{}, http.StatusUnsupportedMediaType,
			mayfly.Errorf(mayfly.CodeInvalid, "the body is neither JSON nor a form with one payload").
				WithHint("set the webhook's content type to application/json")
	}
	facts, err := Hint(event, payload)
	if err != nil {
		return Delivery{}, http.StatusBadRequest, asError(err)
	}
	return Delivery{
		ID: id, Event: event, Action: facts.Action, RepositoryID: facts.RepositoryID, Repository: facts.Repository,
		Number: facts.Number, InstallationID: facts.InstallationID, Payload: payload, ReceivedAt: h.now(),
	}, 0, nil
}

// payloadOf returns the JSON in body: GitHub sends it as it is, or as the field "payload" of a form.
func payloadOf(contentType string, body []byte) ([]byte, bool) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, false
	}
	switch mediaType {
	case "application/json":
		return body, true
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil || len(form["payload"]) != 1 {
			return nil, false
		}
		return []byte(form.Get("payload")), true
	}
	return nil, false
}

func (h *handler) tooLarge() *mayfly.Error {
	return mayfly.Errorf(mayfly.CodeTooLarge, "the body is larger than %d bytes", h.maxBody).
		WithHint("GitHub never sends more than 25 MiB; raise the configured limit if it is lower")
}

func (h *handler) unverified() *mayfly.Error {
	err := mayfly.Errorf(mayfly.CodeUnauthenticated, "the delivery carries no valid %s", SignatureHeader)
	if len(h.secrets) == 0 {
		return err.WithHint("no webhook secret is configured, so every delivery is refused; set one here and on GitHub")
	}
	return err.WithHint("set the same secret here and on the webhook's page on GitHub")
}

func asError(err error) *mayfly.Error {
	var e *mayfly.Error
	if errors.As(err, &e) {
		return e
	}
	return mayfly.Errorf(mayfly.CodeInternal, "%w", err)
}

// problem is a problem details object (RFC 9457) with the members that every Mayfly error has.
type problem struct {
	Type   string      `json:"type"`
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Code   mayfly.Code `json:"code"`
	Hint   string      `json:"hint,omitempty"`
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, err *mayfly.Error) {
	h.log.Warn("webhook delivery refused", "status", status, "code", err.Code, "reason", err.Message,
		"remote", r.RemoteAddr)
	writeJSON(w, status, "application/problem+json", problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: err.Message, Code: err.Code, Hint: err.Hint,
	})
}

// acknowledgement is what GitHub shows on the page of a delivery.
type acknowledgement struct {
	Status   string `json:"status"` // "pong", "accepted", "ignored" or "repeated"
	Delivery string `json:"delivery"`
}

func answer(w http.ResponseWriter, d Delivery, fresh bool) {
	status, text := http.StatusAccepted, "accepted"
	switch {
	case d.Event == EventPing:
		status, text = http.StatusOK, "pong"
	case !fresh:
		text = "repeated"
	case !d.Actionable():
		text = "ignored"
	}
	writeJSON(w, status, "application/json", acknowledgement{Status: text, Delivery: d.ID})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // plain structs; the sender may be gone, and nobody is left to tell
}
