package migrations

import (
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func flywaySettings() mayfly.MigrationSettings {
	return mayfly.MigrationSettings{Tool: Flyway, Path: "sql", Placeholders: map[string]string{"name": "Ada's"}}
}

func flywayHistory(t *testing.T, files ...File) *History {
	t.Helper()
	history, err := Parse(flywaySettings(), files)
	if err != nil {
		t.Fatal(err)
	}
	return history
}

func TestFlywayOrdersAndNames(t *testing.T) {
	t.Parallel()
	history := flywayHistory(t, file("sql/V1.10__b.sql", ""), file("sql/V1_9__a.sql", ""), file("sql/sub/V01.10.1__c_d.sql", ""), file("sql/V2__e.sql", ""),
		file("sql/R__z.sql", ""), file("sql/R__a.sql", ""), file("sql/U1.9__a.sql", ""), file("sql/Vx__a.sql", ""), file("sql/readme.md", ""), file("sql/V3.sql", ""))
	if got := versions(history.Migrations); got != "1.9 1.10 1.10.1 2 3 a z" {
		t.Errorf("order %s", got)
	}
	if own, _ := history.Migrations[2].own.(flywayFile); own.version != "01.10.1" || own.script != "sub/V01.10.1__c_d.sql" || history.Migrations[2].Name != "c d" {
		t.Errorf("row %+v", own)
	}
	if len(history.Findings) != 3 {
		t.Errorf("findings %+v", history.Findings)
	}
	twice := flywayHistory(t, file("sql/V1__a.sql", ""), file("sql/V1.0__b.sql", ""))
	if _, err := twice.Pending(State{}); err == nil || !strings.Contains(err.Error(), "is already used by") {
		t.Errorf("two files of one version gave %v", err)
	}
}

func TestFlywayTransactionsAreDetected(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"SELECT 1; create /* x */ unique index concurrently i ON a (b)": true,
		"VACUUM a": true, "ALTER SYSTEM SET x = 1": true, "REINDEX DATABASE x": true,
		"CREATE INDEX i ON a (b)": false, "SELECT 'VACUUM a'": false, "ALTER TYPE t ADD VALUE 'x'": false, "-- VACUUM\nSELECT 1": false,
	} {
		if got := flywayNoTransaction(text); got != want {
			t.Errorf("%q runs without a transaction: %t, want %t", text, got, want)
		}
	}
	for conf, want := range map[string]string{
		"# x\nexecuteInTransaction=false\n": "", "executeInTransaction = true": "", "shouldExecute=${x}": "sql/V1__a.sql.conf:1:", "executeInTransaction=maybe": "sql/V1__a.sql.conf:1:",
	} {
		history := flywayHistory(t, file("sql/V1__a.sql", "SELECT 1"), file("sql/V1__a.sql.conf", conf))
		_, err := history.Pending(State{})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) || err == nil && history.Migrations[0].NoTransaction != strings.Contains(conf, "false") {
			t.Errorf("%q gave %v, without a transaction %t", conf, err, history.Migrations[0].NoTransaction)
		}
	}
}

func TestFlywayRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path, text, want string
	}{
		"unknown placeholder": {"sql/V1__a.sql", "SELECT 1;\nSELECT '${nope}'", "sql/V1__a.sql:2: there is no value for the placeholder ${nope}"},
		"environment":         {"sql/V1__a.sql", "SELECT '${flyway:environment}'", "${flyway:environment}"},
		"rows":                {"sql/V1__a.sql", "SELECT 1;\nCOPY a FROM STDIN;\n1\n\\.\n", "sql/V1__a.sql:2: COPY"},
		"psql":                {"sql/V1__a.sql", "SELECT 1;\n\\i x.sql", "sql/V1__a.sql:2:"},
		"NUL":                 {"sql/V1__a.sql", "SELECT \x00", "NUL"},
		"Java":                {"sql/V1__A.java", "class V1__A {}", "written in Java"},
		"long name":           {"sql/V1__" + strings.Repeat("a", 201) + ".sql", "SELECT 1", "longer than the columns"},
		"control characters":  {"sql/V1__a\n.sql", "SELECT 1", "control characters"},
	} {
		if _, err := flywayHistory(t, file(test.path, test.text)).Pending(State{}); err == nil || !strings.Contains(err.Error(), test.want) || mayfly.ErrorHint(err) == "" {
			t.Errorf("%s gave %v, want %q with a hint", name, err, test.want)
		}
	}
	if _, err := flywayHistory(t, file("sql/V1__a.sql", "SELECT 1"), file("sql/afterMigrate.sql", "SELECT 1")).Pending(State{}); err == nil || !strings.Contains(err.Error(), "callback") {
		t.Errorf("a callback gave %v", err)
	}
}

func TestFlywayBaselinesPlaceholdersAndRepeats(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApplication(t, directories()[0].create+`; INSERT INTO flyway_schema_history VALUES
		(1, '2', '<< Flyway Baseline >>', 'BASELINE', '<< Flyway Baseline >>', NULL, current_user, now(), 0, true),
		(2, '3', 'gone', 'SQL', 'V3__gone.sql', 1, current_user, now(), 0, true), (3, '3', 'gone', 'DELETE', 'V3__gone.sql', 1, current_user, now(), 0, true)`)
	files := []File{
		file("sql/V1__old.sql", "SELECT broken"), file("sql/V2__old.sql", "SELECT broken"), file("sql/V4__a.sql", "CREATE TABLE a AS SELECT '${flyway:user}' AS u, '${flyway:table}' AS t;"),
		file("sql/R__n.sql", "CREATE OR REPLACE VIEW n AS SELECT 1 AS n"),
	}
	if report := b.mustApply(t, flywaySettings(), files); len(report.Applied) != 2 {
		t.Fatalf("applied %+v", report.Applied)
	}
	if got := one[string](t, b, "SELECT u || t FROM a"); got != b.role+"flyway_schema_history" {
		t.Errorf("placeholders became %s", got)
	}
	files[3].Content = []byte("CREATE OR REPLACE VIEW n AS SELECT 2 AS n")
	if report := b.mustApply(t, flywaySettings(), files); len(report.Applied) != 1 || one[int](t, b, "SELECT n FROM n") != 2 {
		t.Errorf("the edited repeatable gave %+v", report.Applied)
	}
	files[2].Content = append(files[2].Content, "\nSELECT 1;"...)
	state, err := ReadState(t.Context(), b.connect(t), flywaySettings())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flywayHistory(t, files...).Pending(state); err == nil || !strings.Contains(err.Error(), "was edited") {
		t.Errorf("an edited file gave %v", err)
	}
	if _, err := flywayHistory(t, files[:2]...).Pending(state); err != nil {
		t.Errorf("a version above all files gave %v", err)
	}
	failed := append(files[:2:2], file("sql/V4__a.sql", "CREATE TABLE a AS SELECT '${flyway:user}' AS u, '${flyway:table}' AS t;"), file("sql/V5__b.sql", "SELECT 1;\nVACUUM nothing_there;"))
	if report, err := b.apply(t, flywaySettings(), failed, ApplyOptions{}); err == nil || !report.Dirty || report.Failure.Line != 2 {
		t.Errorf("a failed script without a transaction gave %v, %+v", err, report.Failure)
	}
	if !one[bool](t, b, "SELECT NOT success FROM flyway_schema_history WHERE version = '5'") {
		t.Error("the failed row is missing")
	}
}
