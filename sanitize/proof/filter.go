package proof

import (
	"math"
	"math/bits"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filter is a Bloom filter in blocks of one cache line (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom
// Filters", 2007): one memory access per question.
type filter struct {
	blocks [][8]uint64
}

const (
	blockBits = 512
	// filterRatio is how many bits a filter has for each value, as long as it may grow: 0.1% of other values pass.
	filterRatio = 16
	// probes is how many bits are set for each value.
	probes = 7
)

// newFilter returns a filter for about n values, of at most maxBytes. A large one is outside of Go's heap, which may grow to twice of
// what is in use before anything is collected: the filters would count twice.
func newFilter(n, maxBytes int64) *filter {
	const blockBytes, large = blockBits / 8, 1 << 20
	blocks := max(1, min(n*filterRatio/blockBits+1, maxBytes/blockBytes))
	if blocks*blockBytes < large {
		return &filter{blocks: make([][8]uint64, blocks)}
	}
	memory, err := unix.Mmap(-1, 0, int(blocks*blockBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return &filter{blocks: make([][8]uint64, blocks)}
	}
	f := &filter{blocks: unsafe.Slice((*[8]uint64)(unsafe.Pointer(unsafe.SliceData(memory))), blocks)} //nolint:gosec // page-aligned, and as long as that
	runtime.AddCleanup(f, func(memory []byte) { _ = unix.Munmap(memory) }, memory)
	return f
}

// block returns the block of a fingerprint and the bits that choose within it.
func (f *filter) block(p Fingerprint) (*[8]uint64, uint64) {
	return &f.blocks[p.High>>32*uint64(len(f.blocks))>>32], p.High<<32 | uint64(p.Low)
}

// add adds a fingerprint.
func (f *filter) add(p Fingerprint) {
	block, h := f.block(p)
	for range probes {
		block[h>>6&7] |= 1 << (h & 63)
		h >>= 9
	}
	runtime.KeepAlive(f)
}

// has reports whether a fingerprint may have been added; false is certain.
func (f *filter) has(p Fingerprint) bool {
	block, h := f.block(p)
	for range probes {
		if block[h>>6&7]&(1<<(h&63)) == 0 {
			return false
		}
		h >>= 9
	}
	runtime.KeepAlive(f)
	return true
}

// passes returns the share of other values that the filter lets pass.
func (f *filter) passes() float64 {
	set := 0
	for i := range f.blocks {
		for _, word := range f.blocks[i] {
			set += bits.OnesCount64(word)
		}
	}
	runtime.KeepAlive(f)
	return math.Pow(float64(set)/float64(len(f.blocks)*blockBits), probes)
}
