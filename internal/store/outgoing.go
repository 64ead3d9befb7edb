package store

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// The kinds of event that receivers outside are told of.
const (
	EventReady   = "preview.ready"   // it can be used, for the first time or after it had failed
	EventChanged = "preview.changed" // it was ready and is ready again, with another commit, another password, or made anew
	EventFailed  = "preview.failed"
	EventDeleted = "preview.deleted"
)

// EventKinds lists the kinds of event.
func EventKinds() []string { return []string{EventReady, EventChanged, EventFailed, EventDeleted} }

// outgoingLife is how long a delivery is tried.
const outgoingLife = 24 * time.Hour

// SetOutgoing says which receivers are told of an event of a project, by their names. It is called before the store is used; without it nothing
// is recorded.
func (s *Store) SetOutgoing(targets func(project, kind string) []string) { s.outgoing = targets }

// recordOutgoing stores what the observed change of a preview means to receivers, with their jobs.
func (s *Store) recordOutgoing(ctx context.Context, tx pgx.Tx, p *mayfly.Preview) error {
	if s.outgoing == nil {
		return nil
	}
	var kind string
	switch p.State {
	case mayfly.PreviewReady:
		kind = EventReady
	case mayfly.PreviewFailed:
		kind = EventFailed
	case mayfly.PreviewDeleted:
		kind = EventDeleted
	default:
		return nil
	}
	var last, lastFingerprint string
	err := tx.QueryRow(ctx, `select kind, fingerprint from outgoing_event where preview_id = $1 order by id desc limit 1`, p.ID).Scan(&last, &lastFingerprint)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	fingerprint := fingerprintOf(p)
	if kind == EventReady && (last == EventReady || last == EventChanged) {
		kind = EventChanged
	}
	if fingerprint == lastFingerprint {
		return nil // woken, or looked at again
	}
	targets := s.outgoing(p.Project, kind)
	if len(targets) == 0 && last == "" {
		return nil
	}
	return s.insertOutgoing(ctx, tx, p, kind, fingerprint, targets)
}

// fingerprintOf is what makes a difference to who uses a preview.
func fingerprintOf(p *mayfly.Preview) string {
	parts := []string{string(p.State), strconv.FormatInt(p.ObservedGeneration, 10), p.ObservedSHA, strconv.FormatInt(p.ObservedPassword, 10)}
	if p.Failure != nil {
		parts = append(parts, string(p.Failure.Code))
	}
	return strings.Join(parts, " ")
}

func (s *Store) insertOutgoing(ctx context.Context, tx pgx.Tx, p *mayfly.Preview, kind, fingerprint string, targets []string) error {
	id := mayfly.NewID("e")
	var event int64
	err := tx.QueryRow(ctx, `
		insert into outgoing_event (event_id, kind, preview_id, project, fingerprint, payload) values ($1, $2, $3, $4, $5, $6) returning id`,
		id, kind, p.ID, p.Project, fingerprint, payloadOf(p)).Scan(&event)
	if err != nil {
		return err
	}
	for _, target := range targets {
		_, err := tx.Exec(ctx, `
			insert into outgoing_delivery (id, event, target, preview_id, give_up_at) values ($1, $2, $3, $4, now() + $5)`,
			mayfly.NewID("w"), event, target, p.ID, outgoingLife)
		if err != nil {
			return err
		}
		if err := s.jobs.Outgoing(ctx, tx, p.ID, target); err != nil {
			return err
		}
	}
	return nil
}

// payloadOf is what receivers are told: no credential, no text of a stranger but names, and of a failure its code alone, because its message
// can have a value of a row in it.
func payloadOf(p *mayfly.Preview) map[string]any {
	out := map[string]any{
		"id": p.ID, "name": p.Name, "project": p.Project, "kind": p.Kind, "state": p.State, "generation": p.ObservedGeneration,
		"template": p.TemplateID, "created_at": p.CreatedAt.UTC(),
	}
	if p.ExpiresAt != nil {
		out["expires_at"] = p.ExpiresAt.UTC()
	}
	if p.Failure != nil {
		out["failure"] = map[string]any{"code": p.Failure.Code}
	}
	if p.PR != nil {
		out["pull_request"] = map[string]any{
			"repository_id": p.PR.RepositoryID, "repository": p.PR.Repository, "number": p.PR.Number, "head_sha": p.PR.HeadSHA,
			"applied_sha": p.ObservedSHA, "head_ref": p.PR.HeadRef, "base_ref": p.PR.BaseRef, "fork": p.PR.Fork,
		}
	}
	return out
}

