package proof

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Originals are the recorded fingerprints of a build.
type Originals struct {
	Columns []*Column
	// Prints is the number of fingerprints in the file, some of them more than once.
	Prints int64
	// SHA256 is that of the file, in hex.
	SHA256 string
	// Skipped is log2 of the share of fingerprints that is looked for: 0 for all, 1 for half of them.
	Skipped uint32

	path   string
	key    Key
	filter *filter
	made   *filter   // results that may be somebody's original
	begins *prefixes // nil after a restart
	sample []sampled
}

// maxFilterBytes bounds the filter; beyond maxPrints different originals only a share of them is looked for.
const (
	maxFilterBytes = 80 << 20
	maxMadeBytes   = 40 << 20
	maxPrints      = maxFilterBytes * 8 / 10
)

// errDamaged says that a file of fingerprints is not as it was written.
var errDamaged = errors.New("the file of fingerprints is damaged")

// Open reads the fingerprints of an earlier build. There is no sample of clear values in it.
func Open(path string, maskingKey []byte) (*Originals, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the file of fingerprints: %w", err)
	}
	head := make([]byte, headBytes)
	_, err = io.ReadFull(file, head)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read the file of fingerprints: %w", err)
	}
	if string(head[len(fileMagic):]) != KeyCheck(maskingKey) {
		return nil, fmt.Errorf("the fingerprints were made with another masking key")
	}
	return openOriginals(path, NewKey(maskingKey))
}

// headBytes is the length of the magic and the key check.
const headBytes = len(fileMagic) + 16

func openOriginals(path string, key Key) (*Originals, error) {
	o := &Originals{path: path, key: key}
	sum := sha256.New()
	// The first pass counts, the second fills the filter, whose size depends on the count.
	var made int64
	if err := o.read(sum, func(column uint32, prints []byte) {
		if n := int64(len(prints) / fingerprintBytes); column == madeBlock {
			made += n
		} else {
			o.Prints += n
		}
	}); err != nil {
		return nil, err
	}
	o.SHA256 = hex.EncodeToString(sum.Sum(nil))
	var different int64
	for _, c := range o.Columns {
		different += c.Distinct
	}
	different = min(different+different/8+1024, o.Prints)
	for ; different > maxPrints; different /= 2 {
		o.Skipped++
	}
	o.filter, o.made = newFilter(different, maxFilterBytes), newFilter(made, maxMadeBytes)
	return o, o.read(io.Discard, func(column uint32, prints []byte) {
		for ; len(prints) > 0; prints = prints[fingerprintBytes:] {
			switch p := decode(prints); {
			case column == madeBlock:
				o.made.add(p)
			case o.wanted(p):
				o.filter.add(p)
			}
		}
	})
}

// wanted reports whether a fingerprint is in the share that is looked for.
func (o *Originals) wanted(p Fingerprint) bool { return p.Low&(1<<o.Skipped-1) == 0 }

func decode(b []byte) Fingerprint {
	return Fingerprint{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])}
}

// read goes through the file from start to end.
func (o *Originals) read(also io.Writer, each func(column uint32, prints []byte)) error {
	file, err := os.Open(o.path)
	if err != nil {
		return fmt.Errorf("open the file of fingerprints: %w", err)
	}
	defer func() { _ = file.Close() }()
	in := bufio.NewReaderSize(io.TeeReader(file, also), 1<<20)
	head := make([]byte, headBytes)
	if _, err := io.ReadFull(in, head); err != nil || string(head[:len(fileMagic)]) != fileMagic {
		return errDamaged
	}
	buffer := make([]byte, 0, observerBytes)
	var header [blockHeader]byte
	for {
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return errDamaged
		}
		column, n := binary.LittleEndian.Uint32(header[:]), int(binary.LittleEndian.Uint32(header[4:]))
		if column == endBlock {
			return o.readColumns(in, n)
		}
		if n > observerBytes/fingerprintBytes {
			return errDamaged
		}
		buffer = buffer[:n*fingerprintBytes]
		if _, err := io.ReadFull(in, buffer); err != nil {
			return errDamaged
		}
		each(column, buffer)
	}
}

// readColumns reads the last block, after which there is nothing.
func (o *Originals) readColumns(in *bufio.Reader, n int) error {
	list, err := io.ReadAll(in)
	if err != nil || len(list) != n {
		return errDamaged
	}
	var columns []*Column
	if err := json.Unmarshal(list, &columns); err != nil {
		return errDamaged
	}
	o.Columns = columns
	return nil
}
