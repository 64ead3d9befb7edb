package templates

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/archive"
)

// The definitions of a source hold values, too: in comments, in literals of functions and views, in defaults. They are
// rewritten before anything is restored, so that no catalog, no log and no WAL of the template ever has them.

// catalogMask rewrites entries.
type catalogMask struct {
	rules  sanitize.CatalogRules
	shaper *shaper
	find   func(string) []passage

	used     map[string]bool // objects of allowances that were needed
	masked   map[int]bool    // entries that were rewritten
	findings []Finding
	refused  []Finding // what stops the build
}

func newCatalogMask(rules sanitize.CatalogRules, key []byte) (*catalogMask, error) {
	f, err := newFinder()
	if err != nil {
		return nil, err
	}
	return &catalogMask{rules: rules, shaper: newShaper(key), find: f.find, used: map[string]bool{}, masked: map[int]bool{}}, nil
}

// maskCatalog rewrites what will be restored, or says what the rules have to decide. Comments are put aside: they are
// restored after the rows.
func (r *run) maskCatalog() error {
	m, err := newCatalogMask(r.req.Rules.Catalog(), r.req.Key)
	if err != nil {
		return err
	}
	r.catalogMask = m
	if m.rules.Comments == sanitize.CatalogDrop {
		r.chosen.preData = m.withoutComments(r.chosen.preData)
		r.chosen.postData = m.withoutComments(r.chosen.postData)
	}
	for _, entries := range [][]*archive.Entry{r.chosen.preData, r.chosen.postData} {
		for _, e := range entries {
			m.entry(e)
		}
	}
	r.target.masked = m.masked
	r.findAll(m.findings)
	r.findAll(m.refused)
	m.findings = nil
	isComment := func(e *archive.Entry) bool { return e.Kind == "COMMENT" }
	for _, e := range r.chosen.preData {
		if isComment(e) {
			r.chosen.comments = append(r.chosen.comments, e)
		}
	}
	r.chosen.preData = slices.DeleteFunc(r.chosen.preData, isComment)
	if err := m.refuse(); err != nil {
		return err
	}
	return m.unused(slices.Concat(r.chosen.comments, r.chosen.postData))
}

// action is what the rules say about an entry.
func (m *catalogMask) action(e *archive.Entry) sanitize.CatalogAction {
	if e.Kind == "COMMENT" {
		return m.rules.Comments
	}
	return m.rules.Literals
}

// withoutComments leaves out comments, but for those of extensions, which come with the image.
func (m *catalogMask) withoutComments(entries []*archive.Entry) []*archive.Entry {
	var kept []*archive.Entry
	count := int64(0)
	for _, e := range entries {
		if e.Kind == "COMMENT" {
			count++
			continue
		}
		kept = append(kept, e)
	}
	if count > 0 {
		m.findings = append(m.findings, Finding{
			Code: codeComments, Severity: SeverityInfo, Object: "comments", Cause: "the rules say catalog: {comments: drop}", Done: "left out", Count: count,
		})
	}
	return kept
}

// entry rewrites one entry as the rules say.
func (m *catalogMask) entry(e *archive.Entry) {
	action := m.action(e)
	if action == sanitize.CatalogKeep {
		return
	}
	d := &definition{kind: e.Kind, find: m.find, made: m.shaper.made}
	sql := d.rewrite(e.Definition)
	if len(d.masked)+len(d.stuck) == 0 {
		return
	}
	if m.allowed(object(e)) {
		return
	}
	if action == sanitize.CatalogRefuse {
		d.stuck = append(d.stuck, d.masked...)
	}
	if len(d.stuck) > 0 {
		m.refused = append(m.refused, m.refusal(e, d.stuck))
		return
	}
	e.Definition = sql
	m.masked[e.ID] = true
	m.findings = append(m.findings, m.replaced(e, d.masked))
}

// allowed reports whether the rules let an object stay as it is.
func (m *catalogMask) allowed(name string) bool {
	for _, a := range m.rules.Allow {
		if a.Object == name {
			m.used[name] = true
			return true
		}
	}
	return false
}

// name names an entry in findings. Names, too, may be values.
func (m *catalogMask) name(e *archive.Entry) string {
	d := &definition{find: m.find, made: m.shaper.made}
	return d.replace(object(e))
}

func (m *catalogMask) replaced(e *archive.Entry, what []string) Finding {
	f := Finding{
		Code: codeLiteralMasked, Severity: SeverityWarning, Object: m.name(e), Cause: "its definition holds " + kindsOf(what),
		Done:   "replaced by something made up of the same shape",
		Advice: "if the application needs the value, and it may be in a preview, name the object in the rules under catalog: {allow: …}",
		Count:  int64(len(what)),
	}
	if e.Kind == "COMMENT" {
		f.Code, f.Severity, f.Advice = codeCommentMasked, SeverityInfo, ""
		f.Cause = "it holds " + kindsOf(what)
	}
	return f
}

func (m *catalogMask) refusal(e *archive.Entry, what []string) Finding {
	return Finding{
		Code: codeCatalogValue, Severity: SeverityError, Object: m.name(e), Cause: "its definition holds " + kindsOf(what),
		Done:   "the template was not made",
		Advice: "change it in the source; if it may be in a preview, name the object in the rules under catalog: {allow: …}, with the reason",
		Count:  int64(len(what)),
	}
}

// kindsOf lists what was found, each once.
func kindsOf(what []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(what))), ", ")
}

// refusedShown is how many objects an error names; the report has all.
const refusedShown = 5

// refuse ends a build whose rules have to decide about something.
func (m *catalogMask) refuse() error {
	if len(m.refused) == 0 {
		return nil
	}
	var lines, allow []string
	for _, f := range m.refused[:min(refusedShown, len(m.refused))] {
		lines = append(lines, f.Object+": "+f.Cause)
		allow = append(allow, fmt.Sprintf("{object: %q, reason: …}", f.Object))
	}
	if more := len(m.refused) - refusedShown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more; the report has all", more))
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "the schema holds values that cannot be replaced there: %s", strings.Join(lines, "; ")).
		WithHint("change them in the source; where they may be in a preview, add to the rules: catalog: {allow: [%s]}", strings.Join(allow, ", "))
}

// unused refuses allowances that cover nothing, but for those of entries that are still looked at.
func (m *catalogMask) unused(open []*archive.Entry) error {
	var lines []string
	for _, a := range m.rules.Allow {
		if !m.used[a.Object] && !slices.ContainsFunc(open, func(e *archive.Entry) bool { return object(e) == a.Object }) {
			lines = append(lines, fmt.Sprintf("%s: nothing is recognised in %s", a.Rule, a.Object))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "allowances of the rules cover nothing: %s", strings.Join(lines, "; ")).
		WithHint("remove them: an allowance that is not needed hides what comes later")
}

// maskedError is about a definition that PostgreSQL refuses after it was rewritten. The server's message may quote it.
func maskedError(e *archive.Entry, err error) error {
	var server *pgconn.PgError
	errors.As(err, &server)
	return mayfly.Errorf(mayfly.CodeInvalid, "%s cannot be restored: something in its definition was replaced, and then PostgreSQL refuses it (SQLSTATE %s)", object(e), server.Code).
		WithHint("change it in the source; if it may be in a preview as it is, add to the rules: catalog: {allow: [{object: %q, reason: …}]}", object(e))
}
