package templates

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mayflydb/mayfly/sanitize"
)

// A CHECK constraint can only be evaluated by PostgreSQL. Before any row is loaded, made-up rows and what the rules make of
// them are shown to each constraint that a masked column is part of, in a session of the owner: the functions in it are the
// source's.

// probe refuses rules that would break a constraint.
func (t *target) probe(ctx context.Context, plan *sanitize.Plan) error {
	probes := plan.Probes()
	if len(probes) == 0 {
		return nil
	}
	conn, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var refused []error
	for i := range probes {
		p := &probes[i]
		before, err := verdicts(ctx, conn, p, p.Before)
		if err != nil {
			return fmt.Errorf("ask the constraint %s of %s.%s: %w", p.Constraint, p.Schema, p.Table, err)
		}
		after, err := verdicts(ctx, conn, p, p.After)
		if err != nil {
			return fmt.Errorf("ask the constraint %s of %s.%s: %w", p.Constraint, p.Schema, p.Table, err)
		}
		if err := p.Judge(before, after); err != nil {
			refused = append(refused, err)
		}
	}
	return errors.Join(refused...)
}

// verdicts asks about all rows at once, or row by row where one of them is an error.
func verdicts(ctx context.Context, conn *pgx.Conn, p *sanitize.Probe, rows [][]*string) ([]sanitize.Verdict, error) {
	found := make([]sanitize.Verdict, len(rows))
	err := ask(ctx, conn, p, rows, found)
	if !refusedByServer(err) {
		return found, err
	}
	for i := range rows {
		err := ask(ctx, conn, p, rows[i:i+1], found[i:i+1])
		switch {
		case refusedByServer(err) && p.Expression == "":
			found[i] = sanitize.Fails // the domain does not take the value
		case refusedByServer(err):
			found[i] = sanitize.Unknown
		case err != nil:
			return nil, err
		}
	}
	return found, nil
}

// refusedByServer reports whether an error is the server's answer and the session goes on.
func refusedByServer(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Severity != "FATAL"
}

func ask(ctx context.Context, conn *pgx.Conn, p *sanitize.Probe, rows [][]*string, found []sanitize.Verdict) error {
	var columns, parameters []string
	args := make([]any, len(p.Columns))
	for i, c := range p.Columns {
		columns = append(columns, fmt.Sprintf("value%d::%s AS %s", i, c.Type, pgx.Identifier{c.Name}.Sanitize()))
		parameters = append(parameters, fmt.Sprintf("pg_catalog.unnest($%d::pg_catalog.text[])", i+1))
		values := make([]*string, len(rows))
		for j := range rows {
			values[j] = rows[j][i]
		}
		args[i] = values
	}
	names := make([]string, len(p.Columns))
	for i := range names {
		names[i] = fmt.Sprintf("value%d", i)
	}
	condition := p.Expression
	if condition == "" {
		// What is not used would not be cast.
		condition = "pg_catalog.length(" + pgx.Identifier{p.Columns[0].Name}.Sanitize() + "::pg_catalog.text) IS DISTINCT FROM -1"
	}
	// OFFSET 0 keeps the casts apart from the condition, whose columns have the names of the table's.
	sql := fmt.Sprintf(`SELECT "made-up row", (%s) IS NOT FALSE FROM (SELECT "made-up row", %s FROM ROWS FROM (%s) WITH ORDINALITY AS made_up(%s, "made-up row") OFFSET 0) AS probed`,
		condition, strings.Join(columns, ", "), strings.Join(parameters, ", "), strings.Join(names, ", "))
	answers, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var number int64
	var holds bool
	_, err = pgx.ForEachRow(answers, []any{&number, &holds}, func() error {
		found[number-1] = sanitize.Fails
		if holds {
			found[number-1] = sanitize.Holds
		}
		return nil
	})
	return err
}
