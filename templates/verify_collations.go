package templates

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Collation is one that orders text, and the version of the library that defines it: an index that was built under another
// version may be wrong.
type Collation struct {
	Name     string `json:"name"`     // "database" for the default one
	Locale   string `json:"locale"`   // "en_US.UTF-8"
	Provider string `json:"provider"` // "libc", "icu" or "builtin"
	Recorded string `json:"recorded,omitempty"`
	Actual   string `json:"actual,omitempty"`
}

// collationsQuery lists the default collation and those that columns use or that were made by hand. The database's own has
// no version before 15, and no provider but libc.
const collationsQuery = `
SELECT 'database', datcollate::text, 'c', '', ''
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`

const databaseCollationQuery = `
SELECT 'database', datcollate::text, datlocprovider::text, coalesce(datcollversion, ''), coalesce(pg_catalog.pg_database_collation_actual_version(oid), '')
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`

const namedCollationsQuery = `
UNION ALL
SELECT * FROM (SELECT n.nspname || '.' || c.collname, coalesce(c.collcollate::text, ''), c.collprovider::text, coalesce(c.collversion, ''),
	coalesce(pg_catalog.pg_collation_actual_version(c.oid), '')
FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
WHERE c.collprovider <> 'd' AND c.collname NOT IN ('C', 'POSIX')
	AND (n.nspname <> 'pg_catalog' OR EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class r ON r.oid = a.attrelid
		WHERE a.attcollation = c.oid AND r.oid >= 16384))
ORDER BY 1) named`

// readCollations reads the versions of the database's collations.
func readCollations(ctx context.Context, conn *pgx.Conn) ([]Collation, error) {
	version, err := serverVersion(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read the server's version: %w", err)
	}
	query := collationsQuery
	if version >= 150000 {
		query = databaseCollationQuery
	}
	rows, err := conn.Query(ctx, query+namedCollationsQuery)
	if err != nil {
		return nil, fmt.Errorf("read the collations: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Collation])
	if err != nil {
		return nil, fmt.Errorf("read the collations: %w", err)
	}
	for i := range all {
		switch all[i].Provider {
		case "c":
			all[i].Provider = "libc"
		case "i":
			all[i].Provider = "icu"
		case "b":
			all[i].Provider = "builtin"
		}
	}
	return all, nil
}
