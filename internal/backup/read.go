package backup

import (
	"archive/tar"
	"bufio"
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

	mayfly "github.com/mayflydb/mayfly"
)

// maxManifest bounds what is read of a manifest.
const maxManifest = 16 << 20

// Unpacked is a backup that was read and found whole.
type Unpacked struct {
	Manifest *Manifest
	dir      string
}

// Unpack reads a backup into a directory below parent, and checks all of it: what is cut, changed or foreign is an error with CodeInvalid,
// and nothing was touched. Remove removes the directory.
func Unpack(r io.Reader, parent string) (_ *Unpacked, err error) {
	dir, err := os.MkdirTemp(parent, ".restore-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the backup: %w", err)
	}
	u := &Unpacked{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Remove())
		}
	}()
	zip, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil {
		return nil, broken(err)
	}
	archive := tar.NewReader(zip)
	if u.Manifest, err = readManifest(archive); err != nil {
		return nil, err
	}
	for _, want := range u.Manifest.Entries {
		if err := checkName(want.Name); err != nil {
			return nil, err
		}
		header, err := archive.Next()
		if err != nil {
			return nil, broken(err)
		}
		if header.Name != want.Name || header.Size != want.Bytes || header.Typeflag != tar.TypeReg {
			return nil, broken(fmt.Errorf("there is %s where %s is expected", header.Name, want.Name))
		}
		if err := u.write(want, archive); err != nil {
			return nil, err
		}
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		return nil, broken(fmt.Errorf("there is more in it than it says: %w", err))
	}
	if _, err := io.Copy(io.Discard, zip); err != nil { //nolint:gosec // nothing is kept of it: the end has the checksum of all
		return nil, broken(err)
	}
	return u, nil
}

func broken(err error) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "the backup is damaged, or is none: %w", err).WithHint("nothing was touched; use another copy of it")
}

func readManifest(archive *tar.Reader) (*Manifest, error) {
	header, err := archive.Next()
	if err != nil {
		return nil, broken(err)
	}
	if header.Name != manifestName || header.Size > maxManifest {
		return nil, broken(errors.New("it does not begin with a manifest"))
	}
	m := &Manifest{}
	if err := json.NewDecoder(archive).Decode(m); err != nil {
		return nil, broken(err)
	}
	if m.Format != format {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the backup has format %d, and this mayfly reads %d", m.Format, format).WithHint("use the mayfly that wrote it: %s", m.Version)
	}
	return m, nil
}

func (u *Unpacked) path(name string) string { return filepath.Join(u.dir, filepath.FromSlash(name)) }