// OutgoingDelivery is an event for a receiver.
type OutgoingDelivery struct {
	ID        string
	EventID   string
	Target    string
	Kind      string
	PreviewID string
	Project   string
	State     string // waiting, delivered, failed
	Attempts  int
	NextAt    time.Time
	GiveUpAt  time.Time
	Status    int
	Error     string
	CreatedAt time.Time
	DoneAt    *time.Time
	Payload   json.RawMessage
}

const outgoingColumns = `d.id, e.event_id, d.target, e.kind, d.preview_id, e.project, d.state, d.attempts, d.next_at, d.give_up_at, d.status, d.error,
	e.created_at, d.done_at, e.payload`

func scanOutgoing(row pgx.Row) (*OutgoingDelivery, error) {
	var d OutgoingDelivery
	err := row.Scan(&d.ID, &d.EventID, &d.Target, &d.Kind, &d.PreviewID, &d.Project, &d.State, &d.Attempts, &d.NextAt, &d.GiveUpAt, &d.Status, &d.Error,
		&d.CreatedAt, &d.DoneAt, &d.Payload)
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// ClaimOutgoing takes the oldest waiting delivery of a preview for a receiver, if it is due, for as long as lease: the others come after it.
// nil if there is none now; then wait says when to look again, 0 for never.
func (s *Store) ClaimOutgoing(ctx context.Context, previewID, target string, lease time.Duration) (d *OutgoingDelivery, wait time.Duration, err error) {
	d, err = scanOutgoing(s.pool.QueryRow(ctx, `
		with first as (
			select id from outgoing_delivery where preview_id = $1 and target = $2 and state = 'waiting' order by event limit 1 for update
		), taken as (
			update outgoing_delivery set attempts = attempts + 1, leased_until = clock_timestamp() + $3
			where id in (select id from first) and next_at <= clock_timestamp() and coalesce(leased_until <= clock_timestamp(), true)
			returning *
		)
		select `+outgoingColumns+` from taken d join outgoing_event e on e.id = d.event`, previewID, target, lease))
	if err == nil {
		return d, 0, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return nil, 0, failed(err, "take a delivery for %s", target)
	}
	var seconds *float64
	err = s.pool.QueryRow(ctx, `
		select extract(epoch from greatest(next_at, leased_until) - clock_timestamp())::float8 from outgoing_delivery
		where preview_id = $1 and target = $2 and state = 'waiting' order by event limit 1`, previewID, target).Scan(&seconds)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, failed(err, "look for deliveries for %s", target)
	}
	const least = 20 * time.Millisecond
	if seconds == nil || *seconds <= 0 {
		return nil, least, nil
	}
	return nil, max(time.Duration(*seconds*float64(time.Second)), least), nil
}

// FinishOutgoing records how an attempt ended: State, Status, Error and, of one that waits again, NextAt. A delivery that somebody else has
// taken since, after the lease had ended, is theirs.
func (s *Store) FinishOutgoing(ctx context.Context, d *OutgoingDelivery) error {
	_, err := s.pool.Exec(ctx, `
		update outgoing_delivery set state = $3, status = $4, error = $5, next_at = $6, leased_until = null,
			done_at = case when $3 = 'waiting' then null else clock_timestamp() end
		where id = $1 and attempts = $2 and state = 'waiting'`, d.ID, d.Attempts, d.State, d.Status, d.Error, d.NextAt)
	if err != nil {
		return failed(err, "record delivery %s", d.ID)
	}
	return nil
}

// OutgoingFilter selects deliveries; zero fields select all.
type OutgoingFilter struct {
	Target, State, PreviewID string
	// Before is the id of the last delivery of the page before; Limit bounds the page (0 = 100).
	Before string
	Limit  int
}

// OutgoingDeliveries returns deliveries, newest first.
func (s *Store) OutgoingDeliveries(ctx context.Context, f OutgoingFilter) ([]*OutgoingDelivery, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	rows, err := s.pool.Query(ctx, `
		select `+outgoingColumns+` from outgoing_delivery d join outgoing_event e on e.id = d.event
		where ($1 = '' or d.target = $1) and ($2 = '' or d.state = $2) and ($3 = '' or d.preview_id = $3)
			and ($4 = '' or (d.event, d.id) < (select event, id from outgoing_delivery where id = $4))
		order by d.event desc, d.id desc limit $5`, f.Target, f.State, f.PreviewID, f.Before, f.Limit)
	if err != nil {
		return nil, failed(err, "list deliveries")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*OutgoingDelivery, error) { return scanOutgoing(row) })
	if err != nil {
		return nil, failed(err, "list deliveries")
	}
	return list, nil
}

