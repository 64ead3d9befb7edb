package sanitize

import (
	"hash/maphash"
)

// Names, cities and many other values come again and again, and equal values get equal results: a small cache saves
// most of the keyed computations of such columns. It holds fields as COPY writes them, is direct-mapped, and gives up
// where it does not help.
const (
	cacheSlots = 4096 // a power of two
	// cachedField and cachedResult bound what is worth keeping, in bytes; a slot is one and a half lines of memory.
	cachedField  = 31
	cachedResult = 54
	// cacheTrial is how many lookups decide whether the cache stays: at least one in cacheWorth must have been a hit.
	cacheTrial = 1 << 14
	cacheWorth = 8
)

// cacheSlot is free while fieldLength is 0.
type cacheSlot struct {
	fieldLength, resultLength uint8
	seen                      uint8 // what a Rememberer said of the value
	field                     [cachedField]byte
	result                    [cachedResult]byte
}

// resultCache remembers what fields of one column became. The zero value is empty and takes no memory.
type resultCache struct {
	seed          maphash.Seed
	slots         []cacheSlot
	lookups, hits int
	off           bool
}

// slot returns where the field's result is or would be, or nil when it is not worth it.
func (c *resultCache) slot(field []byte) *cacheSlot {
	if c.off || len(field) > cachedField {
		return nil
	}
	if c.slots == nil {
		c.seed, c.slots = maphash.MakeSeed(), make([]cacheSlot, cacheSlots)
	}
	c.lookups++
	if c.lookups == cacheTrial {
		c.off = c.hits < cacheTrial/cacheWorth
		c.lookups, c.hits = 0, 0
		if c.off {
			c.slots = nil
			return nil
		}
	}
	return &c.slots[maphash.Bytes(c.seed, field)&(cacheSlots-1)]
}

// holds reports whether the slot has the result of this field.
func (s *cacheSlot) holds(field []byte) bool {
	return int(s.fieldLength) == len(field) && string(s.field[:s.fieldLength]) == string(field)
}

// keep remembers a result, and what a Rememberer said.
func (s *cacheSlot) keep(field, result []byte, seen uint8) {
	if len(result) > cachedResult {
		return
	}
	s.fieldLength, s.resultLength, s.seen = uint8(len(field)), uint8(len(result)), seen
	copy(s.field[:], field)
	copy(s.result[:], result)
}
