package templates

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Verification is what was checked of a template before it was frozen.
type Verification struct {
	// Inventory counts the objects by kind, Differences explains each that is not the same in the source and the template.
	Inventory   []KindCount  `json:"inventory"`
	Differences []Difference `json:"differences,omitempty"`
	Indexes     IndexCheck   `json:"indexes"`
	// Constraints is how many there are; NotValidated names those that existing rows are not checked against.
	Constraints  int      `json:"constraints"`
	NotValidated []string `json:"not_validated,omitempty"`
	// InvalidIndexes names indexes that the server does not use.
	InvalidIndexes []string `json:"invalid_indexes,omitempty"`
	// Sequences is how many belong to a column; BehindSequences names those that will draw a value that is there already.
	Sequences       int         `json:"sequences"`
	BehindSequences []string    `json:"behind_sequences,omitempty"`
	Collations      []Collation `json:"collations"`
}

// verify compares the template with the source, checks it in itself, and makes it ready to be frozen.
func (r *run) verify(ctx context.Context) (string, error) {
	r.openScan()
	conn, err := r.target.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	admin, err := r.target.connectAdmin(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	r.report().Verification = &Verification{}
	// Side by side: one is busy with what the other one leaves idle.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.target.verify(groupCtx, r.report().Tables, r.workers) })
	group.Go(func() (err error) {
		r.report().Verification.Indexes, err = r.target.checkIndexes(groupCtx, admin, r.workers, r.clock)
		return err
	})
	if err := group.Wait(); err != nil {
		return "", err
	}
	if err := r.inspect(ctx, conn, admin); err != nil {
		return "", err
	}
	if err := vacuumRest(ctx, conn, admin); err != nil {
		return "", err
	}
	r.reportUnchanged()
	return fmt.Sprintf("%d rows counted, %d indexes checked", r.result.RowCount, r.report().Verification.Indexes.Checked), nil
}

// inspect makes the rest of the Verification.
func (r *run) inspect(ctx context.Context, conn, admin *pgx.Conn) (err error) {
	v := r.report().Verification
	if err := r.checkSequences(ctx, conn, v); err != nil {
		return err
	}
	if v.Collations, err = readCollations(ctx, admin); err != nil {
		return err
	}
	contents, err := readInventory(ctx, admin)
	if err != nil {
		return err
	}
	return r.compare(v, contents)
}

// compare accounts for every difference between the source and the template, and lists what is not valid.
func (r *run) compare(v *Verification, template *inventory) error {
	source := r.source.inventory(r.toc)
	r.keepFindings()
	r.findInvalid(source, template)
	r.keepFindings()
	hooks := r.req.Project.Templates.Hooks
	c := newComparison(source, template, r.report().Findings, len(hooks.AfterLoad)+len(hooks.AfterMasking) > 0)
	v.Inventory = c.counts()
	var unexplained []string
	v.Differences, unexplained = c.differences()
	for _, key := range sortedKeys(template.items) {
		switch one := template.items[key]; {
		case key.kind == kindConstraint:
			v.Constraints++
			if !one.valid {
				v.NotValidated = append(v.NotValidated, key.name)
			}
		case key.kind == kindIndex && !one.valid:
			v.InvalidIndexes = append(v.InvalidIndexes, key.name)
		}
	}
	if len(unexplained) > 0 {
		return unexplainedError(unexplained)
	}
	return nil
}

// findInvalid reports what is marked as not valid in the source, unless that was noticed before: pg_dump leaves out indexes
// that are not valid, and takes constraints over as they are.
func (r *run) findInvalid(source, template *inventory) {
	known := func(code, name string) bool {
		return slices.ContainsFunc(r.report().Findings, func(f Finding) bool { return f.Code == code && objectName(f.Object) == tableMember(name) })
	}
	for _, key := range sortedKeys(source.items) {
		_, there := template.items[key]
		switch {
		case source.items[key].valid:
		case key.kind == kindIndex && !there && !known(codeIndexInvalid, key.name):
			r.target.find(Finding{
				Code: codeIndexInvalid, Severity: SeverityWarning, Object: key.String(),
				Cause:  "the index is marked as not valid in the source: building it concurrently failed there once, and no query uses it",
				Done:   "left out, as pg_dump does",
				Advice: "drop it in the source, or build it anew with REINDEX INDEX CONCURRENTLY",
			})
		case key.kind == kindConstraint && there && !known(codeConstraintUnverified, key.name):
			r.target.find(Finding{
				Code: codeConstraintUnverified, Severity: SeverityInfo, Object: key.String(),
				Cause:  "the constraint is NOT VALID in the source: rows from before it was added were never checked",
				Done:   "taken over as it is",
				Advice: "check the rows in the source with ALTER TABLE … VALIDATE CONSTRAINT",
			})
		}
	}
}

// ownedSequences lists the sequences that belong to an integer column: serial ones and identities.
const ownedSequences = `
SELECT n.nspname, c.relname, tn.nspname, t.relname, a.attname, q.seqincrement
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid
JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p') JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid AND a.atttypid IN (20, 21, 23)
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
	AND ` + userObject + `
ORDER BY 1, 2`

type ownedSequence struct {
	sequence, table relation
	column          string
	increment       int64
}

// checkSequences lists the sequences whose next value is in their column already.
func (r *run) checkSequences(ctx context.Context, conn *pgx.Conn, v *Verification) error {
	rows, err := conn.Query(ctx, ownedSequences)
	if err != nil {
		return fmt.Errorf("list the sequences of columns: %w", err)
	}
	var owned []ownedSequence
	var one ownedSequence
	if _, err := pgx.ForEachRow(rows, []any{
		&one.sequence.schema, &one.sequence.name, &one.table.schema, &one.table.name, &one.column, &one.increment,
	}, func() error {
		owned = append(owned, one)
		return nil
	}); err != nil {
		return fmt.Errorf("list the sequences of columns: %w", err)
	}
	v.Sequences = len(owned)
	for _, one := range owned {
		last, compare := "max", ">"
		if one.increment < 0 {
			last, compare = "min", "<"
		}
		column := pgx.Identifier{one.column}.Sanitize()
		// A sequence that was never called draws last_value itself.
		query := "SELECT coalesce((SELECT pg_catalog." + last + "(" + column + ")::int8 FROM " + one.table.sql() + ") " + compare +
			" CASE WHEN is_called THEN last_value ELSE last_value - " + fmt.Sprintf("(%d)", one.increment) + " END, false) FROM " + one.sequence.sql()
		var behind bool
		if err := conn.QueryRow(ctx, query).Scan(&behind); err != nil {
			return fmt.Errorf("compare the sequence %s with its column: %w", one.sequence, err)
		}
		if behind {
			v.BehindSequences = append(v.BehindSequences, one.sequence.String())
			r.findBehind(one)
		}
	}
	return nil
}

func (r *run) findBehind(one ownedSequence) {
	r.keepFindings()
	if slices.ContainsFunc(r.report().Findings, func(f Finding) bool {
		return f.Code == codeSequenceBehind && objectName(f.Object) == tableMember(one.sequence.String())
	}) {
		return
	}
	r.target.find(Finding{
		Code: codeSequenceBehind, Severity: SeverityWarning, Object: "sequence " + one.sequence.String(),
		Cause:  fmt.Sprintf("its next value is not past those in %s.%s, so inserting rows can end in a duplicate key", one.table, one.column),
		Done:   "left as it is",
		Advice: "if rows are inserted with keys of their own, set the sequence past them; if the column is masked, use a transformer that keeps its range",
	})
}
