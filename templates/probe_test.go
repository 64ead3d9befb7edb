package templates

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/sanitize"
)

const probedSchema = `
CREATE DOMAIN short_code AS text CHECK (VALUE ~ '^[A-Z]{3}-[0-9]{4}$');
CREATE DOMAIN shorter_code AS short_code CHECK (length(VALUE) = 8);
CREATE DOMAIN words AS text[] CHECK (cardinality(VALUE) < 5);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE place AS (street varchar(30), codes short_code[], moods mood[]);
CREATE TYPE span AS RANGE (subtype = timestamptz);
CREATE TABLE person (
	id bigint PRIMARY KEY,
	code shorter_code,
	tags words,
	number int CHECK (number BETWEEN 1 AND 5),
	kind text NOT NULL CHECK (kind IN ('person', 'company')),
	email text CHECK (email LIKE '%@%'),
	vat text CONSTRAINT company_has_vat CHECK (kind <> 'company' OR vat IS NOT NULL),
	started date, ended date, CHECK (started <= ended),
	tenant int NOT NULL, name text NOT NULL, UNIQUE (tenant, name),
	places place[], spans span, names varchar(7)[], deleted boolean,
	EXCLUDE USING gist (spans WITH &&)
);
CREATE UNIQUE INDEX partial ON person (vat) WHERE NOT deleted;
`

// probedRules classify the table with one rule replaced.
func probedRules(column, spec string) string {
	var out strings.Builder
	out.WriteString("version: 1\ntables:\n  public.person:\n    columns:\n")
	for _, name := range []string{"id", "code", "tags", "number", "kind", "email", "vat", "started", "ended", "tenant", "name", "places", "spans", "names", "deleted"} {
		use := "keep"
		if name == column {
			use = spec
		}
		fmt.Fprintf(&out, "      %s: %s\n", name, use)
	}
	return out.String()
}

// TestRulesThatConstraintsRefuse binds rules to a real catalog and asks the real constraints.
func TestRulesThatConstraintsRefuse(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	conn := server.Connect(t, server.Database(t))
	if err := execAll(t.Context(), conn, probedSchema); err != nil {
		t.Fatal(err)
	}
	if err := execAll(t.Context(), conn, "SET search_path = ''"); err != nil {
		t.Fatal(err)
	}
	tables, err := readCatalog(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	try := func(column, spec string) error {
		rules, err := sanitize.Parse("rules.yaml", []byte(probedRules(column, spec)))
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		plan, err := rules.Plan(tables.maskingTables(), []byte("a masking key of 32 bytes, tests"))
		if err != nil {
			return err
		}
		for _, p := range plan.Probes() {
			before, err := verdicts(t.Context(), conn, &p, p.Before)
			if err != nil {
				t.Fatalf("%s: %v", p.String(), err)
			}
			after, err := verdicts(t.Context(), conn, &p, p.After)
			if err != nil {
				t.Fatalf("%s: %v", p.String(), err)
			}
			if err := p.Judge(before, after); err != nil {
				return err
			}
		}
		return nil
	}
	for _, c := range []struct{ column, spec, want string }{
		{"code", "redact", "redact for public.person.code: results can break the constraint public.shorter_code of public.person"},
		{"code", "{mask: static, value: abc}", "can break the constraint public.shorter_code"},
		{"code", "{mask: static, value: ABC-1234}", ""},
		{"tags", "redact", ""},
		{"tags", "{mask: static, value: '{a,b,c,d,e}'}", "can break the constraint public.words"},
		{"number", "number", "can break the constraint person_number_check of public.person, ((number >= 1) AND (number <= 5))"},
		{"kind", "redact", "can break the constraint person_kind_check"},
		{"email", "email", ""},
		{"email", "redact", "can break the constraint person_email_check"},
		{"vat", "token", ""},
		{"vat", `"null"`, "can break the constraint company_has_vat"},
		{"started", "{mask: date_shift, by: value}", "can break the constraint person_check"},
		{"name", "person_name", "person_name cannot be used for public.person.name: it is in the unique index person_tenant_name_key (tenant, name), and different values could get the same result"},
		{"name", "token", ""},
		{"deleted", "{mask: static, value: f}", "the condition of the unique index partial reads it"},
		{"places", "{mask: composite, fields: {street: street_address, codes: keep, moods: enum_label}}", ""},
		{"places", "{mask: composite, fields: {street: street_address, codes: keep}}", "field moods of type public.place has no rule"},
		{"places", "{mask: composite, fields: {street: email, codes: keep, moods: phone}}", "composite cannot be used for public.person.places: field moods: "},
		{"spans", "date_shift", ""},
		{"spans", "{mask: date_shift, by: value}", "does not keep the order of the bounds"},
		{"names", "email", "the column takes 7 characters; the shortest address has 20"},
	} {
		err := try(c.column, c.spec)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %s is refused: %v (%s)", c.column, c.spec, err, mayfly.ErrorHint(err))
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || mayfly.ErrorCode(err) != mayfly.CodeInvalid):
			t.Errorf("%s: %s: %v, want %s", c.column, c.spec, err, c.want)
		case err != nil && mayfly.ErrorHint(err) == "":
			t.Errorf("%s: %s: no hint: %v", c.column, c.spec, err)
		}
	}
}
