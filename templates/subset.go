package templates

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/subset"
)

// codeRowsSelected is the code of the finding that says how many rows of a table were taken.
const codeRowsSelected = "rows_selected"

// node is a table, or a partitioned one with all of its partitions, as foreign keys see it.
type node struct {
	relation
	leaves  []*table
	links   []*foreignKey // to what it refers to
	filter  map[relation]string
	mode    nodeMode
	drivers []*foreignKey // with modePercent: a row comes with what the first of these refers to that it has
	reason  string
	seeds   []sanitize.Seed
	percent float64
	// partial says that rows may be missing in the end; scanned that its keys are read.
	partial, scanned bool
	kept, there      int64
}

type nodeMode int

const (
	modeNeeded  nodeMode = iota // only what is referred to, or refers to what is chosen
	modeAll                     // all rows
	modeSeeds                   // rows that seeds choose, and those
	modePercent                 // a share of the rows that have no driver, and those
)

// selector finds out which rows of a source are taken.
type selector struct {
	run     *run
	source  *liveSource
	rules   *sanitize.Subset // nil: only conditions of tables
	nodes   []*node
	byLeaf  map[uint32]*node
	keys    []*foreignKey
	graph   *subset.Graph
	choices map[relation]*choice
}

// selectRows chooses the rows, before anything is made.
func (r *run) selectRows(ctx context.Context) (string, error) {
	live, ok := r.source.(interface{ server() *liveSource })
	if !ok {
		return "", errors.New("rows can only be chosen by a server")
	}
	s := &selector{run: r, source: live.server(), rules: r.req.Rules.Subset(), byLeaf: map[uint32]*node{}, choices: map[relation]*choice{}}
	s.makeNodes()
	for _, step := range []func(context.Context) error{s.checkConditions, s.readKeys, s.decide, s.scanAll, s.choose} {
		if err := step(ctx); err != nil {
			return "", err
		}
	}
	r.choices, r.selector = s.choices, s
	kept, there := s.report()
	return fmt.Sprintf("%d of %d rows in the tables that rows are chosen of", kept, there), nil
}

func (s *liveSource) server() *liveSource { return s }

// makeNodes groups the tables whose rows are taken.
func (s *selector) makeNodes() {
	byName := map[relation]*node{}
	for i := range s.source.tables.tables {
		t := &s.source.tables.tables[i]
		masker := s.run.plan.Table(t.schema, t.name)
		if !masker.Rows() || s.run.unreadable(t.relation) {
			continue
		}
		name := t.relation
		if schema, top, found := strings.Cut(t.masking.PartitionOf, "."); found {
			name = relation{schema, top}
		}
		n := byName[name]
		if n == nil {
			n = &node{relation: name, filter: map[relation]string{}}
			byName[name] = n
			s.nodes = append(s.nodes, n)
		}
		n.leaves = append(n.leaves, t)
		if masker.Where() != "" {
			n.filter[t.relation] = masker.Where()
		}
		s.byLeaf[t.oid] = n
	}
	if s.rules == nil {
		return
	}
	for _, seed := range s.rules.Seeds {
		for _, n := range s.nodes {
			if n.String() == seed.Table {
				n.seeds = append(n.seeds, seed)
			}
		}
	}
}

// checkConditions shows all conditions to the server.
func (s *selector) checkConditions(ctx context.Context) error {
	for _, n := range s.nodes {
		for _, t := range n.leaves {
			if where := n.filter[t.relation]; where != "" {
				if err := s.source.checkCondition(ctx, t.relation, n.name, where); err != nil {
					return err
				}
			}
		}
		for _, seed := range n.seeds {
			if seed.Where == "" {
				continue
			}
			if err := s.source.checkCondition(ctx, n.leaves[0].relation, n.name, seed.Where); err != nil {
				return fmt.Errorf("%s: %w", seed.Rule, err)
			}
		}
	}
	return nil
}

// readKeys reads the foreign keys between nodes, without those whose column is masked away.
func (s *selector) readKeys(ctx context.Context) error {
	keys, err := s.source.readForeignKeys(ctx)
	if err != nil {
		return err
	}
	leaves, err := s.source.readLeaves(ctx)
	if err != nil {
		return err
	}
	resolve := func(oid uint32) (of *node, set map[uint32]bool) {
		set = map[uint32]bool{}
		for _, leaf := range leaves[oid] {
			if n := s.byLeaf[leaf]; n != nil {
				of, set[leaf] = n, true
			}
		}
		return of, set
	}
	for _, k := range keys {
		k.child, k.fromLeaf = resolve(k.from)
		k.parent, k.toLeaf = resolve(k.to)
		if k.child == nil || k.parent == nil || s.cut(k) {
			continue
		}
		k.child.links = append(k.child.links, k)
		s.keys = append(s.keys, k)
	}
	return nil
}

