package templates

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/mayflydb/mayfly/sanitize"
)

const (
	// sampleSize is how many values of a column are remembered to know how they are distributed.
	sampleSize = 20_000
	// sampledRows is about how many rows a server is asked for where a table has more.
	sampledRows = 1_000_000
)

// sample reads what the values of columns look like that are drawn from their own distribution, in a first pass before the rules are
// bound. What a partitioned table has is one distribution. How rare a value may be is for the transformer to say: it draws no
// value that too few rows share.
func (r *run) sample(ctx context.Context, tables *catalog) error {
	masking := tables.maskingTables()
	wanted := map[int][]int{}
	for _, at := range r.req.Rules.Sampled(masking) {
		wanted[at[0]] = append(wanted[at[0]], at[1])
	}
	if len(wanted) == 0 {
		return nil
	}
	samplers := map[string]*sanitize.Sampler{}
	var sampled []sampling
	for i := range tables.tables {
		t := &tables.tables[i]
		if len(wanted[i]) == 0 || r.unreadable(t.relation) {
			continue
		}
		one := sampling{table: t, where: r.req.Rules.WhereOf(&t.masking)}
		one.as = t.name
		if _, top, found := strings.Cut(t.masking.PartitionOf, "."); found {
			one.as = top
		}
		for _, j := range wanted[i] {
			c := &t.masking.Columns[j]
			name := t.String() + "." + c.Name
			if t.masking.PartitionOf != "" {
				name = t.masking.PartitionOf + "." + c.Name
			}
			if samplers[name] == nil {
				samplers[name] = sanitize.NewSampler(sampleSize, r.randomFor(name))
			}
			c.Distribution = samplers[name]
			one.columns, one.samplers = append(one.columns, j), append(one.samplers, samplers[name])
		}
		sampled = append(sampled, one)
	}
	return r.readSamples(ctx, sampled)
}

// randomFor returns the random numbers that decide which values are remembered, the same in every build.
func (r *run) randomFor(column string) rand.Source {
	mac := hmac.New(sha256.New, r.req.Key)
	mac.Write([]byte("mayfly sample 1\x00" + column))
	return rand.NewChaCha8([32]byte(mac.Sum(nil)))
}

func (r *run) readSamples(ctx context.Context, sampled []sampling) error {
	if live, ok := r.source.(interface{ server() *liveSource }); ok {
		for i := range sampled {
			if err := live.server().sample(ctx, &sampled[i]); err != nil {
				return err
			}
		}
		return nil
	}
	byName := map[relation]*sampling{}
	for i := range sampled {
		byName[sampled[i].table.relation] = &sampled[i]
	}
	reader, err := r.source.reader(ctx)
	if err != nil {
		return err
	}
	defer reader.close()
	for i := range r.loads { // in an order that a compressed file can be read in
		l := &r.loads[i]
		one := byName[l.table.relation]
		if one == nil {
			continue
		}
		one.fields = one.positions()
		if _, err := reader.read(ctx, l, one, func(int64) {}); err != nil {
			return fmt.Errorf("sample %s: %w", l.table, err)
		}
	}
	return nil
}

// sampling is the sampling of one table. It takes rows in COPY text format.
type sampling struct {
	table    *table
	where    string
	as       string
	columns  []int // of the table
	samplers []*sanitize.Sampler
	fields   []int // of a row, by column; ascending

	partial, value []byte
}

// positions returns where the columns are in what COPY sends of the whole table.
func (s *sampling) positions() []int {
	fields := make([]int, 0, len(s.columns))
	for _, j := range s.columns {
		at := j
		for _, c := range s.table.masking.Columns[:j] {
			if c.Generated {
				at--
			}
		}
		fields = append(fields, at)
	}
	return fields
}

// sample reads the columns of one table. TABLESAMPLE BERNOULLI reads all of it, too, and sends a part.
func (s *liveSource) sample(ctx context.Context, one *sampling) error {
	var names []string
	for i, j := range one.columns {
		names = append(names, quoteName(one.table.masking.Columns[j].Name))
		one.fields = append(one.fields, i)
	}
	query := "SELECT " + strings.Join(names, ", ") + " FROM " + from(one.table.relation, one.as)
	if one.table.estimate > sampledRows {
		query += fmt.Sprintf(" TABLESAMPLE BERNOULLI (%f) REPEATABLE (1)", 100*float64(sampledRows)/float64(one.table.estimate))
	}
	if one.where != "" {
		if err := s.checkCondition(ctx, one.table.relation, one.as, one.where); err != nil {
			return err
		}
		query += " WHERE (" + one.where + ")"
	}
	if _, err := s.conn.PgConn().CopyTo(ctx, one, "COPY ("+query+") TO STDOUT"); err != nil {
		return s.conditionFailed(ctx, one.table.relation, err)
	}
	return nil
}

// Write takes a part of the rows.
func (s *sampling) Write(p []byte) (int, error) {
	size := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.partial = append(s.partial, p...)
			return size, nil
		}
		row := p[:end]
		if len(s.partial) > 0 {
			s.partial = append(s.partial, row...)
			row = s.partial
		}
		s.row(row)
		s.partial, p = s.partial[:0], p[end+1:]
	}
}

// row takes the values of one row. A row that is too short is left to the load to refuse.
func (s *sampling) row(line []byte) {
	field, rest, more := bytes.Cut(line, []byte{'\t'})
	at := 0
	for i, wanted := range s.fields {
		for ; at < wanted && more; at++ {
			field, rest, more = bytes.Cut(rest, []byte{'\t'})
		}
		if at < wanted {
			return
		}
		if string(field) != `\N` {
			s.value = sanitize.Unescape(s.value[:0], field)
			s.samplers[i].Add(string(s.value))
		}
	}
}
