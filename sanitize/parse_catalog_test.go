package sanitize_test

import (
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

func TestParseCatalog(t *testing.T) {
	t.Parallel()
	rules, err := sanitize.Parse("s.yaml", []byte("version: 1\ncatalog:\n  comments: drop\n  allow:\n    - {object: function public.f(), reason: support address}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := rules.Catalog()
	want := sanitize.CatalogAllowance{Object: "function public.f()", Reason: "support address", Rule: "s.yaml:5:7"}
	if c.Comments != sanitize.CatalogDrop || c.Literals != sanitize.CatalogMask || len(c.Allow) != 1 || c.Allow[0] != want {
		t.Errorf("the rules say %+v", c)
	}
	for text, message := range map[string]string{
		"{comment: drop}":                     `unknown key "comment"; did you mean "comments"?`,
		"{comments: refuse}":                  `unknown comments "refuse"`,
		"{literals: drop}":                    `unknown literals "drop"`,
		"{allow: {object: a}}":                "allow must be a list",
		"{allow: [{object: a}]}":              "has no reason",
		"{allow: [{object: a, reason: ' '}]}": "reason is empty",
		"{allow: [{object: a, reason: b}, {object: a, reason: c}]}": `"a" is there twice`,
		"keep": "catalog must be a mapping",
	} {
		_, err := sanitize.Parse("s.yaml", []byte("version: 1\ncatalog: "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), message) || !strings.HasPrefix(err.Error(), "s.yaml:2:") {
			t.Errorf("%s: %v; want %q with its place", text, err, message)
		}
	}
}
