package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// PullRequestKey names a pull request in a project.
type PullRequestKey struct {
	Project      string
	RepositoryID int64
	Number       int
}

// Command is what somebody asked for in a comment, and what became of it.
type Command struct {
	CommentID int64     `json:"comment_id"`
	By        string    `json:"by"`
	Text      string    `json:"text"`
	Answer    string    `json:"answer"`
	Failed    bool      `json:"failed,omitempty"`
	At        time.Time `json:"at"`
}

// KnownPullRequest is what is known of a pull request besides what the forge says.
type KnownPullRequest struct {
	PullRequestKey

	// HeadSHA is the head that was seen last, and HeadSeenAt since when.
	HeadSHA    string
	HeadSeenAt time.Time
	// ApprovedSHA is the commit that somebody with write access approved, "" if none.
	ApprovedSHA, ApprovedBy string
	// DismissedSHA is the head for which no preview is made again, "" if none.
	DismissedSHA string
	DismissedAt  *time.Time
	Keep         bool
	LastCommand  *Command
	// Wanted is whether it was to have a preview when it was decided last, and Decided a fingerprint of what that was decided by.
	Wanted  bool
	Decided string
}

const knownColumns = `project, repository_id, number, head_sha, coalesce(head_seen_at, 'epoch'), approved_sha, approved_by, dismissed_sha, dismissed_at, keep, last_command, wanted, decided`

func scanKnown(row pgx.CollectableRow) (*KnownPullRequest, error) {
	var k KnownPullRequest
	err := row.Scan(&k.Project, &k.RepositoryID, &k.Number, &k.HeadSHA, &k.HeadSeenAt, &k.ApprovedSHA, &k.ApprovedBy, &k.DismissedSHA, &k.DismissedAt,
		&k.Keep, &k.LastCommand, &k.Wanted, &k.Decided)
	return &k, err
}

// KnownPullRequests returns what is known of all pull requests of a repository in a project, by number.
func (s *Store) KnownPullRequests(ctx context.Context, project string, repositoryID int64) (map[int]*KnownPullRequest, error) {
	rows, err := s.pool.Query(ctx, `select `+knownColumns+` from pull_request where project = $1 and repository_id = $2`, project, repositoryID)
	if err != nil {
		return nil, failed(err, "list what is known of the pull requests of %s", project)
	}
	all, err := pgx.CollectRows(rows, scanKnown)
	if err != nil {
		return nil, failed(err, "list what is known of the pull requests of %s", project)
	}
	byNumber := make(map[int]*KnownPullRequest, len(all))
	for _, k := range all {
		byNumber[k.Number] = k
	}
	return byNumber, nil
}

// Decided records what was decided about a pull request, and by what.
func (s *Store) Decided(ctx context.Context, key PullRequestKey, wanted bool, fingerprint string) error {
	return s.changePullRequest(ctx, key, `wanted = $4, decided = $5`, wanted, fingerprint)
}

// KnownPullRequest returns what is known of a pull request, with zero values in it if it was never looked at.
func (s *Store) KnownPullRequest(ctx context.Context, key PullRequestKey) (*KnownPullRequest, error) {
	rows, err := s.pool.Query(ctx, `select `+knownColumns+` from pull_request where project = $1 and repository_id = $2 and number = $3`,
		key.Project, key.RepositoryID, key.Number)
	if err != nil {
		return nil, failed(err, "read what is known of %s#%d", key.Project, key.Number)
	}
	k, err := pgx.CollectOneRow(rows, scanKnown)
	if errors.Is(err, pgx.ErrNoRows) {
		return &KnownPullRequest{PullRequestKey: key}, nil
	}
	if err != nil {
		return nil, failed(err, "read what is known of %s#%d", key.Project, key.Number)
	}
	return k, nil
}

// changePullRequest sets columns of a pull request's row, which is made if there is none.
func (s *Store) changePullRequest(ctx context.Context, key PullRequestKey, set string, args ...any) error {
	return s.changePullRequestAnd(ctx, nil, key, set, args...)
}

// changePullRequestAnd is changePullRequest with an entry of the audit log; nil for none.
func (s *Store) changePullRequestAnd(ctx context.Context, entry *AuditEntry, key PullRequestKey, set string, args ...any) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `insert into pull_request (project, repository_id, number) values ($1, $2, $3) on conflict do nothing`,
			key.Project, key.RepositoryID, key.Number)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `update pull_request set updated_at = now(), `+set+` where project = $1 and repository_id = $2 and number = $3`,
			append([]any{key.Project, key.RepositoryID, key.Number}, args...)...)
		if err != nil || entry == nil {
			return err
		}
		return s.audit(ctx, tx, *entry)
	})
	if err != nil {
		return failed(err, "record what is known of %s#%d", key.Project, key.Number)
	}
	return nil
}

// SeeHead records which head a pull request has, and since when.
func (s *Store) SeeHead(ctx context.Context, key PullRequestKey, sha string, at time.Time) error {
	return s.changePullRequest(ctx, key, `head_sha = $4, head_seen_at = $5`, sha, at)
}

