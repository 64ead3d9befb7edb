package templates

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
)

// rescanID names the clone that a template is scanned again in.
func rescanID(templateID string) string { return templateID + "-s" }

// Rescan scans a template again, in a clone, for the originals of its source: by their fingerprints, which are kept with
// the template, and which the masking key that it was built with opens. The raw files are not searched again: that needs
// clear values, and none are kept.
func (b *Builder) Rescan(ctx context.Context, t *mayfly.Template, key []byte) (*proof.Outcome, error) {
	statement, originals, err := b.kept(t, key)
	if err != nil {
		return nil, err
	}
	id := rescanID(t.ID)
	if err := b.discardRescan(ctx, t.ID); err != nil {
		return nil, err
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		if err := b.discardRescan(cleanup, t.ID); err != nil {
			b.log.ErrorContext(ctx, "the clone of a scan could not be removed", "template", t.ID, "error", err)
		}
	}()
	if err := b.volumes.Clone(ctx, t.ID, id, 0); err != nil {
		return nil, fmt.Errorf("clone the template to scan it: %w", err)
	}
	spec := driver.InstanceSpec{
		ID: id, Image: t.Image, Volume: id, Args: cluster.Args(cluster.Build),
		Labels: map[string]string{"role": "rescan", "template": t.ID, "project": t.Project}, Limits: driver.Limits{ShmBytes: 1 << 30},
	}
	if err := b.engine.Create(ctx, spec); err != nil {
		return nil, fmt.Errorf("create the instance of a scan: %w", err)
	}
	if err := b.engine.Start(ctx, id); err != nil {
		return nil, fmt.Errorf("start the instance of a scan: %w", err)
	}
	scanner, err := b.rescan(ctx, t, originals)
	if err != nil {
		return nil, err
	}
	var allow []sanitize.Allowance
	for _, a := range statement.Scan.Allowances {
		allow = append(allow, a.Allowance)
	}
	return scanner.Outcome(allow)
}

// kept returns what was kept of a template's proof.
func (b *Builder) kept(t *mayfly.Template, key []byte) (*proof.Statement, *proof.Originals, error) {
	if len(t.Attestation) == 0 || t.State != mayfly.TemplateReady && t.State != mayfly.TemplateRetired {
		return nil, nil, mayfly.Errorf(mayfly.CodeNotFound, "template %s has no attestation", t.ID).WithHint("templates that were built before there was one are attested by building a new one")
	}
	statement, err := b.attested(t)
	if err != nil {
		return nil, nil, err
	}
	if statement.Rules.Key != proof.KeyCheck(key) {
		return nil, nil, mayfly.Errorf(mayfly.CodeConflict, "template %s was built with another masking key", t.ID).
			WithHint("its fingerprints can only be compared with that key; build a new template")
	}
	originals, err := proof.Open(b.printsPath(t.ID), key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, mayfly.Errorf(mayfly.CodeNotFound, "the fingerprints of template %s are not there any more", t.ID).WithHint("build a new template")
	}
	if err != nil {
		return nil, nil, err
	}
	if originals.SHA256 != statement.Scan.Prints.SHA256 {
		return nil, nil, mayfly.Errorf(mayfly.CodeVerificationFailed, "the fingerprints of template %s are not those that were attested", t.ID).
			WithHint("somebody changed the file; build a new template")
	}
	return statement, originals, nil
}

// attested returns what was signed about a template. Its allowances decide what a scan passes, so they must be those that were signed.
func (b *Builder) attested(t *mayfly.Template) (*proof.Statement, error) {
	statement, err := proof.Read(t.Attestation)
	if err == nil && b.signer != nil {
		statement, err = proof.Verify(t.Attestation, b.signer.Public())
	}
	if err != nil {
		return nil, err
	}
	if statement.Template != t.ID || statement.Scan == nil {
		return nil, mayfly.Errorf(mayfly.CodeVerificationFailed, "the attestation of template %s is of another one", t.ID).WithHint("somebody changed it; build a new template")
	}
	return statement, nil
}

func (b *Builder) discardRescan(ctx context.Context, templateID string) error {
	id := rescanID(templateID)
	if err := b.engine.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove the instance of a scan: %w", err)
	}
	if err := b.volumes.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete the volume of a scan: %w", err)
	}
	return nil
}

// rescan scans the running clone. Its owner gets the rights for it that it had during the build.
func (b *Builder) rescan(ctx context.Context, t *mayfly.Template, originals *proof.Originals) (*proof.Scanner, error) {
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	first, err := cluster.WaitReady(waiting, b.engine, rescanID(t.ID), t.Database, nil)
	if err != nil {
		return nil, fmt.Errorf("wait for the clone of template %s: %w", t.ID, err)
	}
	defer func() { _ = first.Close(context.WithoutCancel(ctx)) }()
	var report Report
	if err := json.Unmarshal(t.Report, &report); err != nil {
		return nil, fmt.Errorf("read the report of template %s: %w", t.ID, err)
	}
	target := &target{engine: b.engine, instance: rescanID(t.ID), database: t.Database, owner: t.Owner, password: rand.Text(), encoding: report.Source.Encoding}
	verifier, err := cluster.ScramVerifier(target.password)
	if err != nil {
		return nil, err
	}
	if err := execOne(ctx, first, "ALTER ROLE "+pgx.Identifier{t.Owner}.Sanitize()+" BYPASSRLS PASSWORD "+quoteLiteral(verifier)); err != nil {
		return nil, fmt.Errorf("let %s read the clone: %w", t.Owner, err)
	}
	admin, err := target.connectAdmin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	conn, err := target.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	scanner := proof.NewScanner(originals)
	if err := scanner.Rest(ctx, conn, admin, t.Owner); err != nil {
		return nil, err
	}
	return scanner, scanner.Catalog(ctx, admin, t.Major)
}

// Rescan scans a finished template again. CodeConflict if that is being done already.
func (s *Service) Rescan(ctx context.Context, templateID string) (*proof.Outcome, error) {
	t, err := s.store.Template(ctx, templateID)
	if err != nil {
		return nil, fmt.Errorf("read template %s: %w", templateID, err)
	}
	unlock, ok, err := s.store.TryLock(ctx, "rescan:"+templateID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, mayfly.Errorf(mayfly.CodeConflict, "template %s is being scanned already", templateID)
	}
	defer unlock()
	key, err := s.key(t.Project)
	if err != nil {
		return nil, fmt.Errorf("read the masking key of %s: %w", t.Project, err)
	}
	return s.builder.Rescan(ctx, t, key)
}
