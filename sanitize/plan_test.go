package sanitize_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

// shopTables are tables as a shop has them.
func shopTables() []sanitize.Table {
	return []sanitize.Table{
		{Schema: "public", Name: "customers", Columns: []sanitize.Column{
			{Name: "id", Type: "bigint", NotNull: true, PrimaryKey: true, Unique: true},
			{Name: "email", Type: "character varying(120)", MaxLength: 120, NotNull: true, Unique: true},
			{Name: "name", Type: "text", NotNull: true},
			{Name: "phone", Type: "text"},
			{Name: "notes", Type: "text"},
			{Name: "tier", Type: "public.tier", EnumLabels: []string{"free", "paid"}},
			{Name: "preferences", Type: "jsonb"},
			{Name: "search", Type: "tsvector", Generated: true},
			{Name: "created_at", Type: "timestamp with time zone", NotNull: true},
		}},
		{Schema: "public", Name: "orders", Columns: []sanitize.Column{
			{Name: "id", Type: "bigint", NotNull: true, PrimaryKey: true, Unique: true},
			{Name: "customer_id", Type: "bigint", NotNull: true, References: []string{"public.customers.id"}},
			{Name: "customer_email", Type: "character varying(120)", MaxLength: 120, References: []string{"public.customers.email"}},
			{Name: "total", Type: "numeric(12,2)"},
			{Name: "code", Type: "character varying(10)", MaxLength: 10, Unique: true},
			{Name: "ordered_on", Type: "date"},
		}},
		{Schema: "public", Name: "events_2024", PartitionOf: "public.events", Columns: []sanitize.Column{
			{Name: "at", Type: "date", NotNull: true, PartitionKey: true},
			{Name: "ip", Type: "inet"},
		}},
		{Schema: "public", Name: "events_2025", PartitionOf: "public.events", Columns: []sanitize.Column{
			{Name: "at", Type: "date", NotNull: true, PartitionKey: true},
			{Name: "ip", Type: "inet"},
		}},
		{Schema: "public", Name: "audit", Columns: []sanitize.Column{{Name: "row", Type: "text"}}},
	}
}

const shopRules = `
version: 1
tables:
  public.customers:
    columns:
      email: {mask: email, domain: customer_email}
      name: person_name
      phone: phone
      notes: redact
      preferences:
        mask: json
        default: keep
        paths:
          $.email: {mask: email, domain: customer_email}
  public.orders:
    columns:
      customer_email: {mask: email, domain: customer_email}
      code: keep
      total: number
  public.events:
    columns:
      ip: {mask: inet, network: keep}
  public.audit: {rows: none}
defaults:
  - match: "*.*.created_at"
    mask: keep
types:
  key: keep
  enum: keep
  date: keep
`

func TestPlanOfAShop(t *testing.T) {
	t.Parallel()
	plan := planFor(t, shopRules, shopTables()...)
	var got strings.Builder
	for _, table := range plan.Coverage() {
		fmt.Fprintf(&got, "%s.%s rows %t\n", table.Schema, table.Table, table.Rows)
		for _, c := range table.Columns {
			fmt.Fprintf(&got, "  %s %s: %s %q %s\n", c.Column, c.Type, c.Transformer, c.Domain, c.Rule)
		}
	}
	golden(t, "coverage.golden", got.String())
	if plan.Table("public", "customers").Passthrough() || plan.Table("public", "events_2024").Passthrough() {
		t.Error("a table with masked columns says that it passes everything through")
	}
	masked := maskText(t, plan.Table("public", "customers"), "1\tjane@corp.example\tJane\t\\N\t\\N\tpaid\t{\"email\": \"jane@corp.example\"}\t2024-01-01 00:00:00+00\n")
	email := strings.Split(masked, "\t")[1]
	if !strings.Contains(masked, `{"email": "`+email+`"}`) {
		t.Errorf("the address in the document differs from the one in the column: %s", masked)
	}
	if order := maskText(t, plan.Table("public", "orders"), "1\t1\tjane@corp.example\t1.00\tX\t2024-01-01\n"); !strings.Contains(order, email) {
		t.Errorf("the foreign key would not hold: %s has no %s", order, email)
	}
}

