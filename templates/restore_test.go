package templates

import (
	"bytes"
	"os"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

func TestMissingLocale(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL+`CREATE COLLATION public.finnish (provider = libc, locale = 'C.UTF-8'); CREATE INDEX ON public.people (email COLLATE public.finnish)`)
	data, err := os.ReadFile(b.archiveOf(t, endpoint, true))
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte("LOCALE = 'C.UTF-8'"), []byte("LOCALE = 'q.UTF-8'"))
	data = bytes.ReplaceAll(data, []byte("locale = 'C.UTF-8'"), []byte("locale = 'fi_FI.x'"))
	result := b.build(t, request(t, mayfly.Source{Archive: writeFile(t, data)}, peopleRules))
	if f := found(t, result, codeLocaleMissing, "database shop"); !strings.Contains(f.Cause, "q.UTF-8") {
		t.Errorf("the finding does not name the locale: %+v", f)
	}
	if f := found(t, result, codeCollationMissing, "collation public.finnish"); !strings.Contains(f.Done, "fi-FI") {
		t.Errorf("ICU's rules do not take the place of the locale: %+v", f)
	}
}

// TestPolicyOfUnknownRole restores a policy for a role that the preview's cluster does not have.
func TestPolicyOfUnknownRole(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE ROLE "Odd role @suffix@"; CREATE TABLE public.people (id int PRIMARY KEY, email text NOT NULL, filler text);
		ALTER TABLE public.people ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.people TO "Odd role @suffix@" USING (true)`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
	result := b.build(t, req)
	_, conn := b.clone(t, req.Template.ID, result.Image)
	if got := value(t, conn, `SELECT count(*) FROM pg_policies p JOIN pg_roles r ON r.rolname = ANY (p.roles) WHERE NOT r.rolcanlogin`); got != "1" {
		t.Errorf("%s policies are for a role that cannot log in; want 1", got)
	}
	if f := found(t, result, codeRoleCreated, ""); !strings.Contains(f.Object, "Odd role") {
		t.Errorf("the finding does not name the role: %+v", f)
	}
}

func TestDatabaseOptions(t *testing.T) {
	t.Parallel()
	for definition, want := range map[string]string{
		"CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'en_US.UTF-8';\n\n":                "ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'en_US.UTF-8'",
		"CREATE DATABASE \"a;b\" WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'C' TABLESPACE = \"my space\";\n": "ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'C'",
		"CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = fast;":                                                "ENCODING = 'UTF8'",
		"garbage": "ENCODING = 'UTF8' LOCALE = 'C.UTF-8'",
	} {
		toc := &archive.Archive{Entries: []archive.Entry{{Kind: "DATABASE", Definition: definition}}}
		if got := databaseOptions(toc); got != want {
			t.Errorf("databaseOptions(%q) = %q, want %q", definition, got, want)
		}
	}
}

func TestRefreshOrder(t *testing.T) {
	t.Parallel()
	// 1 reads the view 9, which reads 3; 2 reads 1; 3 and 4 are in a circle that only a damaged catalog could have.
	views := []matview{{relation: relation{"s", "a"}, oid: 1}, {relation: relation{"s", "b"}, oid: 2}, {relation: relation{"s", "c"}, oid: 3}, {relation: relation{"s", "d"}, oid: 4}}
	reads := map[uint32][]uint32{1: {9}, 9: {3}, 2: {1}, 3: {4}, 4: {3}}
	var order []string
	for _, v := range refreshOrder(views, reads) {
		order = append(order, v.name)
	}
	if got := strings.Join(order, " "); got != "d c a b" {
		t.Errorf("the order is %q; want d c a b", got)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	toc := &archive.Archive{Entries: []archive.Entry{
		{ID: 1, Kind: "SERVER", Tag: "s", Section: archive.SectionPreData, Definition: "x"},
		{ID: 2, Kind: "FOREIGN TABLE", Schema: "public", Tag: "f", Section: archive.SectionPreData, Definition: "x", Dependencies: []int{1}},
		{ID: 3, Kind: "VIEW", Schema: "public", Tag: "v", Section: archive.SectionPreData, Definition: "x", Dependencies: []int{2}},
		{ID: 4, Kind: "TABLE", Schema: "public", Tag: "t", Section: archive.SectionPreData, Definition: "x"},
		{ID: 5, Kind: "ACL", Schema: "public", Tag: "TABLE t", Section: archive.SectionPreData, Definition: "x", Dependencies: []int{4}},
		{ID: 6, Kind: "STATISTICS DATA", Schema: "public", Tag: "t", Section: archive.SectionData, Definition: "x", Dependencies: []int{4}},
		{ID: 7, Kind: "INDEX", Schema: "public", Tag: "i", Section: archive.SectionPostData, Definition: "x", Dependencies: []int{4}},
		{ID: 8, Kind: "MATERIALIZED VIEW DATA", Schema: "public", Tag: "m", Section: archive.SectionPostData, Definition: "x"},
	}}
	s := choose(toc, mayfly.TemplatePolicy{ForeignTables: mayfly.PolicyDrop})
	if len(s.preData) != 1 || s.preData[0].ID != 4 || len(s.postData) != 1 || s.postData[0].ID != 7 {
		t.Errorf("restored are %v and %v; want the table and the index", s.preData, s.postData)
	}
	if len(s.findings) != 5 || s.findings[2].Object != "view public.v" || !strings.Contains(s.findings[2].Cause, "f, which is left out") {
		t.Errorf("findings are %+v; want four objects that are left out, and the grants", s.findings)
	}
}