// RedeliverOutgoing makes a delivery that has ended wait again, for another day. CodeNotFound if there is none, CodeConflict if it waits anyway.
func (s *Store) RedeliverOutgoing(ctx context.Context, id string) (*OutgoingDelivery, error) {
	var d *OutgoingDelivery
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		var err error
		d, err = scanOutgoing(tx.QueryRow(ctx, `
			select `+outgoingColumns+` from outgoing_delivery d join outgoing_event e on e.id = d.event where d.id = $1 for update of d`, id))
		if errors.Is(err, pgx.ErrNoRows) {
			return mayfly.Errorf(mayfly.CodeNotFound, "there is no delivery %s", id)
		}
		if err != nil {
			return err
		}
		if d.State == "waiting" {
			return mayfly.Errorf(mayfly.CodeConflict, "delivery %s is still being tried", id)
		}
		_, err = tx.Exec(ctx, `
			update outgoing_delivery set state = 'waiting', next_at = now(), give_up_at = now() + $2, leased_until = null, done_at = null where id = $1`, id, outgoingLife)
		if err != nil {
			return err
		}
		d.State, d.DoneAt = "waiting", nil
		if err := s.audit(ctx, tx, AuditEntry{Action: "hook.redeliver", Project: d.Project, Kind: "hook", Name: d.Target, ObjectID: id}); err != nil {
			return err
		}
		return s.jobs.Outgoing(ctx, tx, d.PreviewID, d.Target)
	})
	if err != nil {
		return nil, failed(err, "deliver %s again", id)
	}
	return d, nil
}

// RequeueOutgoing asks again for the deliveries that are due and that nobody is at, as after a process was killed.
func (s *Store) RequeueOutgoing(ctx context.Context) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			select distinct preview_id, target from outgoing_delivery
			where state = 'waiting' and greatest(next_at, leased_until) < now() - interval '1 minute' limit 1000`)
		if err != nil {
			return err
		}
		type pair struct{ PreviewID, Target string }
		pairs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair])
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if err := s.jobs.Outgoing(ctx, tx, p.PreviewID, p.Target); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failed(err, "ask again for deliveries")
	}
	return nil
}

// PurgeOutgoing forgets events from before a time, but for the last one of each preview that still exists, and what is waiting.
func (s *Store) PurgeOutgoing(ctx context.Context, before time.Time) error {
	_, err := s.pool.Exec(ctx, `
		delete from outgoing_event e where created_at < $1
			and not exists (select from outgoing_delivery d where d.event = e.id and d.state = 'waiting')
			and (exists (select from outgoing_event later where later.preview_id = e.preview_id and later.id > e.id)
				or not exists (select from preview where preview.id = e.preview_id and preview.state <> 'deleted'))`, before)
	if err != nil {
		return failed(err, "purge deliveries of webhooks")
	}
	return nil
}

// OutgoingKept returns what SetOutgoingKept stored; nil if nothing was.
func (s *Store) OutgoingKept(ctx context.Context, previewID, target string) (map[string]string, error) {
	var kept map[string]string
	err := s.pool.QueryRow(ctx, `select kept from outgoing_kept where preview_id = $1 and target = $2`, previewID, target).Scan(&kept)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, failed(err, "read what %s has", target)
	}
	return kept, nil
}

// SetOutgoingKept stores what a receiver has of a preview; nil forgets it.
func (s *Store) SetOutgoingKept(ctx context.Context, previewID, target string, kept map[string]string) error {
	query, args := `delete from outgoing_kept where preview_id = $1 and target = $2`, []any{previewID, target}
	if kept != nil {
		query = `insert into outgoing_kept (preview_id, target, kept) values ($1, $2, $3) on conflict (preview_id, target) do update set kept = excluded.kept`
		args = append(args, kept)
	}
	if _, err := s.pool.Exec(ctx, query, args...); err != nil {
		return failed(err, "record what %s has", target)
	}
	return nil
}
