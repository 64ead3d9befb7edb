package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestPSQL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	cases := map[string]string{
		"sslmode=require":                          "host=127.0.0.1 sslmode=require dbname=shop-pr-42",
		"channel binding preferred, as by default": "host=127.0.0.1 sslmode=require channel_binding=prefer dbname=shop-pr-42",
		"verified certificate":                     "host=localhost sslmode=verify-full sslrootcert=" + g.cert + " dbname=shop-pr-42",
		"GSS preferred":                            "host=127.0.0.1 gssencmode=prefer sslmode=require dbname=shop-pr-42",
		"host name and the real database": "host=shop-pr-42." + baseDomain + " hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=" +
			g.cert + " dbname=" + l.preview.Database,
		"host name and the preview's name":      "host=shop-pr-42." + baseDomain + " hostaddr=127.0.0.1 sslmode=require dbname=shop-pr-42",
		"host name and no database":             "host=shop-pr-42." + baseDomain + " hostaddr=127.0.0.1 sslmode=require",
		"host name in upper case":               "host=SHOP-pr-42." + strings.ToUpper(baseDomain) + " hostaddr=127.0.0.1 sslmode=require",
		"another host name of the gateway":      "host=db." + baseDomain + " hostaddr=127.0.0.1 sslmode=require dbname=shop-pr-42",
		"options and application name are kept": "host=127.0.0.1 sslmode=require dbname=shop-pr-42 application_name=checks options='-c search_path=kept'",
	}
	for name, settings := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, err := runPSQL(t, l.password, fmt.Sprintf("port=%d user=%s %s", g.port, l.preview.Owner, settings), "-c",
				"SELECT current_database(), current_user, current_setting('application_name'), current_setting('search_path')")
			want := l.preview.Database + "|" + l.preview.Owner + `|psql|"$user", public`
			if strings.Contains(name, "kept") {
				want = l.preview.Database + "|" + l.preview.Owner + "|checks|kept"
			}
			if err != nil || output != want {
				t.Errorf("psql printed %q (%v), want %q", output, err, want)
			}
		})
	}
}

func TestPSQLIsToldWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	w.add(l.server, "shop-pr-43")
	g := serve(t, w, nil)
	cases := []struct{ name, settings, want string }{
		{"unknown preview", "user=%s host=127.0.0.1 sslmode=require dbname=nope-pr-1", `FATAL:  database "nope-pr-1" does not exist`},
		{"unknown preview has a hint", "user=%s host=127.0.0.1 sslmode=require dbname=nope-pr-1", "mayfly ls"},
		{"no TLS", "user=%s host=127.0.0.1 sslmode=disable dbname=shop-pr-42", "sslmode=require"},
		{"channel binding demanded", "user=%s host=127.0.0.1 sslmode=require channel_binding=require dbname=shop-pr-42", "channel binding"},
		{"wrong password", "user=%s host=127.0.0.1 sslmode=require dbname=shop-pr-42 password=wrong", "password authentication failed"},
		{"replication", "user=%s host=127.0.0.1 sslmode=require dbname=shop-pr-42 replication=database", "replication connections are not available"},
		{"admin role", "user=mayfly_admin host=127.0.0.1 sslmode=require dbname=shop-pr-42", `role "mayfly_admin" may not connect`},
		{"reserved role", "user=mayfly_other host=127.0.0.1 sslmode=require dbname=shop-pr-42", `role "mayfly_other" may not connect`},
		{"another role", "user=somebody host=127.0.0.1 sslmode=require dbname=shop-pr-42", `role "somebody" may not connect`},
		{"postgres", "user=postgres host=127.0.0.1 sslmode=require dbname=shop-pr-42", `role "postgres" may not connect`},
		{
			"host and database disagree",
			"user=%s host=shop-pr-42." + baseDomain + " hostaddr=127.0.0.1 sslmode=require dbname=shop-pr-43",
			"The host name selects preview shop-pr-42",
		},
		{
			"unknown host, known database",
			"user=%s host=shop-pr-99." + baseDomain + " hostaddr=127.0.0.1 sslmode=require dbname=shop-pr-43",
			`database "shop-pr-99" does not exist`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			settings := fmt.Sprintf("port=%d %s", g.port, strings.Replace(c.settings, "%s", l.preview.Owner, 1))
			output, err := runPSQL(t, l.password, settings, "-c", "SELECT 1")
			if err == nil || !strings.Contains(output, c.want) {
				t.Errorf("psql printed %q (%v), want a failure with %q", output, err, c.want)
			}
		})
	}
}

