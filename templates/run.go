package templates

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/archive"
	"github.com/mayflydb/mayfly/templates/fetch"
	"github.com/mayflydb/mayfly/templates/quarantine"
)

// run is one build.
type run struct {
	*Builder
	req    BuildRequest
	id     string
	labels map[string]string
	meter  *progressMeter
	result *Result
	// location is where the source is, as configured.
	location string

	fetched *fetch.File
	source  source
	image   driver.Image
	dumper  driver.Image // whose pg_dump reads a live source's schema
	plan    *sanitize.Plan
	target  *target
	toc     *archive.Archive
	chosen  selection
	tables  *catalog
	loads   []load
	facts   *facts // nil for archives

	selector *selector            // nil unless the rules choose rows
	choices  map[relation]*choice // of the tables that some rows of are left out

	quarantined *quarantine.Cluster // nil unless the source had to be restored

	proof       proving
	catalogMask *catalogMask

	hooks       hooks
	hookDropped []relation // tables of the source that hooks dropped
}

func (r *run) report() *Report { return &r.result.Report }

// do is a build from start to end.
func (r *run) do(ctx context.Context) (err error) {
	if err := r.check(); err != nil {
		return err
	}
	if r.hooks, err = readHooks(r.req.Project.Templates.Hooks); err != nil {
		return err
	}
	for _, phase := range []struct {
		name string
		run  func(context.Context) (detail string, err error)
	}{
		{PhaseFetch, r.fetchSource},
		{PhaseConnect, r.connect},
		{PhasePlan, r.planEarly},
		{PhaseSubset, r.selectRows},
		{PhaseInitialise, r.initialise},
		{PhaseSchema, r.restoreSchema},
		{PhaseLoad, r.load},
		{PhaseAfterLoad, r.afterLoad},
		{PhaseIndexes, r.index},
		{PhaseRefresh, r.refresh},
		{PhaseAfterMasking, r.afterMasking},
		{PhaseVerify, r.verify},
		{PhaseScan, r.scan},
		{PhaseFreeze, r.freeze},
	} {
		if isHookPhase(phase.name) && len(r.hooks[phase.name]) == 0 || phase.name == PhaseSubset && !r.req.Rules.SelectsRows() {
			continue
		}
		if err := r.phase(ctx, phase.name, phase.run); err != nil {
			return err
		}
	}
	return nil
}

// phase runs one phase and keeps the time.
func (r *run) phase(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.meter.enter(name)
	end := func(string, error) {}
	if r.req.Phase != nil {
		end = r.req.Phase(name)
	}
	started := r.clock()
	detail, err := do(ctx)
	took := r.clock().Sub(started)
	r.report().Phases = append(r.report().Phases, PhaseReport{Name: name, DurationMS: took.Milliseconds()})
	end(detail, err)
	if err != nil {
		return err
	}
	r.log.DebugContext(ctx, "template phase done", "template", r.id, "phase", name, "took", took, "detail", detail)
	return nil
}

// check refuses what cannot work before anything is made.
func (r *run) check() error {
	pg := r.req.Project.Postgres
	switch {
	case !driver.ValidID(r.id):
		return fmt.Errorf("template %q: %w", r.id, driver.ErrInvalidID)
	case r.req.Rules == nil:
		return mayfly.Errorf(mayfly.CodeInvalid, "the project %s has no masking rules", r.req.Project.Name)
	case len(r.req.Key) < sanitize.MinKeyLength:
		return mayfly.Errorf(mayfly.CodeInvalid, "the project %s has no masking key of %d bytes or more", r.req.Project.Name, sanitize.MinKeyLength).
			WithHint("make one with `openssl rand -hex 32`, and keep it as secret as the source")
	case pg.Database == "" || pg.Database == "template0" || pg.Database == "template1":
		return mayfly.Errorf(mayfly.CodeInvalid, "the database name %q is not usable", pg.Database).WithHint("set postgres.database to what the application calls it")
	case pg.Owner == "" || pg.Owner == cluster.AdminRole || strings.HasPrefix(pg.Owner, "pg_"):
		return mayfly.Errorf(mayfly.CodeInvalid, "the role name %q is not usable", pg.Owner).WithHint("set postgres.owner to the application's role")
	}
	return nil
}