// cut reports whether the rules make NULL of a column of the key, so that nothing is referred to.
func (s *selector) cut(k *foreignKey) bool {
	t := k.child.leaves[0]
	for _, c := range s.run.plan.Table(t.schema, t.name).Columns() {
		if c.Transformer == "null" && slices.Contains(k.columns, c.Column) {
			return true
		}
	}
	return false
}

// choose runs the graph and makes the choices.
func (s *selector) choose(ctx context.Context) error {
	if s.graph != nil {
		if err := s.graph.Select(); err != nil {
			return fmt.Errorf("choose rows: %w", err)
		}
	}
	tableID := 0
	for _, n := range s.nodes {
		for _, t := range n.leaves {
			c := &choice{as: n.name, where: n.filter[t.relation]}
			switch {
			case n.scanned:
				c.kept, c.there = s.graph.Rows(tableID)
				c.rows = &graphRows{s.graph, tableID}
				tableID++
			case c.where != "":
				var err error
				if c.kept, c.there, err = s.source.countWhere(ctx, t.relation, c.as, c.where); err != nil {
					return err
				}
			default:
				continue
			}
			n.kept, n.there = n.kept+c.kept, n.there+c.there
			if c.kept < c.there {
				s.choices[t.relation] = c
			}
		}
	}
	return nil
}

// report notes how many rows of which tables are taken.
func (s *selector) report() (kept, there int64) {
	for _, n := range s.nodes {
		kept, there = kept+n.kept, there+n.there
		if n.kept == n.there {
			continue
		}
		s.run.report().Findings = append(s.run.report().Findings, Finding{
			Code: codeRowsSelected, Severity: SeverityInfo, Object: "table " + n.String(), Count: n.kept,
			Cause: cmp.Or(n.reason, "the rules take a part of the rows"), Done: fmt.Sprintf("%d of %d rows are taken", n.kept, n.there),
		})
	}
	return kept, there
}

// checkKeys makes sure that no foreign key is broken because of what was chosen: one whose rows all refer to rows that are there in
// the source must hold.
func (r *run) checkKeys() error {
	if r.selector == nil {
		return nil
	}
	r.keepFindings()
	for _, k := range r.selector.keys {
		if k.link < 0 || r.selector.graph.Dangling(k.link) > 0 {
			continue
		}
		for _, f := range r.report().Findings {
			if f.Code == codeForeignKeyViolated && strings.HasSuffix(f.Object, " "+k.name) {
				return mayfly.Errorf(mayfly.CodeVerificationFailed, "the foreign key %s holds in the source, but not for the rows that were chosen", k.name).
					WithHint("build again; if it happens again, this is a defect of Mayfly: please report it with the definition of the key")
			}
		}
	}
	return nil
}

// share returns which part of a table's rows is taken.
func (r *run) share(name relation) float64 {
	c := r.choices[name]
	switch {
	case r.plan == nil:
		return 1
	case r.plan.Table(name.schema, name.name) != nil && !r.plan.Table(name.schema, name.name).Rows():
		return 0
	case c == nil || c.there == 0:
		return 1
	}
	return float64(c.kept) / float64(c.there)
}

// chosenLoads says of each load which rows it has.
func (r *run) chosenLoads(loads []load) []load {
	for i := range loads {
		l := &loads[i]
		if l.choice = r.choices[l.table.relation]; l.choice != nil {
			l.weight = int64(float64(l.weight) * r.share(l.table.relation))
		}
	}
	return loads
}

// leaveSubset gives back what choosing rows needs until they are loaded.
func (r *run) leaveSubset() error {
	if r.selector == nil || r.selector.graph == nil {
		return nil
	}
	return r.selector.graph.Close()
}

// newGraph makes the graph's directory, which only the service can read.
func (r *run) newGraph() (*subset.Graph, error) {
	dir := filepath.Join(r.spool(), "subset")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for keys: %w", err)
	}
	return subset.New(subset.Options{Dir: dir})
}
