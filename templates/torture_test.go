package templates

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

var (
	//go:embed testdata/torture.sql
	tortureSQL string
	//go:embed testdata/torture.yaml
	tortureYAML string
)

// tortureTexts are what no text of a template may hold: markers, the hex form of one, and values of types that hold no text.
func tortureTexts() []string {
	return []string{
		"vexil", "qorbin", "766578696c", "203.0.113.77", "2001:db8:7071", "70:71:72:73:74:75", "70717273-7475", "7071727374757677", "70717273747576.7778",
		"70717273.7475", "1907-01-13",
	}
}

// tortureBytes are the same values as PostgreSQL stores them, as patterns of grep -P.
func tortureBytes() []string {
	return []string{
		`(?i:vexil)`, `(?i:qorbin)`,
		`\x70\x71\x72\x73\x74\x75\x46\x77\x88\x79`, // uuid
		`\x20\x01\x0d\xb8\x70\x71\x72\x73`,         // cidr
		`\x70\x71\x72\x73\x74\x75`,                 // macaddr
		`\x46\x00\x04\x1c\xce\x1c\x98\x1d\x62\x1e`, // numeric, in groups of four digits
	}
}

// sourceServer starts a server of its own for a source that makes what is not a database's own, or of another version.
func sourceServer(t *testing.T, major int, statements string) (*pgtest.Server, pgtest.Endpoint) {
	t.Helper()
	server := pgtest.Start(t, pgtest.StartOptions{Major: major})
	const database = "production"
	server.Exec(t, "postgres", "CREATE DATABASE "+database) // it goes with its server
	replace := strings.NewReplacer("@suffix@", strings.ToLower(rand.Text()), "@database@", database)
	server.Exec(t, database, replace.Replace(statements))
	endpoint := server.TCP(t, database)
	server.Exec(t, database, "ALTER ROLE "+endpoint.Role+" BYPASSRLS")
	if major < 14 {
		server.Exec(t, database, strings.ReplaceAll(grantAll, "@role@", endpoint.Role))
	}
	return server, endpoint
}

// TestTorture: of a source that holds markers wherever PostgreSQL keeps values, the template holds none.
func TestTorture(t *testing.T) {
	t.Parallel()
	for _, major := range []int{13, 15, 17, 18} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			image := pgtest.Image(t, major)
			server, endpoint := sourceServer(t, major, tortureSQL)
			b.markersArePlanted(t, server, endpoint.Database)
			source := mayfly.Source{DSN: endpoint.DSN()}
			if major == 17 { // the other way in
				config, err := pgx.ParseConfig(endpoint.DSN())
				if err != nil {
					t.Fatal(err)
				}
				source = mayfly.Source{Archive: writeFile(t, b.dump(t, config, image, false, "--format=custom", "--no-subscriptions"))}
			}
			req := request(t, source, tortureYAML)
			req.Project.Postgres.Major = major
			result := b.build(t, req)
			report, err := json.Marshal(result.Report)
			if err != nil {
				t.Fatal(err)
			}
			noMarkers(t, "the report", report)
			b.noBytes(t, req.Template.ID, image)
			_, conn := b.clone(t, req.Template.ID, image)
			eachRelation(t, conn, func(name string, text []byte) { noMarkers(t, name, text) })
			for query, want := range map[string]string{
				`SELECT count(*) FROM people p JOIN every e ON e.id = p.every_id`:                         "300",
				`SELECT count(DISTINCT email) FROM counted`:                                               "300",
				`SELECT count(*) FROM every WHERE c_generated LIKE upper(c_text) || ' see %@example.com'`: "20",
				`SELECT count(*) >= 10 FROM pg_description WHERE description LIKE '%@example.com%'`:       "true",
			} {
				if got := value(t, conn, query); got != want {
					t.Errorf("%s: %s; want %s", query, got, want)
				}
			}
		})
	}
}

// noMarkers fails the test if a text holds a marker.
func noMarkers(t *testing.T, where string, text []byte) {
	t.Helper()
	text = bytes.ToLower(text)
	for _, marker := range tortureTexts() {
		if at := bytes.Index(text, []byte(marker)); at >= 0 {
			t.Errorf("%s holds %q: … %q …", where, marker, text[max(0, at-60):min(len(text), at+60)])
		}
	}
}

// noBytes searches the raw files of a volume.
func (b *bed) noBytes(t *testing.T, volume string, image driver.Image) {
	t.Helper()
	var out bytes.Buffer
	result, err := b.engine.Run(t.Context(), driver.RunSpec{
		Image: image.ID, Volume: volume, Stdout: &out,
		Command: []string{"env", "LC_ALL=C", "grep", "-rlaP", "-e", strings.Join(tortureBytes(), "|"), driver.VolumeMount},
	})
	if err != nil || result.ExitCode > 1 {
		t.Fatalf("search the volume: exit code %d, %v: %s", result.ExitCode, err, result.Stderr)
	}
	if out.Len() > 0 {
		t.Errorf("markers are in the files %s", out.String())
	}
}

// markersArePlanted makes sure that the searches find what they are for, in the source.
func (b *bed) markersArePlanted(t *testing.T, server *pgtest.Server, database string) {
	t.Helper()
	var all bytes.Buffer
	eachRelation(t, server.Connect(t, database), func(_ string, text []byte) { all.Write(bytes.ToLower(text)) })
	for _, marker := range tortureTexts() {
		if !bytes.Contains(all.Bytes(), []byte(marker)) {
			t.Errorf("%q is not in the source", marker)
		}
	}
	server.Exec(t, database, "CHECKPOINT")
	script := `cd "$1"; shift; LC_ALL=C; export LC_ALL; for p in "$@"; do grep -rqaP -e "$p" . || echo "$p"; done`
	var out bytes.Buffer
	result, err := b.engine.Run(t.Context(), driver.RunSpec{
		Image: server.Image.ID, Volume: server.Volume, Stdout: &out, Command: append([]string{"sh", "-c", script, "sh", driver.DataDir + "/base"}, tortureBytes()...),
	})
	if err != nil || result.ExitCode != 0 || out.Len() > 0 {
		t.Errorf("these are not in the source's files: %q; exit code %d, %v: %s", out.String(), result.ExitCode, err, result.Stderr)
	}
}

// eachRelation reads all that is in a database, catalogs included, as text: what is compressed in the files is not here.
func eachRelation(t *testing.T, conn *pgx.Conn, look func(name string, text []byte)) {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'm') AND relnamespace <> 'pg_toast'::regnamespace AND relpersistence <> 't' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 60 {
		t.Fatalf("only %d relations are found", len(names))
	}
	for _, name := range names {
		var text bytes.Buffer
		if _, err := conn.PgConn().CopyTo(t.Context(), &text, "COPY (SELECT * FROM ONLY "+name+") TO STDOUT"); err != nil {
			t.Fatalf("read %s: %v", name, err)
		}
		look(name, text.Bytes())
	}
}