func TestRefusedBeforeDialing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	cases := []struct {
		name  string
		words []string
		code  string
	}{
		{"admin role", []string{"user", "mayfly_admin", "database", "shop-pr-42"}, "28000"},
		{"the second user counts nowhere", []string{"user", l.preview.Owner, "user", "mayfly_admin", "database", "shop-pr-42"}, "08P01"},
		{"two databases", []string{"user", "a", "database", "shop-pr-42", "database", "postgres"}, "08P01"},
		{"postgres", []string{"user", "postgres", "database", "shop-pr-42"}, "28000"},
		{"another role", []string{"user", "somebody", "database", "shop-pr-42"}, "28000"},
		{"the owner in capitals", []string{"user", strings.ToUpper(l.preview.Owner), "database", "shop-pr-42"}, "28000"},
		{"the owner and a space", []string{"user", l.preview.Owner + " ", "database", "shop-pr-42"}, "28000"},
		{"a new line", []string{"user", l.preview.Owner, "database", "shop-pr-42", "application_name", "a\nb"}, "08P01"},
		{"an escape sequence", []string{"user", "\x1b[2J", "database", "shop-pr-42"}, "08P01"},
		{"no user", []string{"database", "shop-pr-42"}, "28000"},
		{"replication on", []string{"user", "a", "database", "shop-pr-42", "replication", "on"}, "0A000"},
		{"replication by a strange word", []string{"user", "a", "database", "shop-pr-42", "replication", "DataBase"}, "0A000"},
		{"a template database", []string{"user", "a", "database", "template1"}, "3D000"},
		{"no database", []string{"user", "a"}, "3D000"},
		{"hostile name", []string{"user", "a", "database", "../../etc/passwd\xff'--"}, "3D000"},
		{"long name", []string{"user", "a", "database", strings.Repeat("a", 5000)}, "3D000"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := g.dialTLS("localhost")
			send(t, conn, startupPacket(version30, c.words...))
			if response := refused(t, conn); response.Code != c.code || response.Severity != "FATAL" {
				t.Errorf("answered %s %s %q, want FATAL %s", response.Severity, response.Code, response.Message, c.code)
			}
		})
	}
	t.Cleanup(func() {
		if n := w.dialled(); n > 0 {
			t.Errorf("a backend was dialled %d times for clients that are to be refused before", n)
		}
	})
}

func TestThePostgresRoleIsLetInWhereItOwnsThePreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	l.preview.Owner = "postgres"
	w.set(l.preview)
	g := serve(t, w, nil)
	_, err := pgx.ConnectConfig(t.Context(), g.config(l))
	// It does not exist in this cluster, which only Postgres itself can say: the gateway let it through.
	wantPgError(t, err, "28P01", "password authentication failed", "")
}

func TestPlaintext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, func(o *gateway.Options) { o.AllowPlaintext, o.TLS = true, nil })
	output, err := g.psql(l, "host=127.0.0.1 sslmode=prefer dbname=shop-pr-42", "-c", "SELECT current_database()")
	if err != nil || output != l.preview.Database {
		t.Errorf("psql without TLS printed %q (%v), want %q", output, err, l.preview.Database)
	}
	if output, err := g.psql(l, "host=127.0.0.1 sslmode=require dbname=shop-pr-42", "-c", "SELECT 1"); err == nil {
		t.Errorf("psql that demands TLS connected without: %q", output)
	}
}

func TestPgxWithPreparedStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := serve(t, w, nil)
	conn := g.connect(w.add(pgtest.Cluster(t), "shop-pr-42"))
	for i := range 3 {
		var got int
		if err := conn.QueryRow(t.Context(), "SELECT $1::int * 2", i).Scan(&got); err != nil || got != 2*i {
			t.Fatalf("query returned %d, %v; want %d", got, err, 2*i)
		}
	}
}

