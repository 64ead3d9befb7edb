package templates

import (
	"context"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates/archive"
)

// Which values are originals of masked columns is known when the rows were read. What is restored after that, comments
// among it, is looked at again; what was restored before is looked at by the proof, which can only refuse.

// afterRows ends the recording of originals, takes them out of what is not restored yet, and restores the comments.
func (r *run) afterRows(ctx context.Context) (err error) {
	if r.proof.originals, err = r.proof.recorder.Finish(); err != nil {
		return err
	}
	m := r.catalogMask
	entries := slices.Concat(r.chosen.comments, r.chosen.postData)
	if err := m.originals(r.proof.originals, entries); err != nil {
		return err
	}
	r.findAll(m.findings)
	if err := m.unused(nil); err != nil {
		return err
	}
	restorer, err := r.target.restorer(ctx)
	if err != nil {
		return err
	}
	defer restorer.close(ctx)
	for _, e := range r.chosen.comments {
		if err := restorer.restore(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// originals replaces literals and comments that hold originals.
func (m *catalogMask) originals(o *proof.Originals, entries []*archive.Entry) error {
	texts, numbers := proof.NewTexts(o), map[string]int{}
	collect := func(text string) []passage {
		if _, seen := numbers[text]; !seen {
			numbers[text] = texts.Add(text)
		}
		return nil
	}
	var open []*archive.Entry
	for _, e := range entries {
		if m.action(e) != sanitize.CatalogMask {
			continue
		}
		open = append(open, e)
		(&definition{kind: e.Kind, find: collect, made: m.shaper.made}).rewrite(e.Definition)
	}
	held, err := texts.Holding()
	if err != nil {
		return err
	}
	find := func(text string) []passage {
		if of := held[numbers[text]]; len(of) > 0 {
			return []passage{{0, len(text), "a value of " + strings.Join(of, " and ")}}
		}
		return nil
	}
	for _, e := range open {
		d := &definition{kind: e.Kind, find: find, made: m.shaper.made}
		sql := d.rewrite(e.Definition)
		if len(d.masked) == 0 || m.allowed(object(e)) { // the proof refuses what is stuck
			continue
		}
		e.Definition = sql
		m.masked[e.ID] = true
		m.findings = append(m.findings, m.replaced(e, d.masked))
	}
	return nil
}
