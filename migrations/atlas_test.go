package migrations

import (
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

// atlasDirectory has hashes and statements as ariga.io/atlas v0.32.1 (LocalDir.Checksum, Scanner.Scan) computes them.
func atlasDirectory() (files []File, statements map[string][]string) {
	files = []File{
		file("m/1_a.sql", "-- atlas:delimiter \\n\\n\\n\n\nCREATE TABLE a (id int);\n\n\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (2);\n\n\n-- c\n"),
		file("m/2_b.sql", "-- atlas:txmode none\n\nCREATE INDEX CONCURRENTLY i ON a (id);\n-- x; y\nSELECT $$a;b$$, (1);\n"),
		file("m/3_c.sql", "-- atlas:delimiter --end\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;\n--end\nSELECT 1;\n--end\n"),
		file("m/4_d.sql", "-- atlas:sum ignore\nSELECT 1;\n"),
		file("m/atlas.sum", "h1:zZauBgQZ0uZw4/ksx+zwbHRWXbUwyXtIhYMj4kY1f/8=\n1_a.sql h1:PG1wD9X7ckqR/lZGTR4tnWCtnWqm0AGltBj7neKuIlA=\n"+
			"2_b.sql h1:/n1Q5IzCBxXMw84eAvCNEMaAYTm6kRaTAXkvnw+h0oo=\n3_c.sql h1:NqU5VexHYZlhN09/LWvmnybTJIMiRWkEv6kAvPRpqDs=\n"),
	}
	return files, map[string][]string{
		"m/1_a.sql": {"CREATE TABLE a (id int);", "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (2);"},
		"m/2_b.sql": {"CREATE INDEX CONCURRENTLY i ON a (id)", "SELECT $$a;b$$, (1)"},
		"m/3_c.sql": {"CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;", "SELECT 1;"},
		"m/4_d.sql": {"SELECT 1"},
	}
}

func atlasSettings() mayfly.MigrationSettings {
	return mayfly.MigrationSettings{Tool: Atlas, Path: "m"}
}

func TestAtlasReadsADirectory(t *testing.T) {
	t.Parallel()
	files, want := atlasDirectory()
	history, err := Parse(atlasSettings(), files)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := history.Pending(State{})
	if err != nil || len(plan.Pending) != 4 || !plan.Pending[1].NoTransaction || plan.Pending[0].NoTransaction {
		t.Fatalf("pending %+v, %v", plan.Pending, err)
	}
	for _, m := range plan.Pending {
		s, err := atlas{}.script(m)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range s.queries {
			got = append(got, s.text[q.begin:q.end])
		}
		if strings.Join(got, "|") != strings.Join(want[m.file()], "|") {
			t.Errorf("%s is cut into %q, want %q", m.file(), got, want[m.file()])
		}
	}
}

func TestAtlasSumIsChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func([]File) []File
		want   string
	}{
		"edited":   {func(f []File) []File { f[1].Content = append(f[1].Content, ' '); return f }, "2_b.sql was edited"},
		"added":    {func(f []File) []File { return append(f, file("m/25_c.sql", "SELECT 1")) }, "25_c.sql was added"},
		"at end":   {func(f []File) []File { return append(f, file("m/9.sql", "SELECT 1")) }, "9.sql was added"},
		"removed":  {func(f []File) []File { return append(f[:1:1], f[2:]...) }, "2_b.sql was removed"},
		"no sum":   {func(f []File) []File { return f[:4] }, "the directory has no atlas.sum"},
		"sum":      {func(f []File) []File { f[4].Content[5]++; return f }, "m/atlas.sum:1: the first line"},
		"conflict": {func(f []File) []File { f[4].Content = append(f[4].Content, "<<<<<<< HEAD\n"...); return f }, "m/atlas.sum:5: "},
	} {
		files, _ := atlasDirectory()
		history, err := Parse(atlasSettings(), test.change(files))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := history.Pending(State{}); err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "m/atlas.sum:5 is", "m/atlas.sum:5: is"), test.want) {
			t.Errorf("%s gave %v, want %q", name, err, test.want)
		}
	}
}

func TestAtlasOrderAndCheckpoints(t *testing.T) {
	t.Parallel()
	list := []File{
		file("m/1_a.sql", "SELECT 1;"), file("m/2_b.sql", "SELECT 2;"), file("m/3_checkpoint.sql", "-- atlas:checkpoint\n\nSELECT 3;"), file("m/4_d.sql", "SELECT 4;"),
	}
	hashes := atlasHashes(list)
	lines, text := []atlasSumLine{}, ""
	for _, f := range list {
		name := strings.TrimPrefix(f.Path, "m/")
		lines, text = append(lines, atlasSumLine{name, hashes[f.Path]}), text+name+" h1:"+hashes[f.Path]+"\n"
	}
	history, err := Parse(atlasSettings(), append(list, file("m/atlas.sum", "h1:"+atlasSum(lines)+"\n"+text)))
	if err != nil {
		t.Fatal(err)
	}
	applied := func(versions ...string) State {
		s := State{Exists: true}
		for _, v := range versions {
			s.Applied, s.Current = append(s.Applied, Applied{Version: v}), v
		}
		return s
	}
	for _, test := range []struct {
		state State
		want  string
		fails bool
	}{
		{State{}, "3 4", false},
		{applied("1"), "2 4", false},
		{applied("2"), "4", false}, // 1 is older than the first revision
		{applied("3"), "4", false},
		{applied("1", "4"), "", true},
	} {
		plan, err := history.Pending(test.state)
		if got := versions(plan.Pending); got != test.want || (err != nil) != test.fails {
			t.Errorf("with %v applied, %q is pending, %v; want %q", test.state.Applied, got, err, test.want)
		}
	}
}
