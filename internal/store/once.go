package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// OnceKept is how long it is known which requests were made under a key.
const OnceKept = 24 * time.Hour

// Once names a request that is done once, however often it is made: a key that whoever makes it chose, and a digest of what is asked for.
type Once struct {
	Subject string
	Key     string
	Digest  []byte
}

// DoneError says that a request was made before, and what it made or changed.
type DoneError struct{ Resource string }

// Error implements error.
func (e *DoneError) Error() string { return "this request was made before" }

// claim stores, as part of the transaction that does it, that the request is done and what it makes or changes. A *DoneError if it was
// done before, CodeIdempotency if another one was done under its key. It waits for a transaction that is doing the same.
func (o *Once) claim(ctx context.Context, tx pgx.Tx, resource string) error {
	if o == nil {
		return nil
	}
	tag, err := tx.Exec(ctx, `
		insert into idempotency (subject, key, digest, resource) values ($1, $2, $3, $4)
		on conflict (subject, key) do update set digest = excluded.digest, resource = excluded.resource, created_at = excluded.created_at
		where idempotency.created_at < now() - $5::interval`, o.Subject, o.Key, o.Digest, resource, OnceKept)
	if err != nil || tag.RowsAffected() == 1 {
		return err
	}
	return o.done(ctx, tx)
}

// done returns a *DoneError if the request was done, nil if not, CodeIdempotency if another one was done under its key.
func (o *Once) done(ctx context.Context, from execer) error {
	var digest []byte
	var resource string
	err := from.QueryRow(ctx, `
		select digest, resource from idempotency where subject = $1 and key = $2 and created_at >= now() - $3::interval`, o.Subject, o.Key, OnceKept).
		Scan(&digest, &resource)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	case subtle.ConstantTimeCompare(digest, o.Digest) == 0:
		return mayfly.Errorf(mayfly.CodeIdempotency, "the Idempotency-Key was used for another request").
			WithHint("a key names one request with one body, for 24 hours: use a new key for a new request")
	}
	return &DoneError{Resource: resource}
}

// Done returns what the request made or changed if it was made before, "" if not. CodeIdempotency if another one was made under its
// key. once may be nil.
func (s *Store) Done(ctx context.Context, once *Once) (resource string, err error) {
	if once == nil {
		return "", nil
	}
	err = once.done(ctx, s.pool)
	var before *DoneError
	if errors.As(err, &before) {
		return before.Resource, nil
	}
	if err != nil {
		return "", failed(err, "look for an earlier request")
	}
	return "", nil
}

// Undo forgets that the request was done: what it had made was removed again. once may be nil.
func (s *Store) Undo(ctx context.Context, once *Once) error {
	if once == nil {
		return nil
	}
	_, err := s.pool.Exec(ctx, `delete from idempotency where subject = $1 and key = $2 and digest = $3`, once.Subject, once.Key, once.Digest)
	if err != nil {
		return failed(err, "forget a request")
	}
	return nil
}

// PurgeOnce forgets the requests of more than a day ago.
func (s *Store) PurgeOnce(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, `delete from idempotency where created_at < now() - $1::interval`, OnceKept); err != nil {
		return failed(err, "forget old requests")
	}
	return nil
}
