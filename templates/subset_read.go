package templates

import (
	"bytes"
	"context"
	"strconv"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/subset"
)

// rowID is where a row is in its table, for as long as a snapshot sees it: the block and, in the lowest 16 bits, the line pointer.
type rowID uint64

// parseRowID reads what PostgreSQL writes for a ctid: (block,line).
func parseRowID(text []byte) (rowID, bool) {
	block, line, found := bytes.Cut(bytes.Trim(text, "()"), []byte{','})
	if !found {
		return 0, false
	}
	b, err := strconv.ParseUint(string(block), 10, 32)
	if err != nil {
		return 0, false
	}
	l, err := strconv.ParseUint(string(line), 10, 16)
	return rowID(b<<16 | l), err == nil
}

// append writes it as an element of an array of tid.
func (id rowID) append(to []byte) []byte {
	to = strconv.AppendUint(append(to, `"(`...), uint64(id>>16), 10)
	to = strconv.AppendUint(append(to, ','), uint64(id&0xffff), 10)
	return append(to, `)"`...)
}

// graphRows are the rows of one table of a subset.
type graphRows struct {
	graph *subset.Graph
	table int
}

func (g *graphRows) each(do func(rowID) error) error {
	return g.graph.Each(g.table, func(id uint64) error { return do(rowID(id)) })
}

// rowsPerQuery is how many rows are asked for at once: few enough for a statement that is parsed and planned in no time.
const rowsPerQuery = 10_000

// readChosen copies the rows of a choice out.
func (r *liveReader) readChosen(ctx context.Context, l *load, w *meteredWriter) (rows int64, err error) {
	columns := "SELECT " + trimList(columnList(l.table.columns())) + " FROM "
	if l.choice.rows == nil {
		rows, err = r.copyOut(ctx, l, w, columns+from(l.table.relation, l.choice.as)+" WHERE ("+l.choice.where+")")
	} else {
		rows, err = r.readByID(ctx, l, w, columns+"ONLY "+l.table.sql()+" WHERE ctid = ANY ('{")
	}
	if err == nil && rows != l.choice.kept {
		err = mayfly.Errorf(mayfly.CodeSourceUnavailable, "%s gave %d of the %d rows that were chosen", l.table, rows, l.choice.kept).
			WithHint("the source does not keep its snapshot: point the connection string at the server itself")
	}
	return rows, err
}

// trimList turns a list for COPY into one for SELECT.
func trimList(list string) string {
	if list == "" {
		return ""
	}
	return list[2 : len(list)-1]
}

// The planner would scan a table for each batch of places: it takes each for a page to be read, where many are in the same.
const (
	planByID     = "SET LOCAL enable_tidscan = on; SET LOCAL enable_seqscan = off"
	planAsBefore = "SET LOCAL enable_seqscan = on"
)

func (r *liveReader) readByID(ctx context.Context, l *load, w *meteredWriter, query string) (rows int64, err error) {
	if err := execAll(ctx, r.conn, planByID); err != nil {
		return 0, r.source.failed(ctx, "read "+l.table.String()+" from the source", err)
	}
	rows, err = r.readBatches(ctx, l, w, query)
	if err == nil {
		if err = execAll(ctx, r.conn, planAsBefore); err != nil {
			err = r.source.failed(ctx, "read "+l.table.String()+" from the source", err)
		}
	}
	return rows, err
}

func (r *liveReader) readBatches(ctx context.Context, l *load, w *meteredWriter, query string) (rows int64, err error) {
	var ids []byte
	count := 0
	flush := func() error {
		if count == 0 {
			return nil
		}
		n, err := r.copyOut(ctx, l, w, query+string(ids)+"}'::pg_catalog.tid[])")
		rows += n
		ids, count = ids[:0], 0
		return err
	}
	err = l.choice.rows.each(func(id rowID) error {
		if count > 0 {
			ids = append(ids, ',')
		}
		ids = id.append(ids)
		if count++; count < rowsPerQuery {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return rows, err
}

// copyOut copies the result of a query. Neither side's error is the other's.
func (r *liveReader) copyOut(ctx context.Context, l *load, sink *meteredWriter, query string) (int64, error) {
	tag, err := r.conn.PgConn().CopyTo(ctx, sink, "COPY ("+query+") TO STDOUT")
	if sink.err != nil {
		return 0, sink.err
	}
	if err != nil {
		return 0, r.source.conditionFailed(ctx, l.table.relation, err)
	}
	return tag.RowsAffected(), nil
}
