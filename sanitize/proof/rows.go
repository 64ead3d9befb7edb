package proof

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"strconv"
)

// reading is how the values of a column come in COPY's binary format.
type reading uint8

const (
	readText       reading = iota // as text
	readConverted                 // made text by the type's output function
	readStructured                // text that has parts
	readDocument                  // jsonb: a version, then text
	readInt4
	readInt8
	readUUID
	readBytes
	readShort // of a type whose values are never provable: booleans, dates, small numbers
)

// Types by their OIDs, which never change (PostgreSQL, pg_type.dat).
const (
	oidBool, oidBytea, oidChar, oidName, oidInt8, oidInt2, oidInt4, oidText = 16, 17, 18, 19, 20, 21, 23, 25
	oidJSON, oidXML, oidFloat4, oidBpchar, oidVarchar                       = 114, 142, 700, 1042, 1043
	oidDate, oidTime, oidTimestamp, oidTimestampTZ, oidInterval, oidTimeTZ  = 1082, 1083, 1114, 1184, 1186, 1266
	oidUUID, oidJSONB                                                       = 2950, 3802
)

func readingOf(oid uint32, category, name string) reading {
	switch oid {
	case oidText, oidVarchar, oidBpchar, oidName, oidXML:
		return readText
	case oidJSON:
		return readStructured
	case oidJSONB:
		return readDocument
	case oidInt4:
		return readInt4
	case oidInt8:
		return readInt8
	case oidUUID:
		return readUUID
	case oidBytea:
		return readBytes
	case oidBool, oidChar, oidInt2, oidFloat4, oidDate, oidTime, oidTimeTZ, oidTimestamp, oidTimestampTZ, oidInterval:
		return readShort
	}
	if category == "A" || category == "C" || category == "R" || name == "hstore" || name == "tsvector" {
		return readStructured
	}
	return readConverted
}

// errBinary says that the server did not send what COPY's binary format is (PostgreSQL 18 docs, COPY, "Binary Format").
var errBinary = errors.New("the server sent a malformed row")

// copyHeader is the length of signature, flags and the length of an extension that is not there.
const copyHeader = 19

// rowReader looks at the rows of a table. It is the writer that COPY's output goes to.
type rowReader struct {
	prober  *prober
	columns []scannedColumn
	rows    int64

	started bool
	ended   bool
	pending []byte
	fields  []int // where the fields of the current row begin
	text    []byte
}

// Write implements io.Writer.
func (r *rowReader) Write(p []byte) (int, error) {
	n := len(p)
	if len(r.pending) > 0 {
		r.pending = append(r.pending, p...)
		p = r.pending
	}
	rest, err := r.read(p)
	if err == nil {
		err = r.prober.err
	}
	if err != nil {
		return 0, err
	}
	r.pending = append(r.pending[:0], rest...)
	return n, nil
}

// read looks at the complete rows in p and returns what is left.
func (r *rowReader) read(p []byte) ([]byte, error) {
	if !r.started {
		if len(p) < copyHeader {
			return p, nil
		}
		r.started = true
		p = p[copyHeader:]
	}
	for len(p) >= 2 {
		if r.ended {
			return nil, errBinary
		}
		count := int16(binary.BigEndian.Uint16(p))
		if count == -1 {
			r.ended = true
			p = p[2:]
			continue
		}
		if int(count) != len(r.columns) {
			return nil, errBinary
		}
		size, ok := r.measure(p)
		if !ok {
			break
		}
		r.row(p[:size])
		p = p[size:]
	}
	return p, nil
}

// measure finds where the fields of the first row are, and its length; false if it is incomplete.
func (r *rowReader) measure(p []byte) (int, bool) {
	at := 2
	r.fields = r.fields[:0]
	for range r.columns {
		if len(p) < at+4 {
			return 0, false
		}
		length := int(int32(binary.BigEndian.Uint32(p[at:])))
		r.fields = append(r.fields, at)
		at += 4 + max(0, length)
		if len(p) < at {
			return 0, false
		}
	}
	return at, true
}

func (r *rowReader) row(p []byte) {
	r.rows++
	for i := range r.columns {
		at := r.fields[i]
		length := int(int32(binary.BigEndian.Uint32(p[at:])))
		if length < 0 {
			continue
		}
		c := &r.columns[i]
		c.values++
		c.bytes += int64(length)
		r.field(c, p[at+4:at+4+length])
	}
	r.prober.search(p, func(at int) (uint32, bool) {
		i := 0
		for i+1 < len(r.fields) && r.fields[i+1] <= at {
			i++
		}
		return r.columns[i].number, r.columns[i].made
	})
}

// field looks at one value.
func (r *rowReader) field(c *scannedColumn, value []byte) {
	p := r.prober
	p.place = c.number
	switch c.read {
	case readText, readConverted:
		r.count(c, value)
		if len(value) > 0 && (value[0] == '{' || value[0] == '[') { // a document in a text
			p.structured(value)
			return
		}
		p.value(value)
	case readStructured:
		r.count(c, value)
		p.structured(value)
	case readDocument:
		if len(value) > 0 {
			r.count(c, value[1:])
			p.structured(value[1:])
		}
	case readInt4:
		r.number(c, int64(int32(binary.BigEndian.Uint32(value))))
	case readInt8:
		r.number(c, int64(binary.BigEndian.Uint64(value)))
	case readUUID:
		r.text = hex.AppendEncode(r.text[:0], value)
		u := r.text
		r.text = append(r.text, u[:8]...)
		for _, part := range [][]byte{u[8:12], u[12:16], u[16:20], u[20:32]} {
			r.text = append(append(r.text, '-'), part...)
		}
		r.count(c, r.text[32:])
		p.value(r.text[32:])
	case readBytes:
		r.text = hex.AppendEncode(append(r.text[:0], '\\', 'x'), value)
		r.count(c, r.text)
		p.value(r.text)
		p.value(value)
		if len(value) == (uuidBytes-4)/2 {
			p.value(r.text[len("\\x"):])
		}
	case readShort:
		r.count(c, value)
	}
}

// count adds a value to the number of different ones, of masked columns.
func (r *rowReader) count(c *scannedColumn, value []byte) {
	if c.distinct != nil {
		value = trim(value)
		f, _ := classify(value)
		c.distinct.add(maphash.Bytes(c.seed, r.prober.hash.normal(value, f)))
	}
}

// number looks at an integer; most are too small to be provable.
func (r *rowReader) number(c *scannedColumn, n int64) {
	const least = 100_000_000 // of minDigits digits
	if c.distinct == nil && n < least && n > -least {
		return
	}
	r.text = strconv.AppendInt(r.text[:0], n, 10)
	r.count(c, r.text)
	r.prober.value(r.text)
}
