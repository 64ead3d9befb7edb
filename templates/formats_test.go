package templates

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

// dumpDirectory returns a tar of the directory that pg_dump writes.
func (b *bed) dumpDirectory(t *testing.T, config *pgx.ConnConfig, image driver.Image, args ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	relay := newRelay(t.Context(), config)
	command := append([]string{
		"sh", "-c", `"$@" >&2 && tar -C /tmp -cf - dump`, "sh", "pg_dump", "--host=" + driver.SocketDir, "--username=x", "--dbname=x",
		"--format=directory", "--file=/tmp/dump",
	}, args...)
	result, err := b.engine.Run(t.Context(), driver.RunSpec{Image: image.ID, Command: command, Listener: relay.serve, Stdout: &out})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("pg_dump: exit code %d, %v, %v: %s", result.ExitCode, err, relay.err(), result.Stderr)
	}
	return out.Bytes()
}

// unpack extracts a tar, and returns the directory in it.
func unpack(t *testing.T, tarred []byte) string {
	t.Helper()
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "tar", "-C", dir, "-xf", "-")
	command.Stdin = bytes.NewReader(tarred)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return filepath.Join(dir, "dump")
}

// compress compresses as the command line tools do. There is no bzip2 to write with in Go.
func compress(t *testing.T, how archive.Compression, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch how {
	case archive.CompressionNone:
		return data
	case archive.CompressionGzip:
		w = gzip.NewWriter(&out)
	case archive.CompressionLZ4:
		w = lz4.NewWriter(&out)
	case archive.CompressionZstd:
		encoder, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w = encoder
	case archive.CompressionBzip2:
		if _, err := exec.LookPath("bzip2"); err != nil {
			t.Skip("there is no bzip2 on this machine")
		}
		command := exec.CommandContext(t.Context(), "bzip2")
		command.Stdin, command.Stdout = bytes.NewReader(data), &out
		if err := command.Run(); err != nil {
			t.Fatalf("bzip2: %v", err)
		}
		return out.Bytes()
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// contents is what an archive says, as text: the statements of each object, and the digests of rows.
func contents(t *testing.T, a *archive.Archive) []string {
	t.Helper()
	var all []string
	for i := range a.Entries {
		e := &a.Entries[i]
		switch {
		case strings.HasPrefix(e.Kind, "BLOB"), e.Kind == "STDSTRINGS", e.Kind == "DATABASE", e.Kind == "DATABASE PROPERTIES":
			continue
		case e.Definition == "" && !e.HasData: // a schema that initdb makes
			continue
		}
		text := e.Kind + " " + e.Schema + "." + e.Tag + " " + strings.Join(strings.Fields(e.Definition+e.Copy), " ")
		if e.Kind == "TABLE DATA" {
			rows, err := a.Rows(t.Context(), e, nil)
			if err != nil {
				t.Fatalf("%s: %v", e.Tag, err)
			}
			digest := sha256.New()
			if _, err := io.Copy(digest, rows); err != nil {
				t.Fatalf("%s: %v", e.Tag, err)
			}
			if err := rows.Close(); err != nil {
				t.Fatalf("%s: %v", e.Tag, err)
			}
			text += " " + hex.EncodeToString(digest.Sum(nil))
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// TestFormats reads one database from dumps of every format in every compression, and builds from some of them.
func TestFormats(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, sourceSQL)
	config, err := pgx.ParseConfig(endpoint.DSN())
	if err != nil {
		t.Fatal(err)
	}
	image := pgtest.Image(t, 0)
	custom := b.dump(t, config, image, true, "--format=custom")
	want, err := archive.Read(t.Context(), bytes.NewReader(custom), int64(len(custom)))
	if err != nil {
		t.Fatal(err)
	}
	reference := contents(t, want)
	directory := b.dumpDirectory(t, config, image)
	dumps := map[string][]byte{
		"custom": custom, "custom from a pipe": b.dump(t, config, image, false, "--format=custom", "--compress=0"),
		"tar": b.dump(t, config, image, true, "--format=tar"), "directory in a tar": directory,
		"plain":   b.dump(t, config, image, false, "--create"),
		"verbose": b.dump(t, config, image, false, "--verbose", "--create", "--clean", "--if-exists"),
	}
	paths := map[string]string{"directory": unpack(t, directory)}
	if image.Major >= 16 {
		for _, inside := range []string{"lz4", "zstd", "none"} {
			paths["directory "+inside] = unpack(t, b.dumpDirectory(t, config, image, "--compress="+inside))
			dumps["custom "+inside] = b.dump(t, config, image, true, "--format=custom", "--compress="+inside)
		}
	}
	for name, data := range dumps {
		for _, how := range []archive.Compression{archive.CompressionNone, archive.CompressionGzip, archive.CompressionZstd, archive.CompressionLZ4, archive.CompressionBzip2} {
			t.Run(name+" in "+string(how), func(t *testing.T) {
				sameContents(t, writeFile(t, compress(t, how, data)), how, reference)
			})
		}
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) { sameContents(t, path, archive.CompressionNone, reference) })
	}
	t.Run("build", func(t *testing.T) {
		for name, path := range map[string]string{
			"directory": paths["directory"], "tar in gzip": writeFile(t, compress(t, archive.CompressionGzip, dumps["tar"])),
			"plain": writeFile(t, dumps["verbose"]), "plain in zstd": writeFile(t, compress(t, archive.CompressionZstd, dumps["plain"])),
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				req := request(t, mayfly.Source{Archive: path}, rulesYAML)
				result := b.build(t, req)
				checkReport(t, result)
				for _, text := range planted() {
					if files := b.find(t, req.Template.ID, result.Image, text); len(files) > 0 {
						t.Errorf("%q is in the template: %v", text, files)
					}
				}
				id, conn := b.clone(t, req.Template.ID, result.Image)
				checkRows(t, pgtest.Cluster(t).Connect(t, endpoint.Database), conn)
				checkMasking(t, conn)
				checkBehaviour(t, conn)
				b.checkSchema(t, endpoint, id, result.Image)
			})
		}
	})
}