// connect opens the source and finds the image for its version.
func (r *run) connect(ctx context.Context) (string, error) {
	var err error
	if r.source, err = r.open(ctx); err != nil {
		return "", err
	}
	r.report().Source = r.source.describe()
	r.describeFetched(r.location)
	r.report().Findings = append(r.report().Findings, r.source.findings()...)
	r.ask(ctx)
	sourceMajor := r.source.major()
	if r.image, err = r.findImage(ctx, sourceMajor); err != nil {
		return "", fmt.Errorf("find an image for the template: %w", err)
	}
	r.result.Image, r.report().Image, r.report().Major = r.image, r.image.ID, r.image.Major
	if err := r.findDumper(ctx, sourceMajor); err != nil {
		return "", err
	}
	said := []string{"PostgreSQL " + r.report().Source.ServerVersion}
	for _, f := range r.source.findings() {
		said = append(said, f.Cause+": "+f.Done)
	}
	return strings.Join(said, "; "), nil
}

// findDumper finds the image whose pg_dump reads a live source's schema: no pg_dump reads a newer server. What it writes can go into
// an older template, as an archive can, as long as nothing in it is new.
func (r *run) findDumper(ctx context.Context, sourceMajor int) (err error) {
	r.dumper = r.image
	switch {
	case sourceMajor <= r.image.Major:
		return nil
	case sourceMajor > newestMajor:
		return mayfly.Errorf(mayfly.CodeInvalid, "the source is of PostgreSQL %d, the image of %d", sourceMajor, r.image.Major).
			WithHint("set postgres.major to %d or newer: sources of versions that are not known cannot be taken into an older one", sourceMajor)
	case r.source.catalog() == nil:
		return nil
	}
	if r.dumper, err = r.engine.Image(ctx, "", sourceMajor); err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "the source is of PostgreSQL %d, the image of %d, and there is none for a pg_dump of %d: %w", sourceMajor, r.image.Major, sourceMajor, err).
			WithHint("set postgres.major to %d or newer, or give the engine an image of %d", sourceMajor, sourceMajor)
	}
	return nil
}

// newestMajor is the newest version that is looked for when the project does not say which one to use.
const newestMajor = 18

// findImage returns the image that the project names; or else one of the source's version or the nearest newer one.
func (r *run) findImage(ctx context.Context, sourceMajor int) (driver.Image, error) {
	pg := r.req.Project.Postgres
	if pg.Major != 0 || pg.Image != "" {
		return r.engine.Image(ctx, pg.Image, cmp.Or(pg.Major, sourceMajor))
	}
	if sourceMajor == 0 { // a script need not say
		return r.newestImage(ctx)
	}
	image, err := r.engine.Image(ctx, "", sourceMajor)
	for major := sourceMajor + 1; mayfly.ErrorCode(err) == mayfly.CodeImageUnavailable && major <= newestMajor; major++ {
		var newer driver.Image
		if newer, err = r.engine.Image(ctx, "", major); err == nil {
			return newer, nil
		}
	}
	return image, err
}

// planEarly binds the rules before anything is made, if the source can tell its columns now.
func (r *run) planEarly(ctx context.Context) (string, error) {
	if r.source.catalog() == nil {
		return "after the schema", nil
	}
	return r.bind(ctx, r.source.catalog())
}

// bind makes the masking plan. A column that nobody classified ends the build here.
func (r *run) bind(ctx context.Context, tables *catalog) (string, error) {
	err := r.sample(ctx, tables)
	if err != nil {
		return "", err
	}
	if r.plan, err = r.req.Rules.Plan(tables.maskingTables(), r.req.Key); err != nil {
		return "", err
	}
	r.report().Coverage = r.plan.Coverage()
	return fmt.Sprintf("%d tables", len(tables.tables)), nil
}

