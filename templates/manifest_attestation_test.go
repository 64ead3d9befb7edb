package templates_test

import (
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates"
)

func TestTheTextOfAStatementNamesWhatIsNotProved(t *testing.T) {
	t.Parallel()
	column := func(name, transformer string, class proof.Class) proof.Covered {
		return proof.Covered{Schema: "public", Table: "notes", ColumnPlan: sanitize.ColumnPlan{Column: name, Transformer: transformer}, Masked: &proof.Masked{Class: class}}
	}
	var b strings.Builder
	err := templates.WriteStatement(&b, &proof.Statement{Coverage: []proof.Covered{
		column("body", "scrub", proof.ClassPassages), column("tier", "shuffle", proof.ClassRows), column("email", "email", proof.ClassOwn),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Not proved: public.notes.body (scrub): free text", "Not proved: public.notes.tier (shuffle): holds the source's own values"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "Not proved: public.notes.email") {
		t.Errorf("a column that was proved is said not to be:\n%s", b.String())
	}
}
