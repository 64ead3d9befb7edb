package templates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// peopleSQL is a small source; the filler does not compress, so that it takes a while on the way.
const peopleSQL = `CREATE TABLE public.people (id int PRIMARY KEY, email text NOT NULL, filler text);
	INSERT INTO public.people SELECT i, 'p' || i || '@secret-corp.test', (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 30) j)
	FROM generate_series(1, 4000) i;
	CREATE INDEX ON public.people (email);
	CREATE MATERIALIZED VIEW public.heads AS SELECT count(*) AS n FROM public.people;`

const peopleRules = "version: 1\ntables: {public.people: {columns: {id: keep, email: email, filler: keep}}}"

// refused builds and expects an error with a code, a message that holds text, a hint, and nothing left.
func (b *bed) refused(ctx context.Context, t *testing.T, req BuildRequest, code mayfly.Code, text string) (*Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	result, err := b.builder.Build(ctx, req)
	if err == nil {
		t.Fatal("the build succeeded; it should have been refused")
	}
	var coded *mayfly.Error
	if !errors.As(err, &coded) || coded.Code != code || !strings.Contains(err.Error(), text) {
		t.Errorf("the build failed with code %q: %v; want code %q and %q", mayfly.ErrorCode(err), err, code, text)
	}
	b.nothingLeft(t, req.Template.ID) //nolint:contextcheck // also after ctx was cancelled
	return result, err
}

func TestBrokenArchives(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	whole, err := os.ReadFile(b.archiveOf(t, endpoint, true))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(b.archiveOf(t, endpoint, true, "--compress=0"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)*2/3] ^= 0x10
	for _, c := range []struct {
		name string
		data []byte
		text string
	}{
		{"empty", nil, "empty"},
		{"half a script", []byte("--\n-- PostgreSQL database dump\n--\n\nSET lock_timeout = 0;\n\n--\n-- Name: x; Type: TABLE; Schema: public; Owner: x\n--\n\nCREATE TABLE public.x ();\n"), "truncated"},
		{"gzip of nothing", append([]byte{0x1f, 0x8b, 8, 0}, whole...), "gzip compression cannot be undone"},
		{"noise", []byte(strings.Repeat("noise", 1000)), "not a pg_dump archive"},
		{"header only", whole[:20], "truncated"},
		{"half a table of contents", whole[:1500], "truncated"},
		{"half the data", whole[:len(whole)/2], "truncated"},
		{"all but the last byte", whole[:len(whole)-1], "truncated"},
		{"half the data, uncompressed", stored[:len(stored)/2], "truncated"},
		{"a flipped bit in the data", flipped, "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req := request(t, mayfly.Source{Archive: writeFile(t, c.data)}, peopleRules)
			_, err := b.refused(t.Context(), t, req, mayfly.CodeSourceInvalid, c.text)
			if mayfly.ErrorHint(err) == "" {
				t.Errorf("no hint says what to do about: %v", err)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		b.refused(t.Context(), t, request(t, mayfly.Source{Archive: "/does/not/exist.dump"}, peopleRules), mayfly.CodeSourceUnavailable, "cannot be opened")
	})
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		b.refused(t.Context(), t, request(t, mayfly.Source{Archive: t.TempDir()}, peopleRules), mayfly.CodeSourceInvalid, "neither a dump nor a base backup")
	})
}

func TestUnavailableSources(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	wrongPassword, unreachable, unknown := endpoint, endpoint, endpoint
	wrongPassword.Password = "wrong-secret-5512"
	unreachable.Port = 1
	unknown.Database = "does_not_exist"
	for _, c := range []struct {
		name, dsn string
		code      mayfly.Code
		text      string
	}{
		{"wrong password", wrongPassword.DSN(), mayfly.CodeSourceUnavailable, "28P01"},
		{"unreachable", unreachable.DSN(), mayfly.CodeSourceUnavailable, "cannot connect"},
		{"unknown database", unknown.DSN(), mayfly.CodeSourceUnavailable, "3D000"},
		{"not a connection string", "postgres://user:wrong-secret-5512@host:port:5432/%zz", mayfly.CodeInvalid, "connection string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := b.refused(t.Context(), t, request(t, mayfly.Source{DSN: c.dsn}, peopleRules), c.code, c.text)
			for _, secret := range []string{"wrong-secret", endpoint.Password} {
				if text := fmt.Sprintf("%v %+v %s", err, err, mayfly.ErrorHint(err)); strings.Contains(text, secret) {
					t.Errorf("the error tells the password: %s", text)
				}
			}
			if mayfly.ErrorHint(err) == "" {
				t.Errorf("no hint says what to do about: %v", err)
			}
		})
	}
}

