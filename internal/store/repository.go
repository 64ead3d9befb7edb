package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// RepositoryState says whether a repository can be worked with.
type RepositoryState string

// The states of a repository.
const (
	RepositoryActive      RepositoryState = "active"
	RepositoryArchived    RepositoryState = "archived"    // the forge says so; its pull requests cannot change
	RepositoryDeleted     RepositoryState = "deleted"     // the forge said so in an event
	RepositoryRemoved     RepositoryState = "removed"     // the App lost it, or was uninstalled: the forge said so in an event
	RepositorySuspended   RepositoryState = "suspended"   // the App's installation is suspended
	RepositoryUnreachable RepositoryState = "unreachable" // not found, and nobody said why
)

// Repository is what is known of a repository's state.
type Repository struct {
	ID       int64
	FullName string
	State    RepositoryState
	Since    time.Time
}

// Repository returns what is known of a repository: active, if nothing is.
func (s *Store) Repository(ctx context.Context, id int64) (Repository, error) {
	r := Repository{ID: id, State: RepositoryActive}
	err := s.pool.QueryRow(ctx, `select full_name, state, since from repository where id = $1`, id).Scan(&r.FullName, &r.State, &r.Since)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return r, failed(err, "read what is known of repository %d", id)
	}
	return r, nil
}

// Repositories returns all repositories that anything is known of.
func (s *Store) Repositories(ctx context.Context) ([]Repository, error) {
	rows, err := s.pool.Query(ctx, `select id, full_name, state, since from repository order by id`)
	if err != nil {
		return nil, failed(err, "list repositories")
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Repository])
	if err != nil {
		return nil, failed(err, "list repositories")
	}
	return all, nil
}

// SetRepository records the state of a repository, since at unless it had that state before. changed reports whether it had not.
func (s *Store) SetRepository(ctx context.Context, id int64, fullName string, state RepositoryState, at time.Time) (changed bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		var before RepositoryState
		err := tx.QueryRow(ctx, `select state from repository where id = $1 for update`, id).Scan(&before)
		if errors.Is(err, pgx.ErrNoRows) {
			before, err = RepositoryActive, nil
		}
		if err != nil {
			return err
		}
		changed = before != state
		_, err = tx.Exec(ctx, `
			insert into repository (id, full_name, state, since) values ($1, $2, $3, $4)
			on conflict (id) do update set full_name = coalesce(nullif(excluded.full_name, ''), repository.full_name), state = excluded.state,
				since = case when repository.state = excluded.state then repository.since else excluded.since end`, id, fullName, state, at)
		return err
	})
	if err != nil {
		return false, failed(err, "record repository %d as %s", id, state)
	}
	return changed, nil
}

// PinnedRepository returns the id that a configured "owner/name" had when it was first seen, or 0.
func (s *Store) PinnedRepository(ctx context.Context, configured string) (int64, error) {
	var id int64
	err := s.pool.QueryRow(ctx, `select repository_id from known_repository where configured = lower($1)`, configured).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, failed(err, "read which repository %s is", configured)
	}
	return id, nil
}

// PinRepository records the id of a configured repository, unless one is recorded, and returns the one that is.
func (s *Store) PinRepository(ctx context.Context, configured string, id int64) (int64, error) {
	_, err := s.pool.Exec(ctx, `insert into known_repository (configured, repository_id) values (lower($1), $2) on conflict do nothing`, configured, id)
	if err != nil {
		return 0, failed(err, "record which repository %s is", configured)
	}
	return s.PinnedRepository(ctx, configured)
}

// Branches returns the tips of a repository's branches, as they were last seen, by name.
func (s *Store) Branches(ctx context.Context, repositoryID int64) (map[string]string, error) {
	rows, err := s.pool.Query(ctx, `select name, sha from branch where repository_id = $1`, repositoryID)
	if err != nil {
		return nil, failed(err, "read the branches of repository %d", repositoryID)
	}
	tips := map[string]string{}
	var name, sha string
	if _, err := pgx.ForEachRow(rows, []any{&name, &sha}, func() error { tips[name] = sha; return nil }); err != nil {
		return nil, failed(err, "read the branches of repository %d", repositoryID)
	}
	return tips, nil
}

// SetBranch records the tip of a branch.
func (s *Store) SetBranch(ctx context.Context, repositoryID int64, name, sha string) error {
	_, err := s.pool.Exec(ctx, `
		insert into branch (repository_id, name, sha) values ($1, $2, $3)
		on conflict (repository_id, name) do update set sha = excluded.sha, seen_at = now()`, repositoryID, name, sha)
	if err != nil {
		return failed(err, "record a branch of repository %d", repositoryID)
	}
	return nil
}

