package templates

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/templates/subset"
)

// scanAll reads the keys of all tables that have to do with the subset.
func (s *selector) scanAll(ctx context.Context) error {
	seed := maphash.MakeSeed() // of this build alone: the hashes say nothing to anybody else
	for _, n := range s.nodes {
		for _, t := range n.leaves {
			if !n.scanned {
				continue
			}
			s.run.meter.change(true, func(p *Progress) { p.Table = t.String() })
			if err := s.scan(ctx, n, t, seed); err != nil {
				return err
			}
		}
	}
	return nil
}

// keyScan is the scan of one table: a query, and where in its rows is what.
type keyScan struct {
	node    *node
	graph   *subset.Graph
	columns []string // SQL
	filter  int      // the field with the table's condition, 0 for none
	seeds   []int    // the fields with the seeds' conditions, 0 for none
	limits  []uint64
	order   []int // the fields that the priority is made of
	mac     hash.Hash
	links   []keyFields
	keys    []keyFields
	seed    maphash.Seed

	partial []byte
	fields  [][]byte
	hashes  []uint64
	sum     []byte
}

// keyFields are the fields of a key or a reference. driver is the rank of a reference by which rows come, -1 for those by which they
// do not.
type keyFields struct {
	id, driver int
	fields     []int
}

// column returns the field of an expression.
func (k *keyScan) column(sql string) int {
	if i := slices.Index(k.columns, sql); i >= 0 {
		return i
	}
	k.columns = append(k.columns, sql)
	return len(k.columns) - 1
}

func (k *keyScan) all(sql []string) []int {
	fields := make([]int, len(sql))
	for i := range sql {
		fields[i] = k.column(sql[i])
	}
	return fields
}

func (s *selector) scan(ctx context.Context, n *node, t *table, seed maphash.Seed) error {
	k := &keyScan{node: n, graph: s.graph, columns: []string{"ctid"}, seed: seed}
	if where := n.filter[t.relation]; where != "" {
		k.filter = k.column("(" + where + ") IS TRUE")
	}
	for _, one := range n.seeds {
		field := 0
		if one.Where != "" {
			field = k.column("(" + one.Where + ") IS TRUE")
		}
		k.seeds, k.limits = append(k.seeds, field), append(k.limits, threshold(one.Percent))
	}
	if n.percent > 0 {
		k.limits = []uint64{threshold(n.percent)}
	}
	var keys, links []int
	for _, one := range s.keys {
		if one.link < 0 {
			continue
		}
		if one.fromLeaf[t.oid] {
			k.links = append(k.links, keyFields{one.link, slices.Index(n.drivers, one), k.all(one.children)})
			links = append(links, one.link)
		}
		if one.toLeaf[t.oid] && !slices.Contains(keys, one.key) {
			k.keys = append(k.keys, keyFields{one.key, -1, k.all(one.parents)})
			keys = append(keys, one.key)
		}
	}
	k.orderBy(t, s.run.req.Key)
	s.graph.AddTable(keys, links)
	query := "COPY (SELECT " + strings.Join(k.columns, ", ") + " FROM " + from(t.relation, n.name) + ") TO STDOUT"
	if _, err := s.source.conn.PgConn().CopyTo(ctx, k, query); err != nil {
		var own *scanError
		if errors.As(err, &own) {
			return own.error
		}
		return s.source.conditionFailed(ctx, t.relation, err)
	}
	return nil
}

// threshold is the priority below which rows are chosen.
func threshold(percent float64) uint64 {
	if percent >= 100 {
		return math.MaxUint64
	}
	return uint64(percent / 100 * math.MaxUint64)
}

