package templates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
)

// codeOriginalSurvived and its neighbours are codes of findings about the proof.
const (
	codeOriginalSurvived = "original_survived"
	codeSmallGroup       = "small_group"
	codeValuesUnchanged  = "values_unchanged"
)

// proving is the proof of one build: it fingerprints, scans and attests.
type proving struct {
	recorder  *proof.Recorder
	originals *proof.Originals
	scanner   *proof.Scanner
	groups    []*proof.Groups
	files     map[string]string // what each relation's file holds, by its path below the data directory
}

// printsPath is where the fingerprints of a template are. They are kept with it, so that the scan can be done again.
func (b *Builder) printsPath(templateID string) string {
	dir := b.proofDir
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "mayfly-proof")
	}
	return filepath.Join(dir, templateID+".fingerprints")
}

// startProof begins to record, before the first row is read.
func (r *run) startProof() (err error) {
	if err := r.checkQuasiIdentifiers(); err != nil {
		return err
	}
	r.proof.recorder, err = proof.NewRecorder(r.printsPath(r.id), r.req.Key)
	return err
}

// checkQuasiIdentifiers refuses rules about tables and columns that are not there.
func (r *run) checkQuasiIdentifiers() error {
	for _, q := range r.req.Rules.Proof().QuasiIdentifiers {
		schema, name, _ := strings.Cut(q.Table, ".")
		columns := map[string]bool{}
		for i := range r.tables.tables {
			t := &r.tables.tables[i]
			if t.relation == (relation{schema, name}) || t.masking.PartitionOf == q.Table {
				for _, c := range t.masking.Columns {
					columns[c.Name] = true
				}
			}
		}
		if len(columns) == 0 {
			return mayfly.Errorf(mayfly.CodeInvalid, "%s: table %s is not in the source", q.Rule, q.Table)
		}
		for _, c := range q.Columns {
			if !columns[c] {
				return mayfly.Errorf(mayfly.CodeInvalid, "%s: table %s has no column %s", q.Rule, q.Table, c)
			}
		}
	}
	return nil
}

// openScan makes the scanner that counts the rows while it reads them.
func (r *run) openScan() {
	r.proof.scanner = proof.NewScanner(r.proof.originals)
	r.target.scanner = r.proof.scanner
}

// scan looks at everything that is not a table's rows, and decides whether the template may become one.
func (r *run) scan(ctx context.Context) (string, error) {
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
	if err := r.proof.scanner.Rest(ctx, conn, admin, r.target.owner); err != nil {
		return "", err
	}
	if err := r.proof.scanner.Catalog(ctx, admin, r.image.Major); err != nil {
		return "", err
	}
	if err := r.countGroups(ctx, conn); err != nil {
		return "", err
	}
	if r.proof.files, err = relationFiles(ctx, admin); err != nil {
		return "", err
	}
	var pristine string
	if err := admin.QueryRow(ctx, pristineQuery).Scan(&pristine); err != nil {
		return "", fmt.Errorf("find what PostgreSQL itself brings: %w", err)
	}
	r.proof.scanner.Pristine(pristine)
	if err := r.judge(); err != nil {
		return "", err
	}
	if err := dropOtherDatabases(ctx, admin, r.target.database); err != nil {
		return "", err
	}
	if err := handOver(ctx, admin, r.target.owner); err != nil {
		return "", err
	}
	return r.report().Proof.Summary(), checkRights(ctx, admin, r.target.owner)
}

// judge ends the build if an original survived.
func (r *run) judge() error {
	outcome, err := r.proof.scanner.Outcome(r.req.Rules.Proof().Allow)
	if err != nil {
		return err
	}
	r.report().Proof = outcome
	surviving := outcome.Surviving()
	for _, h := range surviving {
		r.target.find(Finding{
			Code: codeOriginalSurvived, Severity: SeverityError, Object: h.Place.String(), Count: h.Values,
			Cause:  fmt.Sprintf("it holds values that %s has in the source, although that column is masked", h.Of),
			Done:   "the template was not made",
			Advice: "mask this column too, or remove the value from the source; if it may be there, say so in the rules under proof: {allow: …}",
		})
	}
	return survivingError(surviving)
}

// survivingShown is how many hits an error names; the report has all.
const survivingShown = 5