// JDBC asks for GSS encryption first, other clients for TLS first; both may ask for the other after a no.
func TestRequestsInEitherOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	gss := []byte{0, 0, 0, 8, 4, 210, 22, 48}
	tlsRequest := []byte{0, 0, 0, 8, 4, 210, 22, 47}

	t.Run("GSS, TLS", func(t *testing.T) {
		t.Parallel()
		g := serve(t, w, nil)
		conn := g.dial()
		send(t, conn, gss)
		if answer := readN(t, conn, 1); answer[0] != 'N' {
			t.Fatalf("GSSENCRequest was answered with %q", answer)
		}
		send(t, conn, tlsRequest)
		if answer := readN(t, conn, 1); answer[0] != 'S' {
			t.Fatalf("SSLRequest was answered with %q", answer)
		}
		secure := g.handshake(conn, "localhost")
		send(t, secure, startupPacket(version30, "user", l.preview.Owner, "database", "shop-pr-42"))
		checkQuery(t, logIn(t, secure, l), l)
	})
	t.Run("TLS, GSS, plain text", func(t *testing.T) {
		t.Parallel()
		g := serve(t, w, func(o *gateway.Options) { o.AllowPlaintext, o.TLS = true, nil })
		conn := g.dial()
		for _, request := range [][]byte{tlsRequest, gss} {
			send(t, conn, request)
			if answer := readN(t, conn, 1); answer[0] != 'N' {
				t.Fatalf("the request was answered with %q", answer)
			}
		}
		send(t, conn, startupPacket(version30, "user", l.preview.Owner, "database", "shop-pr-42"))
		checkQuery(t, logIn(t, conn, l), l)
	})
	t.Run("twice is not understood", func(t *testing.T) {
		t.Parallel()
		g := serve(t, w, nil)
		conn := g.dial()
		send(t, conn, append(append([]byte(nil), gss...), gss...))
		if rest, err := io.ReadAll(conn); err != nil || string(rest) != "N" {
			t.Errorf("got %q, %v; want N and the end", rest, err)
		}
	})
}

func checkQuery(t *testing.T, a authenticated, l login) {
	t.Helper()
	if value, state, err := a.query("SELECT current_database()"); err != nil || value != l.preview.Database {
		t.Errorf("query returned %q, SQLSTATE %q, %v; want %q", value, state, err, l.preview.Database)
	}
}

// Bytes sent in plain text right behind an SSLRequest must not be taken for part of the encrypted session
// (CVE-2021-23214).
func TestPlaintextBehindTLSRequestIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	conn := g.dial()
	send(t, conn, append([]byte{0, 0, 0, 8, 4, 210, 22, 47}, startupPacket(version30, "user", "a", "database", "shop-pr-42")...))
	// The gateway takes it for a broken TLS handshake: it closes, at most with a TLS alert, and dials nobody.
	if rest, _ := io.ReadAll(conn); len(rest) == 0 || rest[0] != 'S' || bytes.Contains(rest[1:], []byte("FATAL")) {
		t.Errorf("got %q, want S and no answer in plain text", rest)
	}
	if n := w.dialled(); n != 0 {
		t.Errorf("a backend was dialled %d times", n)
	}
}

func TestDirectTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	t.Run("with ALPN", func(t *testing.T) {
		t.Parallel()
		conn := g.handshake(g.dial(), "shop-pr-42."+baseDomain, "postgresql")
		send(t, conn, startupPacket(version30, "user", l.preview.Owner, "database", l.preview.Database))
		checkQuery(t, logIn(t, conn, l), l)
	})
	t.Run("without ALPN", func(t *testing.T) {
		t.Parallel()
		conn := g.handshake(g.dial(), "localhost")
		if response := refused(t, conn); response.Code != "08P01" {
			t.Errorf("answered %s %q, want 08P01", response.Code, response.Message)
		}
	})
}

func TestNewProtocolVersions(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name      string
		major     int
		version   uint32
		keyLength int
		// negotiated is whether the backend must have said that it speaks something older.
		negotiated bool
	}{
		{"3.2 to Postgres 15", 15, version32, 4, true},
		{"3.2 to Postgres 17", 17, version32, 4, true},
		{"3.2 to Postgres 18", 18, version32, 32, false},
		{"3.0 to Postgres 18", 18, version30, 4, false},
		{"a version of the future to Postgres 18", 18, 3<<16 | 9999, 32, true},
	}
	servers := newServers(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needMajor(t, c.major)
			w := newWorld(t)
			l := w.add(servers.of(c.major), "shop-pr-42")
			g := serve(t, w, nil)
			conn := g.dialTLS("localhost")
			send(t, conn, startupPacket(c.version, "user", l.preview.Owner, "database", "shop-pr-42", "_pq_.unknown", "1"))
			a := logIn(t, conn, l)
			checkQuery(t, a, l)
			if len(a.secretKey) != c.keyLength {
				t.Errorf("the cancel key has %d bytes, want %d", len(a.secretKey), c.keyLength)
			}
			if a.negotiated == nil || len(a.negotiated.UnrecognizedOptions) != 1 || a.negotiated.UnrecognizedOptions[0] != "_pq_.unknown" {
				t.Errorf("the backend did not refuse the unknown option: %+v", a.negotiated)
			}
			if a.negotiated != nil && c.negotiated && a.negotiated.NewestMinorProtocol&0xffff >= c.version&0xffff {
				t.Errorf("the backend negotiated %+v, which is not older than what was asked for", a.negotiated)
			}
			cancelWorks(t, g, a)
		})
	}
}
