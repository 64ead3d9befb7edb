package migrations

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// cancelEvery is how often a cancel request is repeated: one that arrives between two statements is lost.
	cancelEvery = 250 * time.Millisecond
	// cancelGrace is how long a server may take to honour a cancel request before the connection is cut.
	cancelGrace = 15 * time.Second
)

// outcome is how far the server came with a text.
type outcome struct {
	statements int   // completed
	rows       int64 // written by them
	err        error
}

// execute sends a text as one simple query, as the tool does: several statements in it are one transaction, unless the
// text itself says otherwise. Rows that come back are thrown away unseen.
//
// When ctx ends, the statement is cancelled on the server and the connection stays usable, so that the failure can be
// looked at and the lock be given back. pgx by itself would drop the connection.
func execute(ctx context.Context, conn *pgx.Conn, text string) outcome {
	return executeFor(ctx, conn, text, nil)
}

// results is somebody who wants to see the results of a query.
type results interface {
	// Result may read a result; it returns true if the result is none of a statement of the text's.
	Result(reader *pgconn.ResultReader) bool
	Completed(tag pgconn.CommandTag)
}

// executeFor is execute with somebody who looks on, or nil.
func executeFor(ctx context.Context, conn *pgx.Conn, text string, to results) outcome {
	if err := ctx.Err(); err != nil {
		return outcome{err: err}
	}
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-done:
		case <-ctx.Done():
			cancelUntil(hard, conn.PgConn(), done, cut)
		}
	}()
	result := receive(hard, conn.PgConn(), text, to)
	close(done)
	<-watched
	return result
}

// cancelUntil asks the server to cancel until the query has ended, and cuts the connection if that takes too long.
func cancelUntil(ctx context.Context, conn *pgconn.PgConn, done <-chan struct{}, cut func()) {
	repeat := time.NewTicker(cancelEvery)
	defer repeat.Stop()
	grace := time.NewTimer(cancelGrace)
	defer grace.Stop()
	for {
		request, stop := context.WithTimeout(ctx, cancelGrace)
		_ = conn.CancelRequest(request) // one that fails is repeated
		stop()
		select {
		case <-done:
			return
		case <-grace.C:
			cut()
			return
		case <-repeat.C:
		}
	}
}

func receive(ctx context.Context, conn *pgconn.PgConn, text string, to results) outcome {
	var result outcome
	reader := conn.Exec(ctx, text)
	for reader.NextResult() {
		if to != nil && to.Result(reader.ResultReader()) {
			continue
		}
		tag, err := reader.ResultReader().Close()
		if err != nil {
			break
		}
		if tag.String() == "" { // an empty query
			continue
		}
		result.statements++
		if to != nil {
			to.Completed(tag)
		}
		if writes(tag) {
			result.rows += tag.RowsAffected()
		}
	}
	result.err = reader.Close()
	return result
}

func writes(tag pgconn.CommandTag) bool {
	return tag.Insert() || tag.Update() || tag.Delete() || strings.HasPrefix(tag.String(), "MERGE ") || strings.HasPrefix(tag.String(), "COPY ")
}

// asPgError returns PostgreSQL's own error in the chain, or nil.
func asPgError(err error) *pgconn.PgError {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr
	}
	return nil
}

// inBytes reports whether the server counts error positions in bytes of what it was sent rather than in characters of
// UTF-8 (server: pg_mbstrlen in the database's encoding).
func inBytes(conn *pgconn.PgConn) bool {
	return conn.ParameterStatus("client_encoding") != "UTF8" || conn.ParameterStatus("server_encoding") == "SQL_ASCII"
}