func survivingError(hits []proof.Hit) error {
	if len(hits) == 0 {
		return nil
	}
	var lines []string
	for _, h := range hits[:min(survivingShown, len(hits))] {
		lines = append(lines, h.String())
	}
	if more := len(hits) - survivingShown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more; the report has all", more))
	}
	return mayfly.Errorf(mayfly.CodeVerificationFailed, "values of masked columns survive in the template: %s", strings.Join(lines, "; ")).
		WithHint("mask that place too, or remove the value from the source; if it may be there, add to the rules: proof: {allow: [{place: %q, reason: …}]}", hits[0].Place.String())
}

// countGroups computes the figures over the declared quasi-identifiers.
func (r *run) countGroups(ctx context.Context, conn *pgx.Conn) error {
	var blocking []string
	for _, q := range r.req.Rules.Proof().QuasiIdentifiers {
		g, err := proof.CountGroups(ctx, conn, q)
		if err != nil {
			return err
		}
		r.proof.groups = append(r.proof.groups, g)
		if !g.Below() {
			continue
		}
		finding := Finding{
			Code: codeSmallGroup, Severity: SeverityWarning, Object: "table " + q.Table, Cause: g.String(), Count: g.SmallGroups,
			Done: "taken over as it is", Advice: "generalise these columns further, or take fewer of them over",
		}
		if q.Block {
			finding.Severity, finding.Done = SeverityError, "the template was not made"
			blocking = append(blocking, q.Rule+": "+g.String())
		}
		r.target.find(finding)
	}
	if len(blocking) > 0 {
		return mayfly.Errorf(mayfly.CodeVerificationFailed, "rows could be told apart by their quasi-identifiers: %s", strings.Join(blocking, "; ")).
			WithHint("generalise these columns further; or use action: warn")
	}
	return nil
}

// unchangedShare is one in how many unchanged values is remarkable, where a transformer's results are of its own.
const unchangedShare = 100

// reportUnchanged tells about transformers that gave values back as they were: of those that never should, and of those
// that may, such as a rounding to what the values were rounded to before, if they changed nothing at all.
func (r *run) reportUnchanged() {
	for _, c := range r.proof.originals.Columns {
		var advice string
		switch {
		case c.Unchanged == 0:
			continue
		case c.Class == proof.ClassOwn && c.Unchanged*unchangedShare >= c.Values:
			advice = "look at short values of the column; use null or static if they tell anything"
		case c.Class == proof.ClassGiven && c.Unchanged == c.Values && c.Transformer != "static":
			advice = "give it a coarser step or more noise; or keep the column, if that is what is meant"
		default:
			continue
		}
		r.target.find(Finding{
			Code: codeValuesUnchanged, Severity: SeverityWarning, Object: "column " + c.Name(), Count: c.Unchanged,
			Cause:  fmt.Sprintf("the transformer %s gave %d of %d values back as they were", c.Transformer, c.Unchanged, c.Values),
			Done:   "taken over as they are",
			Advice: advice,
		})
	}
}

const relationFilesQuery = `
SELECT pg_catalog.pg_relation_filepath(c.oid), CASE c.relkind WHEN 'i' THEN 'index ' WHEN 't' THEN 'TOAST of ' WHEN 'S' THEN 'sequence ' ELSE 'table ' END
	|| coalesce(o.oid, c.oid)::pg_catalog.regclass
FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class o ON o.reltoastrelid = c.oid
WHERE pg_catalog.pg_relation_filepath(c.oid) IS NOT NULL`

// pristineQuery finds the directory of what initdb made, names of countries and languages among it. Only a superuser could
// connect to that database, after allowing it.
const pristineQuery = `SELECT 'base/' || oid FROM pg_catalog.pg_database WHERE datname = 'template0' AND NOT datallowconn`

func relationFiles(ctx context.Context, admin *pgx.Conn) (map[string]string, error) {
	rows, err := admin.Query(ctx, relationFilesQuery)
	if err != nil {
		return nil, fmt.Errorf("list the files of relations: %w", err)
	}
	files := map[string]string{}
	var file, what string
	_, err = pgx.ForEachRow(rows, []any{&file, &what}, func() error {
		files[file] = what
		return nil
	})
	return files, err
}

// describeFile names what a file of the data directory holds, "" if it is not a relation's: "base/5/16390_fsm" and
// "base/5/16390.1" are of 16390.
func (p *proving) describeFile(name string) string {
	name = path.Clean(name)
	dir, file := path.Split(name)
	number := file[:len(file)-len(strings.TrimLeft(file, "0123456789"))]
	if what := p.files[dir+number]; what != "" {
		return what
	}
	return ""
}

