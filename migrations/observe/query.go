package observe

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// Text is what is about to be sent as one query: a file, or a part of it.
type Text struct {
	SQL string
	// Pieces are the statements of SQL that the server counts.
	Pieces []sqlsplit.Statement
	// Line and Offset are where SQL begins in its file: the line from 1, the offset in bytes.
	Line, Offset int
	// Index is how many statements of the file came before.
	Index int
}

// Query is one query being sent. Send SQL; call Result for each result and End when there are no more.
type Query struct {
	// SQL is the text with probes in it, or as it was.
	SQL string

	r        *Recorder
	text     Text
	inserted []insertion
	next     int // the piece whose result is awaited
	open     []*Statement
	lead     bool
	began    int64 // microseconds of the server's clock; 0 before the first probe
	sent     time.Time
	elapsed  time.Duration
	watching *watching
}

// Query prepares to send a text. It never fails; if need be the text is sent as it is.
func (r *Recorder) Query(ctx context.Context, text Text) *Query {
	q := &Query{SQL: text.SQL, r: r, text: text}
	if len(text.Pieces) == 0 {
		return q
	}
	inTransaction := r.conn.PgConn().TxStatus() != 'I'
	if !inTransaction {
		r.idle()
		clear(r.counted)
	}
	switch {
	case forgets(text.SQL):
		r.ready = false // once it has run
	case !r.ready && !inTransaction && r.prepare(ctx) != nil, !r.ready:
	default:
		// The counters are out of the way since the last probe, from PostgreSQL 15 on.
		q.lead = r.major < 15 && !inTransaction
		q.SQL, q.inserted, _ = instrument(text.SQL, text.Pieces, inTransaction, q.lead, "EXECUTE "+r.name)
		q.lead = q.lead && len(q.inserted) > 0 && q.inserted[0].at <= text.Pieces[0].Begin
	}
	if len(q.inserted) == 0 && len(text.Pieces) == 1 && !inTransaction && !mute(Words(text.SQL[text.Pieces[0].First:text.Pieces[0].Last], 3)) {
		q.watching = r.watch(ctx)
	}
	q.sent = r.now()
	return q
}

// Result looks at one result. It returns true if that was a probe's, whose rows it has read; the caller then goes on to the next
// result.
func (q *Query) Result(reader *pgconn.ResultReader) bool {
	fields := reader.FieldDescriptions()
	if len(q.inserted) == 0 || len(fields) == 0 || fields[0].Name != q.r.name {
		return false
	}
	result := reader.Read()
	if result.Err != nil || len(result.Rows) != 1 {
		return true
	}
	if got, err := readSample(result.Rows[0]); err == nil {
		q.sample(got)
	}
	return true
}

func (q *Query) sample(got sample) {
	r := q.r
	began := q.began
	if began == 0 {
		began = got.received
		if got.temp != nil && len(r.statements) <= len(q.text.Pieces) && q.text.Index == 0 {
			r.spilled(*got.temp)
		}
	}
	q.began = got.after
	r.clock, r.clockAt = got.after, r.now()
	if len(q.open) == 0 { // in front of the first
		if q.lead {
			for _, l := range got.relations {
				r.counted[l.oid] = l.counters
			}
			q.lead = false
		}
		return
	}
	last := q.open[len(q.open)-1]
	r.take(last, got, began)
	q.open = nil
}

// Completed tells that a statement of the text has ended well.
func (q *Query) Completed(tag pgconn.CommandTag) {
	s := q.statement()
	if s == nil {
		return
	}
	s.Command = command(tag)
	if tag.Insert() || tag.Update() || tag.Delete() || strings.HasPrefix(tag.String(), "MERGE ") || strings.HasPrefix(tag.String(), "COPY ") {
		s.Rows = tag.RowsAffected()
	}
}

// command is a tag without its numbers.
func command(tag pgconn.CommandTag) string { return strings.TrimRight(tag.String(), " 0123456789") }

// statement begins the record of the next piece.
func (q *Query) statement() *Statement {
	if q.next >= len(q.text.Pieces) {
		return nil
	}
	p := q.text.Pieces[q.next]
	q.next++
	before := q.text.SQL[:p.First]
	s := &Statement{
		Index: q.text.Index + q.next, Line: q.text.Line + strings.Count(before, "\n"), Observed: FromNothing,
		SQL: excerpt(q.text.SQL[p.First:p.Last]), Begin: q.text.Offset + p.First, End: q.text.Offset + p.Last,
		InTransaction: q.r.txNumber,
	}
	s.EndLine = s.Line + strings.Count(q.text.SQL[p.First:p.Last], "\n")
	q.open = append(q.open, s)
	q.r.statements = append(q.r.statements, s)
	return s
}

// excerptLength is how many bytes of a statement are kept.
const excerptLength = 1000

func excerpt(sql string) string {
	if len(sql) <= excerptLength {
		return strings.ToValidUTF8(sql, "\uFFFD")
	}
	return strings.ToValidUTF8(sql[:excerptLength], "") + "…"
}

// End ends the query. If one of its statements failed, which is then the next one, sqlState says why.
func (q *Query) End(ctx context.Context, failed bool, sqlState string) {
	q.elapsed = q.r.now().Sub(q.sent)
	if failed {
		if s := q.statement(); s != nil {
			s.Failed, s.SQLState, s.DurationMS = true, sqlState, millis(q.elapsed.Microseconds())
			if q.began != 0 {
				s.DurationMS = millis(q.r.serverTime() - q.began)
			}
		}
	}
	if q.watching != nil {
		q.watching.end(ctx, q)
	} else if len(q.inserted) == 0 && len(q.open) == 1 {
		q.open[0].DurationMS = millis(q.elapsed.Microseconds())
	}
	q.r.idle()
}

// Position translates where the server saw an error, from 1. It returns false if that was in a probe.
func (q *Query) Position(position int, inBytes bool) (int, bool) {
	if position <= 0 {
		return position, true
	}
	return original(position, q.inserted, inBytes)
}

// Instrumented reports whether there are probes in SQL.
func (q *Query) Instrumented() bool { return len(q.inserted) > 0 }

// Repeatable reports whether a query that failed at an error may have failed only because of the probes, and left nothing behind: it can then
// be sent again as it was (Plain).
func (q *Query) Repeatable(sqlState string) bool {
	if !q.Instrumented() || q.r.conn.IsClosed() || q.r.conn.PgConn().TxStatus() != 'I' {
		return false
	}
	switch sqlState {
	case "42601": // syntax_error: nothing of the text was executed, unless it is one in a function
		return q.next <= 1
	case "2D000", "25001", "26000": // a transaction ended or began where none can be; the probe is gone
		return len(q.text.Pieces) == 1
	}
	return false
}

// Plain is the query again, without probes.
func (q *Query) Plain() *Query {
	for q.next > 0 {
		q.next--
		q.r.statements = q.r.statements[:len(q.r.statements)-1]
	}
	return &Query{SQL: q.text.SQL, r: q.r, text: q.text, sent: q.r.now()}
}
