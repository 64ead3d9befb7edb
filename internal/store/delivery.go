package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// DeliveryState says what became of a delivery.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryReceived DeliveryState = "received" // stored, not looked at yet
	DeliveryDone     DeliveryState = "done"     // led to something
	DeliveryIgnored  DeliveryState = "ignored"  // Note says why nothing was done
)

// Delivery is one webhook delivery in the inbox.
type Delivery struct {
	ID             string // X-GitHub-Delivery; unique
	Event          string
	Action         string
	RepositoryID   int64
	Repository     string
	Number         int
	InstallationID int64
	Payload        []byte
	State          DeliveryState
	Note           string
	ReceivedAt     time.Time
}

// AcceptDelivery stores a delivery and the job that looks at it, in one transaction. fresh is false, and nothing is
// stored, for one whose id is known.
func (s *Store) AcceptDelivery(ctx context.Context, d Delivery) (fresh bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			insert into delivery (id, event, action, repository_id, repository, number, installation_id, payload)
			values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing`,
			d.ID, d.Event, d.Action, d.RepositoryID, d.Repository, d.Number, d.InstallationID, d.Payload)
		if err != nil {
			return err
		}
		if fresh = tag.RowsAffected() == 1; !fresh {
			return nil
		}
		return s.jobs.Delivery(ctx, tx, d.ID)
	})
	if err != nil {
		return false, failed(err, "store delivery %q", d.ID)
	}
	return fresh, nil
}

// Delivery returns a delivery by its id. CodeNotFound if there is none.
func (s *Store) Delivery(ctx context.Context, id string) (*Delivery, error) {
	var d Delivery
	err := s.pool.QueryRow(ctx, `
		select id, event, action, repository_id, repository, number, installation_id, payload, state, note, received_at
		from delivery where id = $1`, id).
		Scan(&d.ID, &d.Event, &d.Action, &d.RepositoryID, &d.Repository, &d.Number, &d.InstallationID, &d.Payload, &d.State, &d.Note, &d.ReceivedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no delivery %q", id)
	}
	if err != nil {
		return nil, failed(err, "read delivery %q", id)
	}
	return &d, nil
}

// FinishDelivery records what became of a delivery and asks for the pull requests of its repository to be looked at that have these
// numbers, in one transaction.
func (s *Store) FinishDelivery(ctx context.Context, id string, state DeliveryState, note string, repositoryID int64, numbers []int) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update delivery set state = $2, note = $3, done_at = now() where id = $1`, id, state, note); err != nil {
			return err
		}
		for _, number := range numbers {
			if err := s.jobs.PullRequest(ctx, tx, repositoryID, number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failed(err, "finish delivery %q", id)
	}
	return nil
}

// PurgeDeliveries removes the deliveries received before a time and returns how many there were.
func (s *Store) PurgeDeliveries(ctx context.Context, before time.Time) (int64, error) {
	tag, err := s.pool.Exec(ctx, `delete from delivery where received_at < $1 and state <> 'received'`, before)
	if err != nil {
		return 0, failed(err, "purge deliveries")
	}
	return tag.RowsAffected(), nil
}

// RequestPullRequest asks for a pull request to be read from the forge and acted upon.
func (s *Store) RequestPullRequest(ctx context.Context, repositoryID int64, number int) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error { return s.jobs.PullRequest(ctx, tx, repositoryID, number) })
	if err != nil {
		return failed(err, "ask for pull request %d of repository %d", number, repositoryID)
	}
	return nil
}

// RequeueDeliveries asks for every delivery that nobody has looked at since a time before to be looked at again.
func (s *Store) RequeueDeliveries(ctx context.Context, before time.Time) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select id from delivery where state = 'received' and received_at < $1 order by received_at limit 1000`, before)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.jobs.Delivery(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failed(err, "requeue deliveries")
	}
	return nil
}