// searchFiles searches the stopped cluster's files for the sample of originals. A volume that is a directory of this host
// is read here, any other one in a container that sends its files; it is searched here in any case, as originals go into no
// file, no argument and no environment.
func (r *run) searchFiles(ctx context.Context) error {
	if local, ok := r.volumes.(interface {
		Path(id string) (string, error)
	}); ok {
		path, err := local.Path(r.id)
		if err != nil {
			return fmt.Errorf("find the template's files: %w", err)
		}
		path = filepath.Join(path, strings.TrimPrefix(driver.DataDir, driver.VolumeMount))
		if err := r.proof.scanner.Directory(ctx, path, r.workers, r.proof.describeFile); err != nil {
			return fmt.Errorf("search the template's files: %w", err)
		}
		return r.judge()
	}
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := r.proof.scanner.Files(out, r.proof.describeFile)
		if err == nil {
			_, err = io.Copy(io.Discard, out) // what tar writes after its end
		}
		_ = out.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		done <- err
	}()
	result, err := r.engine.Run(ctx, driver.RunSpec{
		Image: r.image.ID, Command: []string{"tar", "-C", driver.DataDir, "-cf", "-", "."}, Volume: r.id, Labels: r.labels, Stdout: in,
	})
	_ = in.CloseWithError(err) // nil means the end
	if scanErr := <-done; scanErr != nil {
		return fmt.Errorf("search the template's files: %w", errors.Join(scanErr, err))
	}
	if err != nil {
		return fmt.Errorf("read the template's files: %w", err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("read the template's files: exit code %d: %s", result.ExitCode, lastLines(string(result.Stderr), 4))
	}
	return r.judge()
}

// checkAllowances refuses those that cover nothing.
func (r *run) checkAllowances() error {
	unused := r.report().Proof.Unused()
	if len(unused) == 0 {
		return nil
	}
	var lines []string
	for _, a := range unused {
		lines = append(lines, fmt.Sprintf("%s: nothing of a masked column is in %s", a.Rule, a.Place))
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "allowances of the rules cover nothing: %s", strings.Join(lines, "; ")).
		WithHint("remove them: an allowance that is not needed hides what comes later")
}

// attest signs what was done.
func (r *run) attest() (err error) {
	if r.signer == nil {
		return nil
	}
	r.result.Attestation, err = r.signer.Sign(r.statement())
	return err
}

func (r *run) statement() *proof.Statement {
	report := r.report()
	s := &proof.Statement{
		Version: proof.StatementVersion, Template: r.id, Project: r.req.Project.Name, MadeAt: r.clock().UTC(), Rows: report.Rows,
		Source: proof.Source{
			Kind: report.Source.Kind, Database: report.Source.Database, ServerVersion: report.Source.ServerVersion,
			Snapshot: report.Source.Snapshot, CreatedAt: report.Source.CreatedAt,
		},
		Rules: proof.Rules{Name: filepath.Base(r.req.Rules.Name()), SHA256: r.req.Rules.SHA256(), Key: proof.KeyCheck(r.req.Key)},
		Tool:  proof.Tool{Name: "mayfly", Version: r.version},
		Image: proof.Image{Digest: report.Image, Major: report.Major},
		Scan:  report.Proof, Groups: r.proof.groups, Findings: map[string]int{},
	}
	if s.Source.Snapshot == "" {
		s.Source.Snapshot = report.Source.Archive
	}
	for _, f := range report.Findings {
		s.Findings[string(f.Severity)]++
	}
	r.cover(s)
	return s
}

// cover fills in what happened to each column.
func (r *run) cover(s *proof.Statement) {
	recorded := map[string]*proof.Column{}
	for _, c := range r.proof.originals.Columns {
		recorded[c.Name()] = c
	}
	rows := map[relation]int64{}
	for _, t := range r.report().Tables {
		rows[relation{t.Schema, t.Table}] = t.Rows
	}
	for _, t := range r.plan.Coverage() {
		if !t.Rows {
			s.Unread = append(s.Unread, t.Schema+"."+t.Table)
		}
		for _, c := range t.Columns {
			name := t.Schema + "." + t.Table + "." + c.Column
			s.Coverage = append(s.Coverage, proof.Covering(t.Schema, t.Table, c, rows[relation{t.Schema, t.Table}], recorded[name], r.proof.scanner))
		}
	}
}

// observe lets the proof see what the masker sees.
func (l *loader) observe(t *table, masker *sanitize.TableMasker, w *sanitize.Writer) (end func()) {
	if l.recorder == nil {
		return func() {}
	}
	observer := l.recorder.Table(t.schema, t.name, masker.Columns())
	w.Observe(observer)
	return observer.Close
}