func (r *run) initialise(ctx context.Context) (string, error) {
	if err := r.checkDisk(ctx); err != nil {
		return "", err
	}
	if err := r.volumes.Create(ctx, r.id, r.image.User); err != nil {
		if errors.Is(err, driver.ErrNoSpace) {
			return "", mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: %w", err).WithHint("free space in the pool, or enlarge it")
		}
		return "", fmt.Errorf("create the template's volume: %w", err)
	}
	if err := r.start(ctx, r.id, r.image, r.labels); err != nil {
		return "", err
	}
	pg := r.req.Project.Postgres
	r.target = &target{engine: r.engine, instance: r.id, database: pg.Database, owner: pg.Owner, encoding: r.source.encoding()}
	return r.image.Ref, nil
}

// startTimeout bounds how long a fresh cluster may take to accept connections.
const startTimeout = 2 * time.Minute

// restoreSchema makes the role, the database and everything that has to be there before the rows.
func (r *run) restoreSchema(ctx context.Context) (_ string, err error) {
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// template1: the application's own database may be called postgres.
	admin, err := cluster.WaitReady(waiting, r.engine, r.id, "template1", r.alive)
	if err != nil {
		return "", fmt.Errorf("wait for the template's cluster: %w", err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	if r.toc, err = r.source.schema(ctx, schemaRunner{engine: r.engine, image: r.dumper, labels: r.labels}); err != nil {
		return "", err
	}
	r.target.toc, r.target.major = r.toc, r.image.Major
	if err := r.target.createDatabase(ctx, admin, r.toc); err != nil {
		return "", err
	}
	r.chosen = choose(r.toc, r.req.Project.Templates.Policy)
	r.findAll(r.chosen.findings)
	r.findAround()
	if err := r.maskCatalog(); err != nil {
		return "", err
	}
	if err := r.target.adoptDatabase(ctx); err != nil {
		return "", err
	}
	restorer, err := r.target.restorer(ctx)
	if err != nil {
		return "", err
	}
	defer restorer.close(ctx)
	r.target.takeSettings(ctx, restorer.conn, r.toc, r.catalogMask.find)
	if err := restorer.preData(ctx, r.chosen.preData); err != nil {
		return "", err
	}
	if err := r.planLate(ctx, restorer); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d objects", len(r.chosen.preData)), nil
}

// planLate learns the tables from the restored schema, and binds the rules if that was not done before.
func (r *run) planLate(ctx context.Context, restorer *restorer) (err error) {
	r.tables = r.source.catalog()
	if r.tables == nil {
		if r.tables, err = restorer.catalogWithKeys(ctx, r.chosen.postData); err != nil {
			return err
		}
		r.tables.remove(r.chosen.replaced)
	}
	// For an archive this also puts the columns in the order of its data, which the plan has to know.
	loads, findings, err := r.source.loads(r.tables, r.toc)
	if err != nil {
		return err
	}
	r.loads = r.chosenLoads(r.readable(loads))
	r.findAll(findings)
	if r.plan == nil {
		if _, err = r.bind(ctx, r.tables); err != nil {
			return err
		}
	}
	return r.target.probe(ctx, r.plan)
}

func (r *run) alive(ctx context.Context) error {
	inspector, ok := r.engine.(driver.Inspector)
	if !ok {
		return nil
	}
	instance, err := inspector.Inspect(ctx, r.id)
	if err != nil {
		return err
	}
	if !instance.Running {
		log, _ := inspector.Logs(ctx, r.id, 5)
		return fmt.Errorf("postgres ended with exit code %d: %s", instance.ExitCode, lastLines(string(log), 5))
	}
	return nil
}

func (r *run) load(ctx context.Context) (string, error) {
	if err := r.startProof(); err != nil {
		return "", err
	}
	l := &loader{source: r.source, target: r.target, plan: r.plan, meter: r.meter, clock: r.clock, recorder: r.proof.recorder}
	results, err := l.all(ctx, r.loads, r.source.workers(r.workers))
	if err != nil {
		return "", err
	}
	r.reportTables(results)
	if err := r.afterRows(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d tables, %d rows, %d bytes", len(results), r.report().Rows, r.report().Bytes), nil
}

// reportTables lists every table, also those that the source has no rows for.
func (r *run) reportTables(results []loaded) {
	done := map[relation]loaded{}
	for _, l := range results {
		done[l.load.table.relation] = l
		r.report().Rows += l.rows
		r.report().Bytes += l.bytes
	}
	for i := range r.tables.tables {
		t := &r.tables.tables[i]
		masker, l := r.plan.Table(t.schema, t.name), done[t.relation]
		one := TableReport{
			Schema: t.schema, Table: t.name, SourceRows: l.rows, Bytes: l.bytes,
			DurationMS: l.duration.Milliseconds(), StructureOnly: !masker.Rows(),
		}
		for _, c := range masker.Columns() {
			if c.Transformer != "keep" {
				one.MaskedColumns++
			}
		}
		if l.load.table == nil && masker.Rows() && !r.unreadable(t.relation) {
			r.target.find(tableWithoutData(t.relation))
		}
		r.report().Tables = append(r.report().Tables, one)
	}
	r.result.RowCount = r.report().Rows
}

func (r *run) index(ctx context.Context) (string, error) {
	r.target.diagnosis = &diagnosis{toc: r.toc, tables: r.tables, plan: r.plan}
	if err := r.target.postData(ctx, r.toc, r.chosen.postData, r.workers); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d objects", len(r.chosen.postData)), r.checkKeys()
}

func (r *run) refresh(ctx context.Context) (string, error) {
	values, err := r.source.sequences(ctx, r.toc)
	if err != nil {
		return "", err
	}
	conn, err := r.target.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := setSequences(ctx, conn, values); err != nil {
		return "", err
	}
	restored, err := readCatalog(ctx, conn) // the oids of the views are the target's
	if err != nil {
		return "", err
	}
	populated := r.source.populated(r.toc)
	if err := r.target.refreshMatviews(ctx, conn, restored.matviews, populated); err != nil {
		return "", err
	}
	if err := r.examine(ctx, conn); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d sequences, %d materialized views", len(values), len(populated)), r.sameTables(restored)
}

// sameTables makes sure that no table of the plan is missing in the template, and that the template has no other.
func (r *run) sameTables(restored *catalog) error {
	there := map[relation]bool{}
	restored.remove(r.chosen.replaced)
	for i := range restored.tables {
		there[restored.tables[i].relation] = true
	}
	for _, t := range r.report().Tables {
		if t.ByHook {
			delete(there, relation{t.Schema, t.Table})
		}
	}
	for i := range r.tables.tables {
		name := r.tables.tables[i].relation
		if slices.Contains(r.hookDropped, name) {
			continue
		}
		if !there[name] {
			return mayfly.Errorf(mayfly.CodeVerificationFailed, "the table %s of the source is not in the template", name)
		}
		delete(there, name)
	}
	for name := range there {
		return mayfly.Errorf(mayfly.CodeVerificationFailed, "the template has a table %s that the source has not", name)
	}
	return nil
}

func (r *run) freeze(ctx context.Context) (string, error) {
	if err := r.explainSizes(ctx); err != nil {
		return "", err
	}
	if err := r.refuse(); err != nil {
		return "", err
	}
	if err := r.stop(ctx, r.id, r.image, r.labels); err != nil {
		return "", err
	}
	if err := r.searchFiles(ctx); err != nil {
		return "", err
	}
	if err := r.checkAllowances(); err != nil {
		return "", err
	}
	if err := r.volumes.Freeze(ctx, r.id); err != nil {
		return "", fmt.Errorf("freeze the template: %w", err)
	}
	size, err := r.volumes.Size(ctx, r.id)
	if err != nil {
		return "", fmt.Errorf("measure the template: %w", err)
	}
	r.result.SizeBytes, r.report().SizeBytes = size, size
	return fmt.Sprintf("%d bytes", size), r.attest()
}
