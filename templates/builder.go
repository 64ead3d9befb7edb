package templates

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates/quarantine"
)

// defaultWorkers copy and index at the same time. More rarely help: each is a reading and a writing server process and a
// masking goroutine.
const defaultWorkers = 2

// BuilderOptions configure a Builder.
type BuilderOptions struct {
	Engine  driver.Engine
	Volumes driver.Volumes
	Logger  *slog.Logger
	Clock   func() time.Time
	// ProofDir is where the fingerprints of originals are kept as long as the template; "" is a temporary directory.
	ProofDir string
	// Signer signs attestations; nil for none. Version is what they say about this program.
	Signer  *proof.Signer
	Version string
	// Workers is how many tables are copied, and indexes created, at the same time. 0 means 2.
	Workers int
	// SpoolDir is where dumps are downloaded to, in a directory per template that only the service can read.
	SpoolDir string
}

// Builder builds templates. It may build several at once.
type Builder struct {
	engine  driver.Engine
	volumes driver.Volumes
	log     *slog.Logger
	clock   func() time.Time
	workers int

	spoolDir string

	proofDir string
	signer   *proof.Signer
	version  string
}

// NewBuilder returns a Builder.
func NewBuilder(opts BuilderOptions) *Builder {
	b := &Builder{engine: opts.Engine, volumes: opts.Volumes, log: opts.Logger, clock: opts.Clock, workers: opts.Workers, spoolDir: opts.SpoolDir,
		proofDir: opts.ProofDir, signer: opts.Signer, version: opts.Version,
	}
	if b.spoolDir == "" {
		b.spoolDir = filepath.Join(os.TempDir(), "mayfly-spool")
	}
	if b.workers <= 0 {
		b.workers = defaultWorkers
	}
	return b
}

// BuildRequest is what a template is built from.
type BuildRequest struct {
	Template *mayfly.Template // only the ID is read
	Project  mayfly.Project
	Rules    *sanitize.Rules
	Key      []byte // of at least sanitize.MinKeyLength bytes
	// Experience is what the project's last template took.
	Experience Experience
	// Progress, if set, is called about five times a second, and at the start of each phase. It must not block.
	Progress func(Progress)
	// Phase, if set, is called at the start of each phase; what it returns is called at the phase's end.
	Phase func(name string) (end func(detail string, err error))
}

// Result is a finished template.
type Result struct {
	Image     driver.Image
	SizeBytes int64
	RowCount  int64
	Report    Report
	// Attestation is the signed statement about the template, nil without a Signer.
	Attestation []byte
}

// Build builds a template into the volume that is named by the template's ID, and freezes it.
//
// When it returns an error, also because ctx was cancelled (CodeCancelled), the instance and the volume are gone. If the
// process dies, they are found by their labels (role=build, template=<id>) and by the volume's id; Discard removes them.
// The Result is not nil when there is anything to report about a failed build; its Report then is of what was done.
func (b *Builder) Build(ctx context.Context, req BuildRequest) (*Result, error) {
	r := &run{
		Builder: b, req: req, id: req.Template.ID,
		labels: map[string]string{"role": "build", "template": req.Template.ID, "project": req.Project.Name},
		meter:  &progressMeter{clock: b.clock, notify: req.Progress},
		result: &Result{}, location: req.Project.Source.Archive,
	}
	r.report().ManifestVersion = manifestVersion
	r.report().StartedAt = b.clock().UTC()
	err := r.do(ctx)
	r.keepFindings()
	if r.source != nil {
		r.source.close()
	}
	if leaveErr := r.leaveSubset(); err == nil {
		err = leaveErr
	}
	if leaveErr := r.leaveQuarantine(ctx); err == nil {
		err = leaveErr
	}
	if !shuttingDown(ctx, context.Cause(ctx)) { // the next process goes on with a download
		if spoolErr := b.discardSpool(r.id); spoolErr != nil {
			b.log.WarnContext(ctx, "what a build fetched could not be removed; the next sweep tries again", "template", r.id, "error", spoolErr)
		}
	}
	r.report().FinishedAt = b.clock().UTC()
	if err == nil {
		return r.result, nil
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if cleanErr := b.Discard(cleanup, r.id); cleanErr != nil {
		b.log.ErrorContext(ctx, "what a failed build left could not be removed; the next sweep tries again", "template", r.id, "error", cleanErr)
	}
	if ctx.Err() != nil {
		return r.result, mayfly.Errorf(mayfly.CodeCancelled, "the build of the template was cancelled: %w", ctx.Err())
	}
	return r.result, err
}

const cleanupTimeout = 2 * time.Minute

// Discard removes the instance and the volume of a template, as far as they are there.
func (b *Builder) Discard(ctx context.Context, templateID string) error {
	if !driver.ValidID(templateID) {
		return fmt.Errorf("template %q: %w", templateID, driver.ErrInvalidID)
	}
	if err := b.engine.Remove(ctx, templateID); err != nil {
		return fmt.Errorf("remove the instance of template %s: %w", templateID, err)
	}
	if err := b.volumes.Delete(ctx, templateID); err != nil {
		return fmt.Errorf("delete the volume of template %s: %w", templateID, err)
	}
	if err := b.discardRescan(ctx, templateID); err != nil {
		return err
	}
	if err := os.Remove(b.printsPath(templateID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the fingerprints of template %s: %w", templateID, err)
	}
	return quarantine.Destroy(ctx, b.engine, b.volumes, b.log, templateID)
}
