package templates

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

// choice is which rows of a table are read: those for which a condition holds, or those that a subset has.
type choice struct {
	where string // in SQL
	as    string // what the condition may call the table
	rows  chosenRows
	kept  int64
	there int64
}

// chosenRows lists where rows are.
type chosenRows interface {
	each(do func(rowID) error) error
}

// from is the table of a query with conditions. They may call it, and its partitions, by its name.
func from(t relation, as string) string { return "ONLY " + t.sql() + " AS " + quoteName(as) }

// checkCondition refuses a condition before anything is read. The rules were parsed: it cannot end the parentheses that it
// stands in, nor does it hold a query. Here the server parses it, by a protocol that takes one statement, in the session that may
// only read; and what it calls must not do anything, nor give another answer each time.
func (s *liveSource) checkCondition(ctx context.Context, t relation, as, condition string) error {
	refused := func(why string) error {
		return mayfly.Errorf(mayfly.CodeInvalid, "the condition for rows of %s cannot be used: %s", t, why).
			WithHint("write one condition in SQL over the columns of the table; names of other schemas than pg_catalog need their schema: public.citext")
	}
	for _, call := range sanitize.Calls(condition) {
		var volatile bool
		if call.Schema == "" {
			call.Schema = "pg_catalog" // the search path of the session is empty
		}
		if err := s.conn.QueryRow(ctx, volatileQuery, call.Schema, call.Name).Scan(&volatile); err != nil {
			return s.failed(ctx, "look up a function of the source", err)
		}
		if volatile {
			return mayfly.Errorf(mayfly.CodeInvalid, "the condition for rows of %s calls %s.%s, which is VOLATILE", t, call.Schema, call.Name).
				WithHint("call only what is STABLE or IMMUTABLE: each build must choose the same rows, and choosing must not do anything")
		}
	}
	_, err := s.conn.PgConn().Prepare(ctx, "", "SELECT 1 FROM "+from(t, as)+" WHERE ("+condition+")", nil)
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server):
		return refused(server.Message)
	case err != nil:
		return s.failed(ctx, "check the condition for rows of "+t.String(), err)
	}
	return nil
}

const volatileQuery = `SELECT coalesce(pg_catalog.bool_or(p.provolatile = 'v'), false) FROM pg_catalog.pg_proc p
	JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1 AND p.proname = $2`

// conditionFailed is the error of a query with a condition. The server's text may quote a value of a row.
func (s *liveSource) conditionFailed(ctx context.Context, t relation, err error) error {
	var server *pgconn.PgError
	if ctx.Err() == nil && errors.As(err, &server) && strings.HasPrefix(server.Code, "22") {
		return mayfly.Errorf(mayfly.CodeInvalid, "the condition for rows of %s fails for some of them (SQLSTATE %s)", t, server.Code).
			WithHint("make it fit every row: a cast, a division or a pattern in it does not")
	}
	return s.failed(ctx, "choose the rows of "+t.String(), err)
}

// countWhere counts the rows of a table, and those for which a condition holds.
func (s *liveSource) countWhere(ctx context.Context, t relation, as, condition string) (kept, there int64, err error) {
	query := "SELECT pg_catalog.count(*) FILTER (WHERE (" + condition + ")), pg_catalog.count(*) FROM " + from(t, as)
	err = s.conn.QueryRow(ctx, query, pgx.QueryExecModeSimpleProtocol).Scan(&kept, &there)
	if err != nil {
		return 0, 0, s.conditionFailed(ctx, t, err)
	}
	return kept, there, nil
}