func TestSourceMayNotRead(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	revoke := "REVOKE SELECT ON public.people FROM " + endpoint.Role
	if pgtest.Image(t, 0).Major >= 14 {
		revoke = "REVOKE pg_read_all_data FROM " + endpoint.Role
	}
	pgtest.Cluster(t).Exec(t, endpoint.Database, revoke)
	_, err := b.refused(t.Context(), t, request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules), mayfly.CodeSourceUnavailable, "permission denied")
	if !strings.Contains(mayfly.ErrorHint(err), "pg_read_all_data") {
		t.Errorf("the hint does not say which right is missing: %q", mayfly.ErrorHint(err))
	}
}

// TestSourceDies cuts the connections to the source at different distances: while the schema is read, and while rows are.
func TestSourceDies(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	for _, limit := range []int64{2_000, 9_000, 30_000, 1_000_000, 3_000_000} {
		t.Run(strconv.FormatInt(limit, 10), func(t *testing.T) {
			t.Parallel()
			dying := flakyEndpoint(t, endpoint, limit)
			b.refused(t.Context(), t, request(t, mayfly.Source{DSN: dying.DSN()}, peopleRules), mayfly.CodeSourceUnavailable, "")
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	for _, phase := range []string{PhaseConnect, PhaseInitialise, PhaseSchema, PhaseLoad, PhaseIndexes, PhaseVerify, PhaseFreeze} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
			req.Progress = func(p Progress) {
				if p.Phase == phase {
					cancel()
				}
			}
			b.refused(ctx, t, req, mayfly.CodeCancelled, "cancelled")
		})
	}
}

func TestUnclassifiedColumn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL+"ALTER TABLE public.people ADD COLUMN iban text")
	for _, source := range []mayfly.Source{{DSN: endpoint.DSN()}, {Archive: b.archiveOf(t, endpoint, true)}} {
		t.Run(strings.Fields(source.Describe())[0], func(t *testing.T) {
			t.Parallel()
			result, err := b.refused(t.Context(), t, request(t, source, peopleRules), mayfly.CodeUnclassified, "public.people.iban")
			if !strings.Contains(mayfly.ErrorHint(err), "iban:") {
				t.Errorf("the hint has no line to add: %q", mayfly.ErrorHint(err))
			}
			if phases := result.Report.Phases; source.DSN != "" && phases[len(phases)-1].Name != PhasePlan {
				t.Errorf("the build got as far as %v before it refused", result.Report.Phases)
			}
			if result.Report.Rows != 0 {
				t.Error("rows were read although a column is not classified")
			}
		})
	}
}

func TestNewerSource(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	data, err := os.ReadFile(b.archiveOf(t, endpoint, true))
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, fmt.Appendf(nil, "%d.", pgtest.Image(t, 0).Major), []byte("99."))
	b.refused(t.Context(), t, request(t, mayfly.Source{Archive: writeFile(t, data)}, peopleRules), mayfly.CodeInvalid, "PostgreSQL 99")
}

// TestMaskedValueRefused has rules whose values the table cannot take. The error must say where, and not what.
func TestMaskedValueRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE TABLE public.people (id int PRIMARY KEY, kind text NOT NULL CHECK (kind IN ('secret-a', 'secret-b')));
		INSERT INTO public.people SELECT i, 'secret-a' FROM generate_series(1, 100) i`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, "version: 1\ntables: {public.people: {columns: {id: keep, kind: {mask: static, value: wrong-value}}}}")
	_, err := b.refused(t.Context(), t, req, mayfly.CodeInvalid, "public.people")
	if strings.Contains(err.Error(), "wrong-value") || !strings.Contains(err.Error(), "people_kind_check") {
		t.Errorf("the error should name the constraint and not the value: %v", err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL)
	for _, source := range []mayfly.Source{{DSN: endpoint.DSN()}, {Archive: b.archiveOf(t, endpoint, true)}} {
		t.Run(strings.Fields(source.Describe())[0], func(t *testing.T) {
			t.Parallel()
			req := request(t, source, peopleRules)
			var mu sync.Mutex
			var seen []Progress
			req.Progress = func(p Progress) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, p)
			}
			b.build(t, req)
			last := seen[len(seen)-1]
			if last.Phase != PhaseFreeze || last.Rows != 4000 || last.Bytes != last.TotalBytes || last.TotalBytes == 0 || last.TablesDone != 1 || last.TablesTotal != 1 {
				t.Errorf("the last progress is %+v", last)
			}
			for i := 1; i < len(seen); i++ {
				if seen[i].Bytes < seen[i-1].Bytes || seen[i].Rows < seen[i-1].Rows {
					t.Errorf("progress went back from %+v to %+v", seen[i-1], seen[i])
				}
			}
		})
	}
}
