package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
)

// AuditOutcome says how something ended.
type AuditOutcome string

// The outcomes.
const (
	AuditDone   AuditOutcome = "done"
	AuditDenied AuditOutcome = "denied" // somebody asked for what they may not do
	AuditFailed AuditOutcome = "failed"
)

// AuditEntry is one thing that was done. Who did it is in the context (mayfly.ActorOf).
type AuditEntry struct {
	// Action names it: "preview.create", "credentials.read".
	Action  string
	Outcome AuditOutcome // "" means AuditDone
	Project string
	// Kind, Name and ObjectID say what it was done to: "preview", its name, and its id, which no other thing ever has.
	Kind, Name, ObjectID string
	// Detail is what else there is to say. Never a secret, nor a value of a row.
	Detail map[string]any
}

// AuditRecord is an entry of the log.
type AuditRecord struct {
	ID       int64
	At       time.Time
	Actor    mayfly.Actor
	Action   string
	Outcome  AuditOutcome
	Project  string
	Kind     string
	Name     string
	ObjectID string
	Detail   json.RawMessage
}

// Audit writes an entry of the log by itself, for what changes nothing in the state database: something that was shown, or refused.
// What shall not happen without its entry is done after this has succeeded.
func (s *Store) Audit(ctx context.Context, e AuditEntry) error {
	if err := s.audit(ctx, s.pool, e); err != nil {
		return failed(err, "write the audit log")
	}
	return nil
}

