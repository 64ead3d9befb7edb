package observe

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options are what a Recorder needs besides the session that it observes.
type Options struct {
	// Connect opens a second session with the same database. It needs no rights: nothing of the first session's is run in it.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Now is the clock that the time between two statements is measured by.
	Now func() time.Time
}

// Recorder observes one session. It is not safe for concurrent use.
type Recorder struct {
	conn   *pgx.Conn // the session
	second *pgx.Conn
	now    func() time.Time
	major  int
	name   string // of the prepared probe, and of its first column
	ready  bool   // whether the session has it

	relations map[uint32]*Relation
	ignored   map[string]bool // titles of relations that are nobody's business, such as the tracking table
	counted   map[uint32]counters
	held      map[heldKey]*holding
	tx        string
	txNumber  int
	wal       int64
	clock     int64     // microseconds of the server's clock
	clockAt   time.Time // when that was

	environment Environment
	statements  []*Statement
	disk        map[uint32]int64 // bytes before the migration, of what it touched
	temp        temporary
	last        *Migration // whose temporary files are not known yet
	database    uint32
}

// Environment says under which settings the figures came about.
type Environment struct {
	ServerVersion string `json:"server_version"`
	// WALLevel and FullPageWrites decide how much is written to the write-ahead log. A preview writes no full pages, so that
	// production, with the same migration, writes more.
	WALLevel       string `json:"wal_level"`
	FullPageWrites bool   `json:"full_page_writes"`
	// SharedBuffers is in bytes. What fits in production's memory may have to be read here, and the other way round.
	SharedBuffers int64 `json:"shared_buffers_bytes"`
}

type heldKey struct {
	oid  uint32
	mode string
}

type holding struct {
	lock  *Lock
	since int64
}

type temporary struct{ files, bytes int64 }