// ForgetBranch removes what is known of a branch.
func (s *Store) ForgetBranch(ctx context.Context, repositoryID int64, name string) error {
	_, err := s.pool.Exec(ctx, `delete from branch where repository_id = $1 and name = $2`, repositoryID, name)
	if err != nil {
		return failed(err, "forget a branch of repository %d", repositoryID)
	}
	return nil
}

// RepositoryConfig returns a repository's own configuration at a commit; content is nil if it has none there. known is false if it
// was never read.
func (s *Store) RepositoryConfig(ctx context.Context, repositoryID int64, sha string) (content []byte, known bool, err error) {
	err = s.pool.QueryRow(ctx, `select content from repository_config where repository_id = $1 and sha = $2`, repositoryID, sha).Scan(&content)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, failed(err, "read the configuration of repository %d", repositoryID)
	}
	return content, true, nil
}

// SetRepositoryConfig records a repository's own configuration at a commit, nil for none, and forgets those that no live preview needs
// and that were read before a time.
func (s *Store) SetRepositoryConfig(ctx context.Context, repositoryID int64, sha string, content []byte, forget time.Time) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `insert into repository_config (repository_id, sha, content) values ($1, $2, $3) on conflict do nothing`, repositoryID, sha, content)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			delete from repository_config c where repository_id = $1 and sha <> $2 and read_at < $3
				and not exists (select from preview p where p.repository_id = c.repository_id and p.base_sha = c.sha and p.state <> 'deleted')`,
			repositoryID, sha, forget)
		return err
	})
	if err != nil {
		return failed(err, "record the configuration of repository %d", repositoryID)
	}
	return nil
}

// MissedDelivery is one that the forge's log lists without a success.
type MissedDelivery struct {
	GUID       string
	Hook       string
	DeliveryID int64
	Event      string
	Attempts   int
}

// AddMissedDelivery records a delivery as missed unless it is in the inbox or recorded already.
func (s *Store) AddMissedDelivery(ctx context.Context, m MissedDelivery, next time.Time) error {
	_, err := s.pool.Exec(ctx, `
		insert into missed_delivery (guid, hook, delivery_id, event, next_at)
		select $1, $2, $3, $4, $5 where not exists (select from delivery where id = $1) on conflict (guid) do nothing`,
		m.GUID, m.Hook, m.DeliveryID, m.Event, next)
	if err != nil {
		return failed(err, "record a missed delivery")
	}
	return nil
}

// DueMissedDeliveries returns the missed deliveries of a hook that it is time to ask for again. Those that came meanwhile are forgotten.
func (s *Store) DueMissedDeliveries(ctx context.Context, hook string, now time.Time, limit int) ([]MissedDelivery, error) {
	if _, err := s.pool.Exec(ctx, `delete from missed_delivery m where exists (select from delivery d where d.id = m.guid)`); err != nil {
		return nil, failed(err, "forget deliveries that came")
	}
	rows, err := s.pool.Query(ctx, `
		select guid, hook, delivery_id, event, attempts from missed_delivery
		where hook = $1 and not given_up and next_at <= $2 order by next_at limit $3`, hook, now, limit)
	if err != nil {
		return nil, failed(err, "list missed deliveries")
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[MissedDelivery])
	if err != nil {
		return nil, failed(err, "list missed deliveries")
	}
	return all, nil
}

// AttemptedMissedDelivery records that a missed delivery was asked for again.
func (s *Store) AttemptedMissedDelivery(ctx context.Context, guid string, next time.Time, giveUp bool) error {
	_, err := s.pool.Exec(ctx, `update missed_delivery set attempts = attempts + 1, next_at = $2, given_up = $3 where guid = $1`, guid, next, giveUp)
	if err != nil {
		return failed(err, "record a redelivery")
	}
	return nil
}

// PurgeMissedDeliveries forgets the missed deliveries seen before a time.
func (s *Store) PurgeMissedDeliveries(ctx context.Context, before time.Time) error {
	if _, err := s.pool.Exec(ctx, `delete from missed_delivery where seen_at < $1`, before); err != nil {
		return failed(err, "purge missed deliveries")
	}
	return nil
}

// Remember stores a small value under a name, for what is known once per installation.
func (s *Store) Remember(ctx context.Context, name, value string) error {
	_, err := s.pool.Exec(ctx, `insert into setting (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value`, "known."+name, value)
	if err != nil {
		return failed(err, "remember %s", name)
	}
	return nil
}

// Recall returns what Remember stored, "" if nothing was.
func (s *Store) Recall(ctx context.Context, name string) (string, error) {
	var value string
	err := s.pool.QueryRow(ctx, `select value from setting where key = $1`, "known."+name).Scan(&value)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", failed(err, "recall %s", name)
	}
	return value, nil
}
