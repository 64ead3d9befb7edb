// Package gotest shows tests of an application that each have a database with production's data, sanitized, for themselves.
package gotest

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/client"
)

// open gives a test a connection to a database that nobody else uses.
func open(t *testing.T) *pgx.Conn {
	t.Helper()
	if os.Getenv("MAYFLY_SERVER") == "" {
		t.Skip("set MAYFLY_SERVER, MAYFLY_TOKEN and MAYFLY_PROJECT to run this with a database of each test's own")
	}
	db := client.ForTest(t) // gone when the test ends, and after an hour whatever happens
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

// Both tests change the whole database at the same time, and neither sees what the other does.

func TestArchive(t *testing.T) {
	t.Parallel()
	conn := open(t)
	if _, err := conn.Exec(t.Context(), "create table archive (id int)"); err != nil {
		t.Fatal(err)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	conn := open(t)
	var there bool
	if err := conn.QueryRow(t.Context(), "select to_regclass('archive') is not null").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("another test's table is here")
	}
}
