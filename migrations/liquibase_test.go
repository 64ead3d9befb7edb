package migrations

import (
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

const liquibaseStart = "--liquibase formatted sql\n"

func TestLiquibaseRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ path, text, want string }{
		"not formatted":      {"db/a.sql", "SELECT 1;", "db/a.sql:1: the file is not formatted SQL"},
		"no SQL":             {"db/a.sql", liquibaseStart + "--changeset a:1\n--rollback x\n", "db/a.sql:2: the changeset a:1 has no SQL"},
		"no id":              {"db/a.sql", liquibaseStart + "--changeset a\nSELECT 1;", "db/a.sql:2: the line is not"},
		"property":           {"db/a.sql", liquibaseStart + "--property name=a value=b\n", "db/a.sql:2: properties"},
		"flag":               {"db/a.sql", liquibaseStart + "--changeset a:1 runOnChange:perhaps\nSELECT 1;", "runOnChange:perhaps"},
		"precondition":       {"db/a.sql", liquibaseStart + "--changeset a:1\n--preconditions onFail:MARK_RAN\n--precondition-table-exists table:x\nSELECT 1;", "db/a.sql:4: precondition-table-exists cannot"},
		"onFail":             {"db/a.sql", liquibaseStart + "--changeset a:1\n--preconditions onFail:CONTINUE\nSELECT 1;", "onFail:CONTINUE cannot"},
		"runWith":            {"db/a.sql", liquibaseStart + "--changeset a:1 runWith:psql\nSELECT 1;", "runWith:psql cannot"},
		"regular expression": {"db/a.sql", liquibaseStart + "--changeset a:1 endDelimiter:\\nGO\nSELECT 1;", "endDelimiter:"},
		"changes in YAML":    {"db/a.yaml", "databaseChangeLog:\n  - changeSet:\n      id: 1\n", "db/a.yaml:2: \"changeSet\" cannot be honoured"},
		"changes in XML":     {"db/a.xml", "<databaseChangeLog>\n<changeSet id=\"1\"/>\n</databaseChangeLog>", "db/a.xml:2: <changeSet> cannot be honoured"},
		"missing include":    {"db/a.yaml", "databaseChangeLog:\n  - include:\n      file: nope.sql\n", "db/a.yaml:2: there is no file"},
		"context of include": {"db/a.yaml", "databaseChangeLog:\n  - include:\n      file: a.sql\n      context: test\n", "context of include cannot"},
		"itself":             {"db/a.yaml", "databaseChangeLog:\n  - include:\n      file: a.yaml\n      relativeToChangelogFile: true\n", "includes itself"},
		"anchors":            {"db/a.yaml", "databaseChangeLog: &a\n  - include: *a\n", "anchors"},
		"out of the tree":    {"db/a.yaml", "databaseChangeLog:\n  - include:\n      file: ../../etc/passwd\n", "db/a.yaml:2:"},
		"JSON":               {"db/a.json", "{}", "not run natively"},
		"psql":               {"db/a.sql", liquibaseStart + "--changeset a:1\nSELECT 1;\n\\i x", "db/a.sql:4:"},
	} {
		history, err := Parse(mayfly.MigrationSettings{Tool: Liquibase, Path: test.path}, []File{file(test.path, test.text)})
		if err == nil {
			_, err = history.Pending(State{})
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || mayfly.ErrorHint(err) == "" {
			t.Errorf("%s gave %v, want %q with a hint", name, err, test.want)
		}
	}
}

func TestLiquibaseExpressions(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]bool{
		"test": true, "prod": false, "!prod": true, "test and prod": false, "test or prod": true, "prod, test": true, "(test or prod) and !prod": true, "not test": false, "": false,
	} {
		if got := matchesExpression(expression, []string{"Test", "eu"}); got != want {
			t.Errorf("%q is %t, want %t", expression, got, want)
		}
	}
	for list, want := range map[string]bool{"": true, "postgresql": true, "oracle,postgresql": true, "oracle": false, "!oracle": true, "!postgresql": false, "all": true, "none": false} {
		if got := liquibaseDBMS(list); got != want {
			t.Errorf("dbms:%s is %t, want %t", list, got, want)
		}
	}
}

func TestLiquibaseRunsAgainSkipsAndMarks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	settings := mayfly.MigrationSettings{Tool: Liquibase, Path: "app/db/root.xml", Contexts: []string{"eu"}, Placeholders: map[string]string{"n": "7"}}
	body := liquibaseStart + `--changeset "Ada L":1 endDelimiter:// context:"eu or us" labels:x,y
--comment makes it; all
CREATE TABLE a (n int);
INSERT INTO a VALUES (${n})//
INSERT INTO a VALUES (8)//
/* liquibase rollback
DROP TABLE a;
*/
--changeset ada:2 runOnChange:true
CREATE OR REPLACE VIEW v AS SELECT 1 AS n;
--changeset ada:3 runAlways:true
INSERT INTO a VALUES (9);
--changeset ada:4 context:us
SELECT broken;
--changeset ada:5 dbms:oracle
SELECT broken;
--changeset ada:6
--preconditions onFail:MARK_RAN
--precondition-sql-check expectedResult:0 SELECT count(*) FROM a
SELECT broken;
`
	root := file("app/db/root.xml", `<?xml version="1.0"?><databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog"><include file="sql/a.sql" relativeToChangelogFile="true"/></databaseChangeLog>`)
	files := []File{root, file("app/db/sql/a.sql", body)}
	report := b.mustApply(t, settings, files)
	if len(report.Applied) != 4 || len(report.Skipped) != 2 {
		t.Fatalf("applied %+v, skipped %+v", report.Applied, report.Skipped)
	}
	if got := one[string](t, b, `SELECT string_agg(concat_ws('|', id, author, filename, exectype, comments, contexts, labels), ',' ORDER BY orderexecuted) FROM databasechangelog`); got !=
		"1|Ada L|app/db/sql/a.sql|EXECUTED|makes it; all|(eu or us)|x,y,2|ada|app/db/sql/a.sql|EXECUTED|,3|ada|app/db/sql/a.sql|EXECUTED|,6|ada|app/db/sql/a.sql|MARK_RAN|" {
		t.Errorf("rows %s", got)
	}
	files[1].Content = []byte(strings.Replace(body, "SELECT 1 AS n", "SELECT 2 AS n", 1))
	if report = b.mustApply(t, settings, files); len(report.Applied) != 2 || one[int](t, b, "SELECT count(*) FROM databasechangelog WHERE exectype = 'RERAN'") != 2 {
		t.Errorf("the second run applied %+v", report.Applied)
	}
	if got := one[int](t, b, "SELECT sum(n) FROM a"); got != 7+8+9+9 {
		t.Errorf("the sum is %d", got)
	}
	if one[bool](t, b, "SELECT locked FROM databasechangeloglock") {
		t.Error("the lock was not given back")
	}
}
