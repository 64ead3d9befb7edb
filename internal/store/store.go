package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
)

// Enqueuer puts jobs into the queue as part of a transaction of the store. internal/jobs implements it with River.
type Enqueuer interface {
	// Converge asks for a preview to be brought to what should be.
	Converge(ctx context.Context, tx pgx.Tx, previewID string) error
	// PullRequest asks for a pull request to be read from the forge and acted upon.
	PullRequest(ctx context.Context, tx pgx.Tx, repositoryID int64, number int) error
	// Publish asks for the forge to be told about a preview: now if it is settled, else soon, so that a preview that is made in less
	// than that is told about once.
	Publish(ctx context.Context, tx pgx.Tx, previewID string, settled bool) error
	// Delivery asks for a stored delivery to be looked at.
	Delivery(ctx context.Context, tx pgx.Tx, deliveryID string) error
	// BuildTemplate asks for a template in state building to be built.
	BuildTemplate(ctx context.Context, tx pgx.Tx, templateID string) error
	// Outgoing asks for what waits for a receiver about a preview to be sent.
	Outgoing(ctx context.Context, tx pgx.Tx, previewID, target string) error
}

// Store is the state database. Its methods may be called concurrently and from several processes.
type Store struct {
	pool   *pgxpool.Pool
	jobs   Enqueuer
	logger *slog.Logger
	limits func(project string) Limits // nil: there are none (SetLimits)

	outgoing func(project, kind string) []string // nil: nobody is told (SetOutgoing)
}

// New makes a store on a pool whose connections have the store's schema first in their search_path.
func New(pool *pgxpool.Pool, jobs Enqueuer, logger *slog.Logger) *Store {
	return &Store{pool: pool, jobs: jobs, logger: logger}
}

// DefaultSchema is the schema of the store's tables.
const DefaultSchema = "mayfly"

// Connect opens a pool on the state database. schema is created if it does not exist and put first in the search_path of every
// connection; "" means DefaultSchema. config.MaxConns bounds the connections: preview locks hold one each.
func Connect(ctx context.Context, config *pgxpool.Config, schema string) (*pgxpool.Pool, error) {
	if schema == "" {
		schema = DefaultSchema
	}
	config = config.Copy()
	config.ConnConfig.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	config.ConnConfig.RuntimeParams["application_name"] = "mayfly"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the state database: %w", err)
	}
	if err := createSchema(ctx, pool, schema); err != nil {
		pool.Close()
		return nil, unavailable(err)
	}
	return pool, nil
}

// createSchema tolerates another process that creates the same schema at the same moment, which Postgres answers with
// a unique violation in pg_namespace even for IF NOT EXISTS.
func createSchema(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	_, err := pool.Exec(ctx, "create schema if not exists "+pgx.Identifier{schema}.Sanitize())
	if isCode(err, "23505") || isCode(err, "42P06") {
		return nil
	}
	return err
}

// Ping reports whether the state database answers: nil, or an *mayfly.Error with CodeStateUnavailable.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Pool returns the underlying pool, for the job queue.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Claim makes this state database belong to the installation with that id, or fails with CodeConflict if it belongs to
// another: everything that the other one made would look like garbage to this one.
//
// The database has a random id of its own from its first claim on. Before anything is committed, accept is called with that id
// and with whether this is the first claim; if it fails, so does Claim, and the database is as before: one that was refused
// is not taken for an old acquaintance at the next start. accept may be nil.
func (s *Store) Claim(ctx context.Context, installation string, accept func(database string, first bool) error) error {
	return s.inTx(ctx, func(tx pgx.Tx) error {
		owner, first, err := setting(ctx, tx, "installation", installation)
		if err != nil {
			return err
		}
		if owner != installation {
			return mayfly.Errorf(mayfly.CodeConflict, "the state database belongs to the installation %s, and this data_dir to %s", owner, installation).
				WithHint("use the data_dir that goes with this state database, or an empty database; if the data_dir was lost, write %s into data_dir/installation", owner)
		}
		database, _, err := setting(ctx, tx, "database", mayfly.NewID("d"))
		if err != nil || accept == nil {
			return err
		}
		return accept(database, first)
	})
}

// setting returns the value of a setting, storing the given one first if there is none. It waits for another transaction that
// stores the same one.
func setting(ctx context.Context, tx pgx.Tx, key, initial string) (value string, stored bool, err error) {
	tag, err := tx.Exec(ctx, `insert into setting (key, value) values ($1, $2) on conflict (key) do nothing`, key, initial)
	if err != nil {
		return "", false, failed(err, "store setting %s", key)
	}
	if err := tx.QueryRow(ctx, `select value from setting where key = $1`, key).Scan(&value); err != nil {
		return "", false, failed(err, "read setting %s", key)
	}
	return value, tag.RowsAffected() == 1, nil
}

// inTx runs fn in a transaction, committed if fn returns nil.
func (s *Store) inTx(ctx context.Context, fn func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, fn)
}

func isCode(err error, code string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code
}

// failed wraps an error of the state database with what was being done. Errors that already carry a code, and errors that
// mean that the database does not answer, get no second explanation.
func failed(err error, format string, args ...any) error {
	var coded *mayfly.Error
	if errors.As(err, &coded) {
		return err
	}
	doing := fmt.Sprintf(format, args...)
	var connectErr *pgconn.ConnectError
	if errors.As(err, &connectErr) {
		return unavailable(fmt.Errorf("%s: %w", doing, err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func unavailable(err error) error {
	return (&mayfly.Error{Code: mayfly.CodeStateUnavailable, Message: "the state database does not answer", Err: err}).
		WithHint("check database_url, or that the embedded state database's container runs; mayfly doctor says more")
}