func (u *Unpacked) write(want Entry, r io.Reader) error {
	path := u.path(want.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("unpack %s: %w", want.Name, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", want.Name, err)
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, hash), r)
	if err = errors.Join(err, file.Close()); err != nil {
		return broken(err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want.SHA256 {
		return broken(fmt.Errorf("the checksum of %s is wrong", want.Name))
	}
	return nil
}

// Remove removes what was unpacked.
func (u *Unpacked) Remove() error { return os.RemoveAll(u.dir) }

// CheckFiles refuses, with CodeConflict, a data_dir that belongs to another installation or has other keys.
func (u *Unpacked) CheckFiles(dataDir string) error {
	for _, e := range u.Manifest.Entries {
		if strings.HasPrefix(e.Name, "state/") || e.Name == "state.id" {
			continue
		}
		have, err := describe(e.Name, filepath.Join(dataDir, filepath.FromSlash(e.Name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if have.SHA256 != e.SHA256 {
			return mayfly.Errorf(mayfly.CodeConflict, "%s is there already, and is another one than in the backup", filepath.Join(dataDir, e.Name)).
				WithHint("nothing was touched. Restore into an empty data_dir, or move that file away if it is not needed")
		}
	}
	return nil
}

// PutFiles puts keys, ids and proofs into data_dir.
func (u *Unpacked) PutFiles(dataDir string) error {
	for _, e := range u.Manifest.Entries {
		if strings.HasPrefix(e.Name, "state/") {
			continue
		}
		target := filepath.Join(dataDir, filepath.FromSlash(e.Name))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return fmt.Errorf("restore %s: %w", e.Name, err)
		}
		if err := os.Rename(u.path(e.Name), target); err != nil {
			return fmt.Errorf("restore %s: %w", e.Name, err)
		}
	}
	return nil
}

// Empty returns an error with CodeConflict if there is anything in the tables of a state database.
func Empty(ctx context.Context, conn *pgx.Conn, schema string) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("look at the state database: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	all, err := tables(ctx, tx, schema)
	if err != nil {
		return err
	}
	for _, t := range all {
		var some bool
		if err := tx.QueryRow(ctx, "select exists (select from "+pgx.Identifier{schema, t.Name}.Sanitize()+")").Scan(&some); err != nil {
			return fmt.Errorf("look at table %s: %w", t.Name, err)
		}
		if some {
			return mayfly.Errorf(mayfly.CodeConflict, "the state database is not empty (table %s)", t.Name).
				WithHint("nothing was touched. A backup goes into an empty database: give another database_url, or move data_dir/state away")
		}
	}
	return nil
}

// Load fills the tables of an empty state database, which have the versions that the manifest says: all of them, or none.
func (u *Unpacked) Load(ctx context.Context, conn *pgx.Conn, schema string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin to fill the state database: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	there, err := tables(ctx, tx, schema)
	if err != nil {
		return err
	}
	// References are checked when all rows are there, whatever their order; triggers have done their work on these rows already.
	restore, err := suspendRules(ctx, tx, schema)
	if err != nil {
		return err
	}
	for _, t := range u.Manifest.Tables {
		known := slices.ContainsFunc(there, func(other Table) bool {
			return other.Name == t.Name && !slices.ContainsFunc(t.Columns, func(c string) bool { return !slices.Contains(other.Columns, c) })
		})
		if !known {
			return mayfly.Errorf(mayfly.CodeInvalid, "the backup has a table %s that this mayfly does not know like that", t.Name).
				WithHint("use the mayfly that wrote it: %s", u.Manifest.Version)
		}
		file, err := os.Open(u.path(t.entry()))
		if err != nil {
			return fmt.Errorf("read table %s: %w", t.Name, err)
		}
		_, err = tx.Conn().PgConn().CopyFrom(ctx, file, "copy "+t.target(schema)+" from stdin")
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("fill table %s: %w", t.Name, err)
		}
	}
	for _, s := range u.Manifest.Sequences {
		if _, err := tx.Exec(ctx, "select setval($1::text::regclass, $2, $3)", pgx.Identifier{schema, s.Name}.Sanitize(), s.Last, s.Called); err != nil {
			return fmt.Errorf("set sequence %s: %w", s.Name, err)
		}
	}
	for _, statement := range restore {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return fmt.Errorf("check the rows that were restored: %w", err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("fill the state database: %w", err)
	}
	return nil
}

// suspendRules drops foreign keys and disables triggers, and returns the statements that bring them back.
func suspendRules(ctx context.Context, tx pgx.Tx, schema string) (restore []string, err error) {
	rows, err := tx.Query(ctx, `
		select format('alter table %s drop constraint %I', conrelid::regclass, conname),
			format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
		from pg_constraint where contype = 'f' and conparentid = 0 and connamespace = $1::text::regnamespace
		union all
		select format('alter table %s disable trigger %I', tgrelid::regclass, tgname), format('alter table %s enable trigger %I', tgrelid::regclass, tgname)
		from pg_trigger t join pg_class c on c.oid = t.tgrelid
		where c.relnamespace = $1::text::regnamespace and not tgisinternal and tgenabled = 'O'`, pgx.Identifier{schema}.Sanitize())
	if err != nil {
		return nil, fmt.Errorf("read the rules of the state database: %w", err)
	}
	type rule struct{ Suspend, Restore string }
	rules, err := pgx.CollectRows(rows, pgx.RowToStructByPos[rule])
	if err != nil {
		return nil, fmt.Errorf("read the rules of the state database: %w", err)
	}
	for _, r := range rules {
		if _, err := tx.Exec(ctx, r.Suspend); err != nil {
			return nil, fmt.Errorf("suspend the rules of the state database: %w", err)
		}
		restore = append(restore, r.Restore)
	}
	return restore, nil
}