// Start reads what there is before the first migration. The session must not be in a transaction.
func Start(ctx context.Context, conn *pgx.Conn, opts Options) (*Recorder, error) {
	r, err := start(ctx, conn, opts)
	if err != nil {
		r.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return r, nil
}

func start(ctx context.Context, conn *pgx.Conn, opts Options) (*Recorder, error) {
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	r := &Recorder{
		conn: conn, now: opts.Now, name: "mayfly_" + strings.ToLower(rand.Text()), ignored: map[string]bool{},
		counted: map[uint32]counters{}, held: map[heldKey]*holding{}, disk: map[uint32]int64{},
	}
	var err error
	if r.major, err = strconv.Atoi(major); err != nil {
		return r, fmt.Errorf("read the server's version %q: %w", major, err)
	}
	if r.second, err = opts.Connect(ctx); err != nil {
		return r, fmt.Errorf("open a second session to observe the first: %w", err)
	}
	// The database's owner decides about its search_path, and must not decide what runs in this session. Reading a relation's size
	// waits for whoever has it locked.
	if _, err := r.second.PgConn().Exec(ctx, `SET search_path = pg_catalog; SET statement_timeout = 0; SET lock_timeout = '2s'; SET jit = off`).ReadAll(); err != nil {
		return r, fmt.Errorf("set up the second session: %w", err)
	}
	all, err := r.catalog(ctx)
	if err != nil {
		return r, err
	}
	r.relations = make(map[uint32]*Relation, len(all))
	for _, l := range all {
		l.relation.Existed = true
		r.relations[l.oid] = l.relation
	}
	if err := r.second.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('wal_level'), current_setting('full_page_writes')::bool,
		pg_size_bytes(current_setting('shared_buffers')), (SELECT oid FROM pg_database WHERE datname = current_database())`, pgx.QueryExecModeExec).
		Scan(&r.environment.ServerVersion, &r.environment.WALLevel, &r.environment.FullPageWrites, &r.environment.SharedBuffers, &r.database); err != nil {
		return r, fmt.Errorf("read the server's settings: %w", err)
	}
	if r.temp, err = r.temporary(ctx); err != nil {
		return r, fmt.Errorf("read the counters of the database: %w", err)
	}
	return r, r.prepare(ctx)
}

// Close ends the second session.
func (r *Recorder) Close(ctx context.Context) {
	if r.second != nil {
		_ = r.second.Close(ctx)
	}
}

// Second is the second session. Use it between two migrations only.
func (r *Recorder) Second() *pgx.Conn { return r.second }

// Environment returns the settings that the figures depend on.
func (r *Recorder) Environment() Environment { return r.environment }

// Ignore leaves a relation out: the table in which the tool keeps track.
func (r *Recorder) Ignore(schema, name string) { r.ignored[schema+"."+name] = true }

// Relation finds a relation by its OID, as it is now.
func (r *Recorder) Relation(oid uint32) *Relation { return r.relations[oid] }

// prepare gives the session its probe. A prepared statement takes a third of the time.
func (r *Recorder) prepare(ctx context.Context) error {
	_, err := r.conn.PgConn().Exec(ctx, `PREPARE `+r.name+` AS `+probeQuery(r.name, r.major, r.database)).ReadAll()
	if err != nil {
		return fmt.Errorf("prepare the probe: %w", err)
	}
	r.ready = true
	return nil
}

func (r *Recorder) catalog(ctx context.Context) ([]locked, error) {
	var list []byte
	if err := r.second.QueryRow(ctx, catalogQuery(), pgx.QueryExecModeExec).Scan(&list, &r.wal); err != nil {
		return nil, fmt.Errorf("read what relations there are: %w", err)
	}
	return readRelations(list)
}

// spilled puts the temporary files since the last time down to the migration that ended last. They are counted when its transaction
// has ended.
func (r *Recorder) spilled(now temporary) {
	if r.last != nil {
		r.last.TempFiles, r.last.TempBytes = since(now.files, r.temp.files), since(now.bytes, r.temp.bytes)
		r.last, r.temp = nil, now
	}
}

// Finish fills in what is known only now about the last migration: the end of a transaction that went on behind it, and temporary files.
func (r *Recorder) Finish(ctx context.Context) {
	r.idle()
	if r.major < 15 { // the counters arrive some time later, with everybody's
		return
	}
	r.flush(ctx)
	if now, err := r.temporary(ctx); err == nil {
		r.spilled(now)
	}
}

func (r *Recorder) temporary(ctx context.Context) (t temporary, err error) {
	err = r.second.QueryRow(ctx, `SELECT pg_stat_get_db_temp_files($1::oid), pg_stat_get_db_temp_bytes($1::oid)`, pgx.QueryExecModeExec, r.database).Scan(&t.files, &t.bytes)
	return t, err
}

// Migration ends a migration and returns what was seen of it. Locks of a transaction that goes on get their times when it ends.
func (r *Recorder) Migration(ctx context.Context) *Migration {
	r.idle()
	if r.last != nil { // no probe has told since
		r.Finish(ctx)
	}
	m := &Migration{Statements: r.statements}
	for _, s := range m.Statements {
		m.WALBytes += s.WALBytes
	}
	for oid, before := range r.disk {
		m.DiskBytes -= before
		if now := r.relations[oid]; now != nil {
			m.DiskBytes += now.Bytes
		}
	}
	r.statements, r.disk, r.last = nil, map[uint32]int64{}, m
	return m
}

// idle gives locks their end once the session is in no transaction.
func (r *Recorder) idle() {
	if !r.conn.IsClosed() && r.conn.PgConn().TxStatus() != 'I' {
		return
	}
	r.release(r.serverTime())
	r.tx = ""
}

// serverTime is the server's clock, as it must be by now.
func (r *Recorder) serverTime() int64 { return r.clock + r.now().Sub(r.clockAt).Microseconds() }

func (r *Recorder) release(at int64) {
	for key := range r.held {
		r.drop(key, at)
	}
}

func (r *Recorder) drop(key heldKey, at int64) {
	h := r.held[key]
	h.lock.HeldMS = millis(at - h.since)
	delete(r.held, key)
}

// take compares a sample with what was known, and puts the difference down to a statement that began at a time.
func (r *Recorder) take(s *Statement, got sample, began int64) {
	if got.transaction != r.tx {
		at := began
		if s.Command == "COMMIT" || s.Command == "ROLLBACK" {
			at = got.before
		}
		r.release(at)
		r.tx = got.transaction
		r.txNumber++
	}
	s.InTransaction, s.Observed = r.txNumber, FromTransaction
	s.DurationMS, s.WALBytes = millis(got.before-began), max(0, got.wal-r.wal)
	r.wal = got.wal
	seen := map[heldKey]bool{}
	for _, l := range got.relations {
		was := r.relations[l.oid]
		if title := cmp.Or(l.relation, was); title == nil || r.ignored[title.Title()] || title.Table != 0 && r.ignoredIndex(title.Table) {
			continue
		}
		for _, mode := range l.modes {
			seen[heldKey{l.oid, mode}] = true
			r.lock(s, l, mode, began)
		}
		r.relation(s, l, was)
	}
	for key := range r.held {
		if !seen[key] {
			r.drop(key, got.before)
		}
	}
}

func (r *Recorder) ignoredIndex(table uint32) bool {
	t := r.relations[table]
	return t != nil && r.ignored[t.Title()]
}

func (r *Recorder) lock(s *Statement, l locked, mode string, began int64) {
	key := heldKey{l.oid, mode}
	if r.held[key] != nil {
		return
	}
	is := cmp.Or(r.relations[l.oid], l.relation)
	lock := &Lock{Relation: is.Title(), Kind: is.Kind, Mode: mode, New: !is.Existed}
	s.Locks = append(s.Locks, lock)
	r.held[key] = &holding{lock, began}
}

// relation compares what a relation was with what it is.
func (r *Recorder) relation(s *Statement, l locked, was *Relation) {
	now := l.relation
	if _, ok := r.disk[l.oid]; !ok {
		r.disk[l.oid] = deref(was).Bytes
	}
	if now == nil {
		delete(r.relations, l.oid)
		s.Changes = append(s.Changes, Change{Before: was})
		s.resized(was, 0)
		return
	}
	if was != nil {
		now.Existed = was.Existed
		if !l.detailed {
			now.Columns, now.Constraints, now.Triggers = was.Columns, was.Constraints, was.Triggers
		}
	}
	r.relations[l.oid] = now
	if was == nil || l.detailed || now.Name != was.Name || now.Filenode != was.Filenode {
		s.Changes = append(s.Changes, Change{was, now})
	}
	s.counted(now, was, l.counters.minus(r.counted[l.oid]))
	r.counted[l.oid] = l.counters
	if was == nil {
		s.Sizes = append(s.Sizes, Size{now.Title(), now.Kind, 0, now.Bytes})
		return
	}
	s.resized(was, now.Bytes)
	if was.Filenode != now.Filenode && was.Filenode != 0 && now.Filenode != 0 {
		s.Rewrites = append(s.Rewrites, Rewrite{
			Relation: now.Title(), Kind: now.Kind, Truncated: s.Command == "TRUNCATE TABLE",
			BytesBefore: was.Bytes, BytesAfter: now.Bytes, Rows: was.Rows,
		})
	}
}

func (s *Statement) resized(was *Relation, now int64) {
	if was.Bytes != now {
		s.Sizes = append(s.Sizes, Size{was.Title(), was.Kind, was.Bytes, now})
	}
}

// wholeShare is the share of the rows from which on a table counts as read as a whole: the number of rows is an estimate.
const wholeShare = 0.9

func (s *Statement) counted(now, was *Relation, delta counters) {
	rows := now.Rows
	if was != nil {
		rows = was.Rows
	}
	if delta.scans > 0 && (now.Kind == "table" || now.Kind == "index" || now.Kind == "materialized view") {
		s.Scans = append(s.Scans, Scan{
			Relation: now.Title(), Kind: now.Kind, Scans: delta.scans, Read: delta.read, Bytes: now.Bytes,
			Whole: rows > 0 && float64(delta.read) >= wholeShare*float64(rows) || rows <= 0 && delta.read > 0,
		})
	}
	if now.Kind == "table" && delta.inserted+delta.updated+delta.deleted > 0 {
		s.Data = append(s.Data, Data{now.Title(), delta.inserted, delta.updated, delta.deleted})
	}
}

func millis(micros int64) float64 { return float64(max(0, micros)) / 1000 }

// Sum adds up the data changes of migrations, by table.
func Sum(all []*Migration) []Data {
	tables := map[string]*Data{}
	var names []string
	for _, m := range all {
		for _, s := range m.Statements {
			for _, d := range s.Data {
				sum := tables[d.Table]
				if sum == nil {
					sum = &Data{Table: d.Table}
					tables[d.Table] = sum
					names = append(names, d.Table)
				}
				sum.Inserted += d.Inserted
				sum.Updated += d.Updated
				sum.Deleted += d.Deleted
			}
		}
	}
	slices.Sort(names)
	out := make([]Data, len(names))
	for i, name := range names {
		out[i] = *tables[name]
	}
	return out
}
