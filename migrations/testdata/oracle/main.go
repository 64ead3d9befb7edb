// Command oracle runs a migration tool itself on a directory and a database, and prints how many migrations it applied.
// It is a module of its own, so that what these tools depend on is no dependency of Mayfly.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	_ "github.com/amacneil/dbmate/v2/pkg/driver/postgres"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

func main() {
	applied, err := run(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(applied)
}

func run(tool, database, dir string) (int, error) {
	switch tool {
	case "goose":
		db, err := sql.Open("pgx", database)
		if err != nil {
			return 0, err
		}
		defer db.Close()
		provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS(dir))
		if err != nil {
			return 0, err
		}
		results, err := provider.Up(context.Background())
		return len(results), err
	case "dbmate":
		address, err := url.Parse(database)
		if err != nil {
			return 0, err
		}
		db := dbmate.New(address)
		db.MigrationsDir, db.AutoDumpSchema, db.Log = []string{dir}, false, io.Discard
		found, err := db.FindMigrations()
		if err != nil {
			return 0, err
		}
		pending := 0
		for _, m := range found {
			if !m.Applied {
				pending++
			}
		}
		return pending, db.Migrate()
	}
	return 0, fmt.Errorf("no tool %q", tool)
}
