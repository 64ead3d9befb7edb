package schemadiff

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Kind is a kind of object.
type Kind string

// The kinds of objects.
const (
	KindSchema       Kind = "schema"
	KindExtension    Kind = "extension"
	KindType         Kind = "type" // enums, domains, composites and ranges
	KindTable        Kind = "table"
	KindColumn       Kind = "column"
	KindConstraint   Kind = "constraint"
	KindIndex        Kind = "index" // those that belong to no constraint
	KindView         Kind = "view"
	KindMatview      Kind = "materialized view"
	KindSequence     Kind = "sequence"
	KindFunction     Kind = "function" // and procedures and aggregates
	KindTrigger      Kind = "trigger"
	KindPolicy       Kind = "policy"
	KindRule         Kind = "rule"
	KindStatistics   Kind = "statistics"
	KindDefaultGrant Kind = "default privileges"
)

// Kinds lists the kinds in the order in which they are shown.
func Kinds() []Kind {
	return []Kind{
		KindSchema, KindExtension, KindType, KindTable, KindColumn, KindConstraint, KindIndex, KindView, KindMatview,
		KindSequence, KindFunction, KindTrigger, KindPolicy, KindRule, KindStatistics, KindDefaultGrant,
	}
}

// Property is one thing that can be said about an object, such as a column's type. Empty values are left out.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Object is one object of a schema.
type Object struct {
	Kind Kind `json:"kind"`
	// Name is qualified and quoted where it has to be. That of something in a table is its own name alone.
	Name string `json:"name"`
	// Parent is the table that a column, a constraint, an index, a trigger, a policy or a rule belongs to.
	Parent     string     `json:"parent,omitempty"`
	Properties []Property `json:"properties,omitempty"`

	id string // its identity in the catalog, which a rename does not change
}

// key is what makes two objects of two snapshots the same by name.
type key struct {
	kind         Kind
	parent, name string
}

func (o Object) key() key { return key{o.Kind, o.Parent, o.Name} }

// Title is the object's name with that of its table.
func (o Object) Title() string {
	if o.Parent == "" {
		return o.Name
	}
	return o.Parent + "." + o.Name
}

func (o Object) property(name string) string {
	for _, p := range o.Properties {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Snapshot is the schema of a database at one moment.
type Snapshot struct {
	Objects []Object
}

// setUp holds for the transaction. Nothing but pg_catalog is in the search path, so that every name outside of it is shown with its
// schema.
const setUp = `; SET LOCAL search_path = pg_catalog; SET LOCAL jit = off; SET LOCAL statement_timeout = 0`

// Take reads the schema of the database that conn is connected to, in one transaction that sees one moment, and in one round trip
// for all of it. Any role may do this. If conn is in a transaction, that is what is read, and it is left as it was. System schemas,
// temporary objects and what belongs to an extension are left out.
func Take(ctx context.Context, conn *pgx.Conn) (*Snapshot, error) {
	begin, end := `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`, `COMMIT`
	inside := conn.PgConn().TxStatus() == 'T'
	if inside {
		begin, end = `SAVEPOINT mayfly_schemadiff`, `ROLLBACK TO SAVEPOINT mayfly_schemadiff; RELEASE SAVEPOINT mayfly_schemadiff`
	}
	queries := catalogQueries()
	var text strings.Builder
	text.WriteString(begin + setUp)
	for _, q := range queries {
		sql := q.sql
		if strings.HasPrefix(conn.PgConn().ParameterStatus("server_version"), "13") { // it came with 14
			sql = strings.Replace(sql, "nullif(a.attcompression, '')::text", "NULL", 1)
		}
		text.WriteString(";\n" + sql)
	}
	text.WriteString(";\n" + end)
	snapshot := &Snapshot{}
	results := conn.PgConn().Exec(ctx, text.String())
	for at := 0; results.NextResult(); {
		reader := results.ResultReader()
		if len(reader.FieldDescriptions()) == 0 || at == len(queries) { // of a statement around them
			continue
		}
		snapshot.Objects = append(snapshot.Objects, queries[at].read(reader)...)
		at++
	}
	if err := results.Close(); err != nil {
		if conn.PgConn().TxStatus() != 'I' && !inside {
			_, rollback := conn.PgConn().Exec(context.WithoutCancel(ctx), "ROLLBACK").ReadAll()
			err = errors.Join(err, rollback)
		}
		return nil, fmt.Errorf("read the schema from the catalog: %w", err)
	}
	return snapshot, nil
}

// read turns rows of (identity, parent, name, properties…) to objects.
func (q catalogQuery) read(reader *pgconn.ResultReader) []Object {
	var objects []Object
	for reader.NextRow() {
		row := reader.Values()
		o := Object{Kind: q.kind, Parent: string(row[1]), Name: string(row[2]), id: string(row[0])}
		said := 0
		for _, v := range row[3:] {
			if len(v) > 0 {
				said++
			}
		}
		if said > 0 {
			o.Properties = make([]Property, 0, said)
		}
		for i, v := range row[3:] {
			if len(v) > 0 && i < len(q.properties) {
				o.Properties = append(o.Properties, Property{q.properties[i], string(v)})
			}
		}
		objects = append(objects, o)
	}
	return objects
}
