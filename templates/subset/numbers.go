package subset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openNameless makes a file that nobody else can open and that is gone when it is closed.
func openNameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "subset-") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("make a file for keys: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("take away the name of a file for keys: %w", err), f.Close())
	}
	return f, nil
}

// numbers are unsigned numbers of 32 bits in a file that is mapped into memory: the system keeps of it what fits.
type numbers struct{ raw []byte }

// mapNumbers maps count numbers of a file, which is made longer if need be; what was not written is 0 and takes no space.
func mapNumbers(f *os.File, count int64) (*numbers, error) {
	if count == 0 {
		return &numbers{}, f.Close()
	}
	err := f.Truncate(count * 4)
	var raw []byte
	if err == nil {
		raw, err = unix.Mmap(int(f.Fd()), 0, int(count*4), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("map a file for keys: %w", err)
	}
	return &numbers{raw: raw}, nil
}

// newNumbers makes count numbers that are 0.
func newNumbers(dir string, count int64) (*numbers, error) {
	f, err := openNameless(dir)
	if err != nil {
		return nil, err
	}
	return mapNumbers(f, count)
}

func (n *numbers) at(i uint32) uint32     { return binary.LittleEndian.Uint32(n.raw[int(i)*4:]) }
func (n *numbers) set(i uint32, v uint32) { binary.LittleEndian.PutUint32(n.raw[int(i)*4:], v) }

func (n *numbers) close() error {
	if n == nil || n.raw == nil {
		return nil
	}
	raw := n.raw
	n.raw = nil
	return unix.Munmap(raw)
}

// numberWriter appends numbers.
type numberWriter struct {
	file  *os.File
	out   *bufio.Writer
	count int64
}

func newNumberWriter(dir string) (*numberWriter, error) {
	f, err := openNameless(dir)
	if err != nil {
		return nil, err
	}
	return &numberWriter{file: f, out: bufio.NewWriterSize(f, 64<<10)}, nil
}

func (w *numberWriter) append(v uint32) error {
	w.count++
	_, err := w.out.Write(binary.LittleEndian.AppendUint32(w.out.AvailableBuffer(), v))
	return err
}

// finish returns what was written.
func (w *numberWriter) finish() (*numbers, error) {
	if err := w.out.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("write keys: %w", err), w.file.Close())
	}
	return mapNumbers(w.file, w.count)
}

// groups are lists of rows, numbered from 1.
type groups struct{ rows, starts *numbers }

// list returns where the rows of a group are.
func (g *groups) list(group uint32) (from, to uint32) {
	return g.starts.at(group - 1), g.starts.at(group)
}

func (g *groups) close() error {
	if g == nil {
		return nil
	}
	return errors.Join(g.rows.close(), g.starts.close())
}

type groupWriter struct{ rows, starts *numberWriter }

func newGroupWriter(dir string) (*groupWriter, error) {
	rows, err := newNumberWriter(dir)
	if err != nil {
		return nil, err
	}
	starts, err := newNumberWriter(dir)
	if err != nil {
		return nil, errors.Join(err, rows.file.Close())
	}
	return &groupWriter{rows, starts}, nil
}

// begin starts the next group.
func (w *groupWriter) begin() error { return w.starts.append(uint32(w.rows.count)) }

func (w *groupWriter) finish() (*groups, error) {
	err := w.begin()
	if err != nil {
		return nil, err
	}
	g := &groups{}
	if g.rows, err = w.rows.finish(); err != nil {
		return nil, err
	}
	g.starts, err = w.starts.finish()
	return g, err
}