// execer is a pool or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// audit writes an entry as part of the transaction that makes the change: neither is there without the other.
func (s *Store) audit(ctx context.Context, tx execer, e AuditEntry) error {
	who := mayfly.ActorOf(ctx)
	if e.Outcome == "" {
		e.Outcome = AuditDone
	}
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	_, err := tx.Exec(ctx, `
		insert into audit (actor, token_id, address, action, outcome, project, kind, name, object_id, detail)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		who.Subject, who.TokenID, who.Address, e.Action, e.Outcome, e.Project, e.Kind, e.Name, e.ObjectID, e.Detail)
	return err
}

// auditPreview writes what was done to a preview.
func (s *Store) auditPreview(ctx context.Context, tx execer, p *mayfly.Preview, action string, detail map[string]any) error {
	return s.audit(ctx, tx, AuditEntry{Action: action, Project: p.Project, Kind: "preview", Name: p.Name, ObjectID: p.ID, Detail: detail})
}

// auditTemplate writes what was done to a template.
func (s *Store) auditTemplate(ctx context.Context, tx execer, t *mayfly.Template, action string, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["version"] = t.Version
	return s.audit(ctx, tx, AuditEntry{Action: action, Project: t.Project, Kind: "template", Name: t.Project, ObjectID: t.ID, Detail: detail})
}

// auditDeletedTemplate writes that a template was deleted.
func (s *Store) auditDeletedTemplate(ctx context.Context, tx pgx.Tx, id string) error {
	t, err := scanTemplate(tx.QueryRow(ctx, `select `+templateColumns+` from template where id = $1`, id))
	if err != nil {
		return err
	}
	return s.auditTemplate(ctx, tx, t, "template.delete", nil)
}

// auditChange writes what a change of a preview comes to: one entry for each thing that somebody would call by a name. A change that
// changed nothing, as when a preview is merely looked at again, has none.
func (s *Store) auditChange(ctx context.Context, tx execer, before, after *mayfly.Preview) error {
	write := func(action string, detail map[string]any) error {
		return s.auditPreview(ctx, tx, after, action, detail)
	}
	if after.WantDeleted && !before.WantDeleted {
		return write("preview.delete", nil)
	}
	for _, change := range previewChanges(before, after) {
		if err := write(change.action, change.detail); err != nil {
			return err
		}
	}
	return nil
}

// createdDetail is what a log says of a new preview.
func createdDetail(p *mayfly.Preview) map[string]any {
	detail := map[string]any{"kind": p.Kind, "template": p.TemplateID}
	if p.ExpiresAt != nil {
		detail["expires_at"] = p.ExpiresAt.UTC()
	}
	if p.PR != nil {
		detail["pull_request"], detail["head_sha"] = p.PR.Number, p.PR.HeadSHA
	}
	return detail
}

type previewChange struct {
	action string
	detail map[string]any
}

func previewChanges(before, after *mayfly.Preview) []previewChange {
	var changes []previewChange
	add := func(changed bool, action string, detail map[string]any) {
		if changed {
			changes = append(changes, previewChange{action, detail})
		}
	}
	reset := after.Generation != before.Generation
	add(reset, "preview.reset", map[string]any{"generation": after.Generation, "template": after.TemplateID})
	add(!reset && string(after.PasswordSealed) != string(before.PasswordSealed), "credentials.rotate", nil)
	add(after.WantSuspended && !before.WantSuspended, "preview.suspend", nil)
	add(!after.WantSuspended && before.WantSuspended && !reset, "preview.wake", nil)
	add(!sameTime(before.ExpiresAt, after.ExpiresAt), "preview.extend", map[string]any{"expires_at": after.ExpiresAt})
	add(!sameTime(before.ProtectedUntil, after.ProtectedUntil) && after.ProtectedUntil != nil, "preview.protect",
		map[string]any{"until": after.ProtectedUntil, "reason": after.ProtectedReason})
	add(before.ProtectedUntil != nil && after.ProtectedUntil == nil, "preview.unprotect", nil)
	add(before.Keep != after.Keep, "preview.keep", map[string]any{"keep": after.Keep})
	add(!sameLabels(before.Labels, after.Labels), "preview.label", map[string]any{"labels": after.Labels})
	if before.PR != nil && after.PR != nil {
		add(before.PR.HeadSHA != after.PR.HeadSHA, "preview.follow", map[string]any{"from": before.PR.HeadSHA, "to": after.PR.HeadSHA})
	}
	return changes
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond)) // what Postgres keeps
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for key, value := range a {
		if other, ok := b[key]; !ok || other != value {
			return false
		}
	}
	return true
}

// AuditFilter selects entries. Zero fields select all.
type AuditFilter struct {
	// Projects, if not nil, bounds the projects whose entries are seen; entries about no project are seen without a bound only.
	Projects []string
	Project  string
	Actor    string
	Action   string // a whole one, or everything before its "." ("preview")
	Outcome  AuditOutcome
	Name     string // of the preview, or whatever it was done to
	ObjectID string
	TokenID  string
	Since    time.Time
	Until    time.Time
	// Before is the id of the last entry of the page before; Limit bounds the page (0 = 1000).
	Before int64
	Limit  int
}

// AuditLog returns entries, newest first.
func (s *Store) AuditLog(ctx context.Context, f AuditFilter) ([]AuditRecord, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 1000
	}
	rows, err := s.pool.Query(ctx, `
		select id, at, actor, token_id, address, action, outcome, project, kind, name, object_id, detail from audit
		where ($1::text[] is null or project = any ($1)) and ($2 = '' or project = $2) and ($3 = '' or actor = $3)
			and ($4 = '' or action = $4 or action like $4 || '.%') and ($5 = '' or outcome = $5) and ($6 = '' or name = $6)
			and ($7 = '' or object_id = $7) and ($8 = '' or token_id = $8)
			and ($9::timestamptz is null or at >= $9) and ($10::timestamptz is null or at < $10) and ($11 = 0::bigint or id < $11)
		order by id desc limit $12`,
		f.Projects, f.Project, f.Actor, f.Action, string(f.Outcome), f.Name, f.ObjectID, f.TokenID, nullTime(f.Since), nullTime(f.Until), f.Before, limit)
	if err != nil {
		return nil, failed(err, "read the audit log")
	}
	records, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (AuditRecord, error) {
		var r AuditRecord
		err := row.Scan(&r.ID, &r.At, &r.Actor.Subject, &r.Actor.TokenID, &r.Actor.Address, &r.Action, &r.Outcome, &r.Project, &r.Kind, &r.Name,
			&r.ObjectID, &r.Detail)
		return r, err
	})
	if err != nil {
		return nil, failed(err, "read the audit log")
	}
	return records, nil
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ForgetAudit removes the entries that are older than keep, which is at least MinAuditKept, and writes how many. 0 keeps all.
func (s *Store) ForgetAudit(ctx context.Context, now time.Time, keep time.Duration) (int64, error) {
	if keep == 0 {
		return 0, nil
	}
	keep = max(keep, MinAuditKept)
	var removed int64
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select set_config('mayfly.forget_audit', 'on', true)`); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `delete from audit where at < $1`, now.Add(-keep))
		if err != nil {
			return err
		}
		if removed = tag.RowsAffected(); removed == 0 {
			return nil
		}
		return s.audit(ctx, tx, AuditEntry{Action: "audit.forget", Kind: "audit", Detail: map[string]any{"entries": removed, "before": now.Add(-keep).UTC()}})
	})
	if err != nil {
		return 0, failed(err, "forget old entries of the audit log")
	}
	return removed, nil
}

// MinAuditKept is the shortest time that entries of the audit log are kept; the schema refuses to delete younger ones.
const MinAuditKept = 31 * 24 * time.Hour