func TestTheMostExactRuleWins(t *testing.T) {
	t.Parallel()
	table := sanitize.Table{Schema: "public", Name: "t", Columns: []sanitize.Column{
		{Name: "a", Type: "text"}, {Name: "b", Type: "text"}, {Name: "c", Type: "text"}, {Name: "id", Type: "uuid", PrimaryKey: true}, {Name: "uu", Type: "uuid"},
		{Name: "vv", Type: "character varying(9)", MaxLength: 9},
	}}
	plan := planFor(t, `
version: 1
tables: {public.t: {columns: {a: email}}}
defaults:
  - {match: "public.t.?", mask: username}
  - {match: "*.*.b", mask: city}
types: {text: redact, uuid: token, key: keep, varchar: city}
`, table)
	var got []string
	for _, c := range plan.Table("public", "t").Columns() {
		got = append(got, c.Column+"="+c.Transformer)
	}
	if want := []string{"a=email", "b=username", "c=username", "id=keep", "uu=token", "vv=city"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestProposedRulesAreAccepted(t *testing.T) {
	t.Parallel()
	draft := sanitize.Propose(shopTables())
	golden(t, "proposed.golden", string(draft))
	rules, err := sanitize.Parse("draft.yaml", draft)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Plan(shopTables(), testKey); err != nil {
		t.Errorf("%v (%s)", err, mayfly.ErrorHint(err))
	}
}

func TestProposalsFitOddColumns(t *testing.T) {
	t.Parallel()
	var columns []sanitize.Column
	types := []string{
		"text", "character varying(5)", "character(2)", "citext", "name", "text[]", "integer", "smallint", "numeric", "real", "money", "boolean", "date",
		"timestamp with time zone", "interval", "uuid", "json", "jsonb", "inet", "cidr", "macaddr", "bytea", "xml", "tsvector", "point", "int4range", "integer[]", "hstore", "public.geometry(Point,4326)",
	}
	names := []string{"email", "phone", "name", "first_name", "password_hash", "notes", "street", "city", "zip", "ip", "website", "company", "birth_date", "salary", "user_id", "Odd Name: \"x\"", "on", "é"}
	for _, typ := range types {
		for _, name := range names {
			for flags := range 8 {
				c := sanitize.Column{Type: typ, NotNull: flags&1 > 0, Unique: flags&2 > 0, PartitionKey: flags&4 > 0}
				fmt.Sscanf(typ, "character varying(%d)", &c.MaxLength)
				fmt.Sscanf(typ, "character(%d)", &c.MaxLength)
				c.Name = fmt.Sprintf("%s %d %s", name, flags, typ)
				columns = append(columns, c)
			}
		}
	}
	tables := []sanitize.Table{{Schema: "public", Name: "odd table", Columns: columns}}
	rules, err := sanitize.Parse("draft.yaml", sanitize.Propose(tables))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Plan(tables, testKey); err != nil {
		t.Error(err)
	}
}

// planRefusals are rules that do not fit shopTables.
func planRefusals() []struct{ name, rules string } {
	// with puts lines in front of the rules that are right, so that each case has one mistake.
	replace := func(old, with string) string {
		if !strings.Contains(shopRules, old) {
			panic("the rules have no " + old)
		}
		return strings.Replace(shopRules, old, with, 1)
	}
	return []struct{ name, rules string }{
		{"nothing is classified", "version: 1\n"},
		{"one column is not classified", replace("      notes: redact\n", "")},
		{"a partition's column is not classified", replace("  public.events:\n    columns:\n      ip: {mask: inet, network: keep}\n", "")},
		{"an unknown table", replace("public.audit:", "public.audits:")},
		{"an unknown column", replace("      phone: phone", "      phome: phone")},
		{"a rule for a generated column", replace("      phone: phone", "      phone: phone\n      search: keep")},
		{"a pattern that matches nothing", replace("*.*.created_at", "*.*.create_at")},
		{"an unknown type", replace("  date: keep", "  date: keep\n  public.mood: redact")},
		{"phone on a number", replace("      total: number", "      total: phone")},
		{"null in a NOT NULL column", replace("      name: person_name", "      name: null")},
		{"names in a unique column", replace("      code: keep", "      code: company")},
		{"a token that is too short for a unique column", replace("      code: keep", "      code: {mask: token, length: 9}")},
		{"an address that does not fit", replace("      code: keep", "      code: email")},
		{"a static value that is too long", replace("      code: keep", "      code: {mask: static, value: 12345678901}")},
		{"a static value in a unique column", replace("      code: keep", "      code: {mask: static, value: x}")},
		{"a static value that is no number", replace("      total: number", "      total: {mask: static, value: much}")},
		{"a static value that is no date", replace("      code: keep", "      code: keep\n      ordered_on: {mask: static, value: today}")},
		{"a static value that is no label", replace("      phone: phone", "      phone: phone\n      tier: {mask: static, value: gold}")},
		{"a static value that is no JSON", replace("      preferences:\n        mask: json\n        default: keep\n        paths:\n          $.email: {mask: email, domain: customer_email}\n", "      preferences: {mask: static, value: '{'}\n")},
		{"a token with a length on uuid", "version: 1\ntables: {public.u: {columns: {u: {mask: token, length: 9}}}}"},
		{"a token that is longer than the column", replace("      code: keep", "      code: {mask: token, length: 11}")},
		{"a token with more digits than there are", replace("      notes: redact", "      notes: {mask: token, length: 60}")},
		{"json in a short column", replace("      code: keep", "      code: json")},
		{"a partition key", replace("      ip: {mask: inet, network: keep}", "      ip: {mask: inet, network: keep}\n      at: date_shift")},
		{"a foreign key with another domain", replace("      customer_email: {mask: email, domain: customer_email}", "      customer_email: email")},
		{"a foreign key with another transformer", replace("      customer_email: {mask: email, domain: customer_email}", "      customer_email: token")},
		{"a foreign key of which one side is kept", replace("      customer_email: {mask: email, domain: customer_email}", "      customer_email: keep")},
		{"a foreign key to a table without rows", "version: 1\ntables:\n  public.customers: {rows: none}\n" + shopRules[strings.Index(shopRules, "  public.orders:"):]},
		{"a domain with two transformers", replace("      phone: phone", "      phone: {mask: token, domain: customer_email}")},
		{"a domain with two transformers, one inside json", replace("          $.email: {mask: email, domain: customer_email}", "          $.email: {mask: token, domain: customer_email}")},
		{"several mistakes", replace("      notes: redact\n", "      notes: inet\n      nites: redact\n      total: keep\n")},
	}
}

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, c := range planRefusals() {
		tables := shopTables()
		if strings.Contains(c.rules, "public.u:") {
			tables = []sanitize.Table{{Schema: "public", Name: "u", Columns: []sanitize.Column{{Name: "u", Type: "uuid", PrimaryKey: true}}}}
		}
		plan, err := parse(t, c.rules).Plan(tables, testKey)
		if err == nil || plan != nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		fmt.Fprintf(&out, "== %s\n%s: %v\n-- %s\n", c.name, mayfly.ErrorCode(err), err, strings.TrimSpace(mayfly.ErrorHint(err)))
	}
	golden(t, "plan_refusals.golden", out.String())
}

// TestABucketHoldsMoreThanOneNumber: another width would leave every number as it is, and the column would count as masked.
func TestABucketHoldsMoreThanOneNumber(t *testing.T) {
	t.Parallel()
	rules := parse(t, "version: 1\ntables:\n  public.n: {columns: {n: {mask: bucket, width: 1}}}\n")
	_, err := rules.Plan([]sanitize.Table{{Schema: "public", Name: "n", Columns: []sanitize.Column{{Name: "n", Type: "bigint"}}}}, testKey)
	if mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), "with a width of 1 every number stays as it is") {
		t.Errorf("a bucket of one number: %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	rules := parse(t, "version: 1\n")
	key := sanitize.GenerateKey()
	if _, err := rules.Plan(nil, key); err != nil {
		t.Errorf("a generated key: %v", err)
	}
	if string(key) == string(sanitize.GenerateKey()) {
		t.Error("two generated keys are equal")
	}
	for name, bad := range map[string][]byte{"none": nil, "short": key[:31], "one byte repeated": make([]byte, 64)} {
		_, err := rules.Plan(nil, bad)
		if mayfly.ErrorCode(err) != mayfly.CodeInvalid || mayfly.ErrorHint(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, mayfly.ErrorHint(err))
		}
		if err != nil && len(bad) > 0 && strings.Contains(err.Error(), string(bad)) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}