// orderBy prepares the priorities of rows: a keyed hash of the primary key, or of the whole row if there is none. So each build under
// one key chooses the same rows, and who does not have the key cannot tell which.
func (k *keyScan) orderBy(t *table, key []byte) {
	var primary, columns []string
	for _, c := range t.masking.Columns {
		columns = append(columns, quoteName(c.Name))
		if c.PrimaryKey {
			primary = append(primary, quoteName(c.Name))
		}
	}
	if len(primary) == 0 {
		primary = []string{"pg_catalog.md5(ROW(" + strings.Join(columns, ", ") + ")::pg_catalog.text)"}
	}
	k.order = k.all(primary)
	derived := hmac.New(sha256.New, key)
	derived.Write([]byte("mayfly subset 1\x00" + k.node.String()))
	k.mac = hmac.New(sha256.New, derived.Sum(nil))
}

// priority returns the priority of the current row.
func (k *keyScan) priority() uint64 {
	k.mac.Reset()
	for _, f := range k.order {
		k.mac.Write(k.fields[f])
		k.mac.Write([]byte{'\t'})
	}
	k.sum = k.mac.Sum(k.sum[:0])
	return binary.BigEndian.Uint64(k.sum)
}

// scanError is an error of ours, and not of the source.
type scanError struct{ error }

// Write reads rows of COPY.
func (k *keyScan) Write(p []byte) (int, error) {
	size := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			k.partial = append(k.partial, p...)
			return size, nil
		}
		row := p[:end]
		if len(k.partial) > 0 {
			k.partial = append(k.partial, row...)
			row = k.partial
		}
		if err := k.row(row); err != nil {
			return 0, &scanError{err}
		}
		k.partial, p = k.partial[:0], p[end+1:]
	}
}

var errScanRow = errors.New("the source sent a row of keys that cannot be read")

// row adds one row to the graph.
func (k *keyScan) row(line []byte) error {
	k.fields = k.fields[:0]
	for range k.columns {
		field, rest, found := bytes.Cut(line, []byte{'\t'})
		k.fields, line = append(k.fields, field), rest
		if !found && len(k.fields) < len(k.columns) {
			return errScanRow
		}
	}
	id, ok := parseRowID(k.fields[0])
	if !ok {
		return errScanRow
	}
	driver := -1 // the link of the first one that the row has
	k.hashes = k.hashes[:0]
	for i := range k.links {
		h, is := k.hash(k.links[i].fields)
		k.hashes = append(k.hashes, h)
		if rank := k.links[i].driver; is && rank >= 0 && (driver < 0 || rank < k.links[driver].driver) {
			driver = i
		}
	}
	priority := k.priority()
	row := subset.Row{ID: uint64(id), Excluded: k.filter > 0 && !k.holds(k.filter), Taken: k.node.mode == modeAll}
	row.Chosen = !row.Taken && k.chosen(priority, driver >= 0)
	if err := k.graph.AddRow(row); err != nil {
		return err
	}
	for i := range k.links {
		if k.hashes[i] != 0 {
			if err := k.graph.AddReferenceOf(k.links[i].id, k.hashes[i], priority, k.node.mode != modePercent || i == driver); err != nil {
				return err
			}
		}
	}
	for i := range k.keys {
		if h, is := k.hash(k.keys[i].fields); is {
			if err := k.graph.AddKeyOf(k.keys[i].id, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds reports whether a condition holds for the current row.
func (k *keyScan) holds(field int) bool { return string(k.fields[field]) == "t" }

// chosen reports whether a row is one to start from.
func (k *keyScan) chosen(priority uint64, driven bool) bool {
	switch k.node.mode {
	case modeSeeds:
		for i, field := range k.seeds {
			if (field == 0 || k.holds(field)) && priority <= k.limits[i] {
				return true
			}
		}
		return false
	case modePercent:
		return !driven && priority <= k.limits[0]
	default:
		return false
	}
}

// hash returns the hash of a key, never 0; false if a part of it is NULL, which refers to nothing.
func (k *keyScan) hash(fields []int) (uint64, bool) {
	var h maphash.Hash
	h.SetSeed(k.seed)
	for _, f := range fields {
		if string(k.fields[f]) == `\N` {
			return 0, false
		}
		_, _ = h.Write(k.fields[f])
		_ = h.WriteByte('\t')
	}
	return max(h.Sum64(), 1), true
}
