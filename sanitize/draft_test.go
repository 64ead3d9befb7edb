package sanitize_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

// draftTables are tables with keys of all kinds, in several languages.
func draftTables() []sanitize.Table {
	customer := tableOf("kunden", "id bigint", "Vorname text", "nachname text", "e_mail character varying(60)", "handynummer text", "geburtsdatum date", "bemerkungen text",
		"status text", "internal_code text", "kontakt jsonb", "tags text[]", "last_ip inet", "api_key text", "anything text", "plz character varying(5)", "gehalt numeric(10,2)")
	customer.Columns[0].PrimaryKey, customer.Columns[0].Unique, customer.Columns[0].NotNull = true, true, true
	customer.Columns[3].MaxLength, customer.Columns[3].Unique, customer.Columns[14].MaxLength = 60, true, 5
	account := tableOf("accounts", "login text", "owner_login text", "tenant integer", "name text", "slug text")
	account.Columns[0].PrimaryKey, account.Columns[0].Unique, account.Columns[0].NotNull = true, true, true
	account.Columns[1].References = []string{"public.accounts.login"}
	account.Uniques = []sanitize.Unique{{Name: "accounts_tenant_name_key", Columns: []string{"tenant", "name"}}}
	genre := tableOf("genre", "genre_id integer", "name character varying(120)")
	genre.Columns[0].PrimaryKey, genre.Columns[0].Unique = true, true
	return []sanitize.Table{customer, account, genre}
}

// filledDraft is a draft that saw rows of draftTables.
func filledDraft(t *testing.T) *sanitize.Draft {
	t.Helper()
	d := sanitize.NewDraft(draftTables())
	add := func(table, row string) {
		t.Helper()
		if err := d.AddRow("public", table, []byte(row)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		add("kunden", fmt.Sprintf("%d\tOttilie\tPlanted%d\tottilie%d@planted.example\t+49 170 12345%02d\t1984-02-29\tCall ottilie%d@planted.example back\tactive\tX%d\t"+
			`{"contact": {"mail": "ottilie%d@planted.example", "visits": %d}, "theme": "dark", "ok": true}`+"\t{red,\"planted text\"}\t192.0.2.%d\tsk_live_0123456789abcdef%d\tottilie%d@planted.example\t10115\t4711.00",
			i, i, i, i, i, i, i, i, i, i, i))
		add("accounts", fmt.Sprintf("planted%d\tplanted%d\t%d\tOttilie Planted\tslug-%d", i, i, i, i))
		add("genre", fmt.Sprintf("%d\tRock", i))
	}
	return d
}

func TestDraftIsAccepted(t *testing.T) {
	t.Parallel()
	rules, suggestions, err := filledDraft(t).Write("sanitize.yaml", "Rules for a test", nil, testKey)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "draft.golden", string(rules))
	parsed, err := sanitize.Parse("sanitize.yaml", rules)
	if err != nil {
		t.Fatalf("%v\n%s", err, rules)
	}
	if _, err := parsed.Plan(draftTables(), testKey); err != nil {
		t.Errorf("the draft is refused: %v", err)
	}
	if n := len(draftTables()[0].Columns) + len(draftTables()[1].Columns) + len(draftTables()[2].Columns); len(suggestions) != n {
		t.Errorf("%d suggestions for %d columns", len(suggestions), n)
	}
	if text := strings.ToLower(string(rules)) + fmt.Sprint(suggestions); strings.Contains(text, "planted") || strings.Contains(text, "4711") || strings.Contains(text, "ottilie") {
		t.Errorf("the draft shows an original:\n%s", rules)
	}
}

func TestDraftAddsToRules(t *testing.T) {
	t.Parallel()
	for name, existing := range map[string]string{
		"block":     "version: 1\n\n# mine\ntables:\n  public.kunden:\n    columns:\n      id: keep # yes\n      # a comment\n\n  public.genre: {rows: none}\n\ntypes:\n  date: keep\n",
		"flow":      "version: 1\ntables:\n  public.kunden: {columns: {id: keep, Vorname: \"null\"}}\n",
		"no tables": "version: 1\ndefaults:\n  - match: \"public.genre.*\"\n    mask: keep\n",
		"only rows": "version: 1\ntables:\n    public.kunden:\n        rows: {where: id > 0}\ntypes: {date: keep}",
		"wide":      "version: 1\ntables:\n    public.genre:\n        columns:\n            genre_id: keep\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules, suggestions, err := filledDraft(t).Write("sanitize.yaml", "", []byte(existing), testKey)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := sanitize.Parse("sanitize.yaml", rules)
			if err != nil {
				t.Fatalf("%v\n%s", err, rules)
			}
			if _, err := parsed.Plan(draftTables(), testKey); err != nil {
				t.Errorf("refused: %v\n%s", err, rules)
			}
			for line := range strings.Lines(existing) {
				if line = strings.TrimRight(line, "}\n"); !strings.Contains(string(rules), line) {
					t.Errorf("the line %q is gone:\n%s", line, rules)
				}
			}
			again, more, err := filledDraft(t).Write("sanitize.yaml", "", rules, testKey)
			if err != nil || string(again) != string(rules) || len(more) != 0 || len(suggestions) == 0 {
				t.Errorf("nothing was left to add, but %d were: %v", len(more), err)
			}
		})
	}
}

func TestDraftRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	d := filledDraft(t)
	for existing, want := range map[string]string{
		"version: 1\ntables: {public.kunden: {columns: {id: keep}}}\n": "lines cannot be added",
		"version: 1\ntables:\n  public.gone:\n    rows: none\n":        "public.gone is not in the source",
		"version: 2\n": "version",
	} {
		if _, _, err := d.Write("sanitize.yaml", "", []byte(existing), testKey); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", existing, err, want)
		}
	}
	if err := d.AddRow("public", "genre", []byte("1")); err == nil {
		t.Error("a row with too few fields was taken")
	}
	if err := d.AddRow("public", "other", nil); err == nil {
		t.Error("a row of another table was taken")
	}
}
