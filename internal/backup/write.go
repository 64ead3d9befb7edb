package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Source is what is backed up.
type Source struct {
	// Conn is a connection to the state database, used by nobody else meanwhile; Schema is where its tables are.
	Conn   *pgx.Conn
	Schema string
	// DataDir is the installation's directory.
	DataDir string
	// Manifest has what is told by the caller: Version, CreatedAt, Config and Projects.
	Manifest Manifest
}

// Write writes a backup to w and returns what is in it. The service may run: the state database is read as of one moment.
func Write(ctx context.Context, w io.Writer, s Source) (*Manifest, error) {
	spool, err := os.MkdirTemp(s.DataDir, ".backup-") // 0700, and where there is room
	if err != nil {
		return nil, fmt.Errorf("make a directory for the backup: %w", err)
	}
	defer func() { _ = os.RemoveAll(spool) }()
	m := s.Manifest
	m.Format = format
	files := map[string]string{}
	if err := s.dump(ctx, &m, spool, files); err != nil {
		return nil, err
	}
	if err := s.collect(&m, files); err != nil {
		return nil, err
	}
	for name, path := range files {
		entry, err := describe(name, path)
		if err != nil {
			return nil, err
		}
		m.Entries = append(m.Entries, entry)
	}
	slices.SortFunc(m.Entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return &m, pack(w, &m, files)
}

// dump copies all tables as of one moment.
func (s Source) dump(ctx context.Context, m *Manifest, spool string, files map[string]string) error {
	tx, err := s.Conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin to read the state database: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := versions(ctx, tx, s.Schema, m); err != nil {
		return err
	}
	if m.Tables, err = tables(ctx, tx, s.Schema); err != nil {
		return err
	}
	if m.Sequences, err = sequences(ctx, tx, s.Schema); err != nil {
		return err
	}
	for i, t := range m.Tables {
		path := filepath.Join(spool, t.Name)
		files[t.entry()] = path
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("write table %s: %w", t.Name, err)
		}
		tag, err := tx.Conn().PgConn().CopyTo(ctx, file, "copy "+t.target(s.Schema)+" to stdout")
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("copy table %s: %w", t.Name, err)
		}
		m.Tables[i].Rows = tag.RowsAffected()
	}
	return nil
}

func (t Table) target(schema string) string {
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = pgx.Identifier{c}.Sanitize()
	}
	return pgx.Identifier{schema, t.Name}.Sanitize() + " (" + strings.Join(columns, ", ") + ")"
}

// The tables that say which version the others are of: migrating writes those.
const (
	schemaTable = "schema_version"
	queueTable  = "river_migration"
)

func versions(ctx context.Context, tx pgx.Tx, schema string, m *Manifest) error {
	err := tx.QueryRow(ctx, fmt.Sprintf("select (select version from %s), (select max(version) from %s where line = 'main'), (select value from %s where key = 'database')",
		pgx.Identifier{schema, schemaTable}.Sanitize(), pgx.Identifier{schema, queueTable}.Sanitize(), pgx.Identifier{schema, "setting"}.Sanitize())).
		Scan(&m.SchemaVersion, &m.QueueVersion, &m.State)
	if err != nil {
		return fmt.Errorf("read the version of the state database: %w", err)
	}
	return nil
}

// tables are those that hold something that lasts, with the columns that can be written.
func tables(ctx context.Context, tx pgx.Tx, schema string) ([]Table, error) {
	rows, err := tx.Query(ctx, `
		select c.relname::text, array_agg(a.attname::text order by a.attnum)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
		where n.nspname = $1 and c.relkind = 'r' and c.relpersistence = 'p' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
			and c.relname not in ($2, $3)
		group by 1 order by 1`, schema, schemaTable, queueTable)
	if err != nil {
		return nil, fmt.Errorf("list the tables of the state database: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Table, error) {
		var t Table
		return t, row.Scan(&t.Name, &t.Columns)
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables of the state database: %w", err)
	}
	return all, nil
}

func sequences(ctx context.Context, tx pgx.Tx, schema string) ([]Sequence, error) {
	rows, err := tx.Query(ctx, `select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relkind = 'S' and c.relpersistence = 'p' order by 1`, schema)
	if err != nil {
		return nil, fmt.Errorf("list the sequences of the state database: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the sequences of the state database: %w", err)
	}
	all := make([]Sequence, len(names))
	for i, name := range names {
		all[i].Name = name
		err := tx.QueryRow(ctx, "select last_value, is_called from "+pgx.Identifier{schema, name}.Sanitize()).Scan(&all[i].Last, &all[i].Called)
		if err != nil {
			return nil, fmt.Errorf("read sequence %s: %w", name, err)
		}
	}
	return all, nil
}

// collect finds the files of data_dir that belong to a backup.
func (s Source) collect(m *Manifest, files map[string]string) error {
	for _, name := range []string{"installation", "state.id"} {
		path := filepath.Join(s.DataDir, name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		files[name] = path
	}
	if raw, err := os.ReadFile(filepath.Join(s.DataDir, "installation")); err == nil {
		m.Installation = strings.TrimSpace(string(raw))
	}
	for _, dir := range []string{"keys", "proof"} {
		entries, err := os.ReadDir(filepath.Join(s.DataDir, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read %s: %w", dir, err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
				files[dir+"/"+e.Name()] = filepath.Join(s.DataDir, dir, e.Name())
			}
		}
	}
	return nil
}

func describe(name, path string) (Entry, error) {
	file, err := os.Open(path)
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", name, err)
	}
	defer file.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, file)
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", name, err)
	}
	return Entry{Name: name, Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
}

func pack(w io.Writer, m *Manifest, files map[string]string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	header := func(name string, size int64) error {
		return out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: m.CreatedAt})
	}
	if err := header(manifestName, int64(len(text))); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	for _, e := range m.Entries {
		file, err := os.Open(files[e.Name])
		if err == nil {
			err = header(e.Name, e.Bytes)
		}
		if err == nil {
			_, err = io.CopyN(out, file, e.Bytes)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			return fmt.Errorf("write %s into the backup: %w", e.Name, err)
		}
	}
	if err := errors.Join(out.Close(), zip.Close()); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}