// Approve records that somebody approved a commit of a fork.
func (s *Store) Approve(ctx context.Context, key PullRequestKey, sha, by string, at time.Time) error {
	entry := AuditEntry{
		Action: "fork.approve", Project: key.Project, Kind: "pull_request", Name: mayfly.PullRequestName(key.Project, key.Number),
		Detail: map[string]any{"head_sha": sha, "by": by},
	}
	return s.changePullRequestAnd(ctx, &entry, key, `approved_sha = $4, approved_by = $5, approved_at = $6`, sha, by, at)
}

// Dismiss records that no preview is to be made again for a head.
func (s *Store) Dismiss(ctx context.Context, key PullRequestKey, sha string, at time.Time) error {
	return s.changePullRequest(ctx, key, `dismissed_sha = $4, dismissed_at = $5`, sha, at)
}

// Undismiss takes Dismiss back, if it was done before a time.
func (s *Store) Undismiss(ctx context.Context, key PullRequestKey, before time.Time) error {
	return s.changePullRequest(ctx, key, `
		dismissed_sha = case when dismissed_at <= $4 then '' else dismissed_sha end,
		dismissed_at = case when dismissed_at <= $4 then null else dismissed_at end`, before)
}

// KeepPullRequest records that a pull request's preview is not removed because its time is up.
func (s *Store) KeepPullRequest(ctx context.Context, key PullRequestKey) error {
	return s.changePullRequest(ctx, key, `keep = true`)
}

// SetLastCommand records the command that was answered last.
func (s *Store) SetLastCommand(ctx context.Context, key PullRequestKey, c Command) error {
	encoded, err := json.Marshal(c)
	if err != nil {
		return failed(err, "encode a command")
	}
	return s.changePullRequest(ctx, key, `last_command = $4`, string(encoded))
}

// RequestPublish asks for the forge to be told about a preview now.
func (s *Store) RequestPublish(ctx context.Context, previewID string) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error { return s.jobs.Publish(ctx, tx, previewID, true) })
	if err != nil {
		return failed(err, "ask for preview %s to be published", previewID)
	}
	return nil
}

// BeginCommand records that a command is being carried out, with what the one who does it wants to remember. fresh is false if it was
// begun before, finished is true if it was carried out; began is what was remembered at the first time.
func (s *Store) BeginCommand(ctx context.Context, repositoryID, commentID int64, remember json.RawMessage) (began json.RawMessage, fresh, finished bool, err error) {
	var raw []byte
	err = s.pool.QueryRow(ctx, `
		insert into comment_command (repository_id, comment_id, began) values ($1, $2, $3)
		on conflict (repository_id, comment_id) do update set repository_id = excluded.repository_id
		returning began, xmax = 0, done`, repositoryID, commentID, string(remember)).Scan(&raw, &fresh, &finished)
	if err != nil {
		return nil, false, false, failed(err, "begin the command of comment %d", commentID)
	}
	return raw, fresh, finished, nil
}

// FinishCommand records that a command was carried out.
func (s *Store) FinishCommand(ctx context.Context, repositoryID, commentID int64) error {
	_, err := s.pool.Exec(ctx, `update comment_command set done = true where repository_id = $1 and comment_id = $2`, repositoryID, commentID)
	if err != nil {
		return failed(err, "finish the command of comment %d", commentID)
	}
	return nil
}

// PreviewsAt returns the live previews of a repository's pull requests whose head is a commit.
func (s *Store) PreviewsAt(ctx context.Context, repositoryID int64, sha string) ([]*mayfly.Preview, error) {
	rows, err := s.pool.Query(ctx, `select `+previewColumns+` from preview where repository_id = $1 and head_sha = $2 and state <> 'deleted'`, repositoryID, sha)
	if err != nil {
		return nil, failed(err, "find previews at %.7s", sha)
	}
	previews, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Preview, error) { return scanPreview(row) })
	if err != nil {
		return nil, failed(err, "find previews at %.7s", sha)
	}
	return previews, nil
}

// PullRequestsAt returns the numbers of the pull requests of a repository that were last seen with a head.
func (s *Store) PullRequestsAt(ctx context.Context, repositoryID int64, sha string) ([]int, error) {
	rows, err := s.pool.Query(ctx, `select distinct number from pull_request where repository_id = $1 and head_sha = $2`, repositoryID, sha)
	if err != nil {
		return nil, failed(err, "find pull requests at %.7s", sha)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return nil, failed(err, "find pull requests at %.7s", sha)
	}
	return numbers, nil
}

// RequestReconcile asks for every live preview of a pull request to be looked at.
func (s *Store) RequestReconcile(ctx context.Context) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select distinct repository_id, number from preview where state <> 'deleted' and repository_id is not null`)
		if err != nil {
			return err
		}
		type key struct {
			RepositoryID int64
			Number       int
		}
		keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[key])
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := s.jobs.PullRequest(ctx, tx, k.RepositoryID, k.Number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failed(err, "ask for all pull requests to be looked at")
	}
	return nil
}

// LastPreview returns the id of the newest preview that a pull request has or had, "" if none.
func (s *Store) LastPreview(ctx context.Context, key PullRequestKey) (string, error) {
	var id string
	err := s.pool.QueryRow(ctx, `
		select id from preview where project = $1 and repository_id = $2 and number = $3 order by created_at desc, id limit 1`,
		key.Project, key.RepositoryID, key.Number).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", failed(err, "look for the last preview of %s#%d", key.Project, key.Number)
	}
	return id, nil
}
