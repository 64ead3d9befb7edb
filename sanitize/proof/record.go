package proof

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/mayflydb/mayfly/sanitize"
)

// The file of fingerprints: magic, key check, blocks, each a column's number, a count, and so many fingerprints; at last
// a block of the column endBlock whose contents are the JSON of the columns. All numbers are little-endian.
const (
	fileMagic   = "mayflyfp"
	endBlock    = ^uint32(0)
	madeBlock   = endBlock - 1 // fingerprints of results, see Observer.Result
	blockHeader = 8
)

// observerBytes is about the memory that the buffers of one Observer take, whatever the number of its columns.
const observerBytes = 256 << 10

// Column is what was seen of a masked column of the source.
type Column struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	sanitize.ColumnPlan
	Class Class `json:"class"`
	// Values is the number of values other than NULL, Provable that of those that carry enough information to be found.
	Values   int64 `json:"values"`
	Provable int64 `json:"provable"`
	// Unchanged is how many values, UnchangedProvable how many provable ones, came out of the transformer as they went in.
	Unchanged         int64 `json:"unchanged"`
	UnchangedProvable int64 `json:"unchanged_provable"`
	Distinct          int64 `json:"distinct"` // an estimate

	seen *distinct
}

// Name is "schema.table.column".
func (c *Column) Name() string { return c.Schema + "." + c.Table + "." + c.Column }

// Recorder keeps the fingerprints of a build. Its methods may be called concurrently.
type Recorder struct {
	key  Key
	path string

	mu      sync.Mutex
	file    *os.File
	out     *bufio.Writer
	columns []*Column
	byName  map[string]uint32
	sample  []sampled
	begins  *prefixes
	written int64
	err     error
}

// NewRecorder starts the file of fingerprints at path; one that is there is replaced.
func NewRecorder(path string, maskingKey []byte) (*Recorder, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of fingerprints: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old fingerprints: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the file of fingerprints: %w", err)
	}
	r := &Recorder{key: NewKey(maskingKey), path: path, file: file, out: bufio.NewWriterSize(file, 1<<20), byName: map[string]uint32{}, begins: newPrefixes()}
	_, r.err = r.out.WriteString(fileMagic + KeyCheck(maskingKey))
	return r, nil
}

// Discard closes and removes the file.
func (r *Recorder) Discard() error {
	return errors.Join(ignoreClosed(r.file.Close()), os.Remove(r.path))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// register returns the number of a column.
func (r *Recorder) register(schema, table string, plan sanitize.ColumnPlan) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Column{Schema: schema, Table: table, ColumnPlan: plan, Class: ClassOf(plan.Transformer), seen: &distinct{}}
	if id, found := r.byName[c.Name()]; found {
		return id
	}
	id := uint32(len(r.columns))
	r.columns = append(r.columns, c)
	r.byName[c.Name()] = id
	return id
}

// flush appends a block.
func (r *Recorder) flush(column uint32, prints []Fingerprint) {
	if len(prints) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	var record [fingerprintBytes]byte
	binary.LittleEndian.PutUint32(record[:], column)
	binary.LittleEndian.PutUint32(record[4:], uint32(len(prints)))
	_, r.err = r.out.Write(record[:blockHeader])
	for _, p := range prints {
		binary.LittleEndian.PutUint64(record[:], p.High)
		binary.LittleEndian.PutUint32(record[8:], p.Low)
		if _, err := r.out.Write(record[:]); err != nil {
			r.err = err
		}
	}
	r.written += int64(len(prints))
}

// Finish completes the file and returns what was recorded. All observers must be closed.
func (r *Recorder) Finish() (*Originals, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.columns {
		c.Distinct = min(c.seen.count(), c.Values)
	}
	list, err := json.Marshal(r.columns)
	if err != nil {
		return nil, fmt.Errorf("encode the columns of the fingerprints: %w", err)
	}
	var header [blockHeader]byte
	binary.LittleEndian.PutUint32(header[:], endBlock)
	binary.LittleEndian.PutUint32(header[4:], uint32(len(list)))
	_, headerErr := r.out.Write(header[:])
	_, listErr := r.out.Write(list)
	if err := errors.Join(r.err, headerErr, listErr, r.out.Flush(), r.file.Sync(), r.file.Close()); err != nil {
		return nil, fmt.Errorf("write the file of fingerprints: %w", err)
	}
	o, err := openOriginals(r.path, r.key)
	if err != nil {
		return nil, err
	}
	o.sample = cutSamples(r.sample)
	o.begins = r.begins.shrink()
	r.sample, r.begins = nil, nil
	return o, nil
}
