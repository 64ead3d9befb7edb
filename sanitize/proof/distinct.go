package proof

import (
	"math"
	"math/bits"
)

// distinctBits is the precision of HyperLogLog: 4096 registers, a standard error of 1.04/sqrt(4096) = 1.6%.
const distinctBits = 12

// distinctError is the standard error of distinct counts.
const distinctError = 0.01625

// distinct counts different values in 4 KiB (Flajolet and others, "HyperLogLog", 2007).
type distinct struct {
	registers [1 << distinctBits]uint8
}

func (d *distinct) add(hash uint64) {
	i := hash >> (64 - distinctBits)
	if rank := uint8(bits.LeadingZeros64(hash<<distinctBits|1<<(distinctBits-1)) + 1); rank > d.registers[i] {
		d.registers[i] = rank
	}
}

func (d *distinct) merge(other *distinct) {
	for i, r := range other.registers {
		d.registers[i] = max(d.registers[i], r)
	}
}

// count returns the estimate. Small counts are exact in practice (linear counting).
func (d *distinct) count() int64 {
	const m = 1 << distinctBits
	sum, zeros := 0.0, 0
	for _, r := range d.registers {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			zeros++
		}
	}
	estimate := 0.7213 / (1 + 1.079/m) * m * m / sum
	if estimate <= 2.5*m && zeros > 0 {
		estimate = m * math.Log(m/float64(zeros))
	}
	return int64(math.Round(estimate))
}