// sameContents opens a dump twice: to read it as it is asked for, and from its end, which is not the way for all.
func sameContents(t *testing.T, path string, how archive.Compression, want []string) {
	t.Helper()
	a, err := archive.Open(t.Context(), path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	if a.Compression != how {
		t.Errorf("the compression is %s", a.Compression)
	}
	for range 2 {
		got := contents(t, a)
		for _, text := range want {
			if !slices.Contains(got, text) {
				t.Errorf("missing: %.300s", text)
			}
		}
		for _, text := range got {
			if !slices.Contains(want, text) {
				t.Errorf("more: %.300s", text)
			}
		}
		slices.Reverse(a.Entries)
	}
}

// TestNewerDump builds an older version from a script of a newer pg_dump, which sets what the older one does not know.
func TestNewerDump(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	image := pgtest.Image(t, 0)
	newer, err := b.engine.Image(t.Context(), "", 17)
	if err != nil || newer.Major <= image.Major {
		t.Skip("there is no image of PostgreSQL 17, or no older one")
	}
	endpoint := sourceDatabase(t, peopleSQL)
	config, err := pgx.ParseConfig(endpoint.DSN())
	if err != nil {
		t.Fatal(err)
	}
	data := b.dump(t, config, newer, false)
	if !bytes.Contains(data, []byte("SET transaction_timeout")) {
		t.Fatal("the dump does not set anything new")
	}
	path := filepath.Join(t.TempDir(), "people.sql")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	req := request(t, mayfly.Source{Archive: path}, peopleRules)
	result := b.build(t, req)
	_, conn := b.clone(t, req.Template.ID, result.Image)
	source := pgtest.Cluster(t).Connect(t, endpoint.Database)
	if got, want := value(t, conn, "SELECT count(*) FROM people"), value(t, source, "SELECT count(*) FROM people"); got != want {
		t.Errorf("the template has %s rows of %s", got, want)
	}
}

// TestOlderTemplate builds an older version from a newer server, whose schema only the newer pg_dump can read, and from its archive.
func TestOlderTemplate(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	newer, err := b.engine.Image(t.Context(), "", 17)
	if err != nil || newer.Major <= pgtest.Image(t, 0).Major {
		t.Skip("there is no image of PostgreSQL 17, or no older one")
	}
	server := pgtest.Start(t, pgtest.StartOptions{Major: newer.Major})
	database := server.Database(t)
	endpoint := server.TCP(t, database)
	server.Exec(t, database, peopleSQL+"; GRANT pg_read_all_data TO "+endpoint.Role)
	config, err := pgx.ParseConfig(endpoint.DSN())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "people.dump")
	if err := os.WriteFile(path, b.dump(t, config, newer, true, "--format=custom"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]mayfly.Source{"live": {DSN: endpoint.DSN()}, "archive": {Archive: path}} {
		t.Run(name, func(t *testing.T) {
			result := b.build(t, request(t, source, peopleRules))
			if result.Report.Major >= newer.Major || result.Report.Rows == 0 {
				t.Errorf("the template is of PostgreSQL %d", result.Report.Major)
			}
			if v := result.Report.Verification; v == nil || len(v.Differences) > 0 {
				t.Errorf("the verification found %+v", v)
			}
		})
	}
}
