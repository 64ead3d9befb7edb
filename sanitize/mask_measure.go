package sanitize

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

func noiseKind() kind {
	return kind{
		name: "noise", summary: "a number near the original: at most percent away, with the same sign and no more digits",
		params: []param{
			{name: "percent", kind: paramInt, least: 1, most: 100, fallback: "10", summary: "the greatest distance"},
		},
		families: []family{familyInteger, familyNumeric},
		keyed:    true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			percent := a.number("percent")
			greatest := greatestOf(t)
			return binding{
				make: func() maskFunc {
					m := &noiseMask{prf: newPRF(key, t), percent: uint64(percent), greatest: greatest}
					return m.mask
				},
				mapping: fmt.Sprintf("noise %d %s", percent, t.base),
			}, nil
		},
	}
}

// greatestOf returns the greatest number of an integer type, MaxUint64 for other types.
func greatestOf(t *target) uint64 {
	switch t.base {
	case "smallint":
		return math.MaxInt16
	case "integer":
		return math.MaxInt32
	case "bigint":
		return math.MaxInt64
	default:
		return math.MaxUint64
	}
}

// digitsOf reads the digits of a number in PostgreSQL's text form. end is where they end: an exponent follows, or
// nothing. ok is false for NaN and Infinity.
func digitsOf(value, memory []byte) (digits []byte, end int, ok bool) {
	digits, end = memory[:0], len(value)
	if e := bytes.IndexAny(value, "eE"); e >= 0 {
		end = e
	}
	for _, c := range value[:end] {
		if '0' <= c && c <= '9' {
			digits = append(digits, c)
		} else if c != '-' && c != '.' {
			return digits, end, false
		}
	}
	return digits, end, len(digits) > 0
}

// appendWithDigits appends value with other digits, without zeros in front: JSON does not know them.
func appendWithDigits(dst, value, digits []byte, end int) []byte {
	next, leading := 0, true
	for i, c := range value[:end] {
		if '0' <= c && c <= '9' {
			c = digits[next]
			next++
			last := i+1 == end || value[i+1] == '.'
			if leading = leading && c == '0' && !last; leading {
				continue
			}
		}
		dst = append(dst, c)
	}
	return append(dst, value[end:]...)
}

type noiseMask struct {
	prf               *prf
	percent, greatest uint64
	digits            []byte
}

// mask moves the number that the first 18 digits make; digits behind those are replaced. Numbers too small to be moved by
// one unit of their last digit stay, and so do NaN and Infinity.
func (m *noiseMask) mask(dst, value []byte) []byte {
	digits, end, ok := digitsOf(value, m.digits)
	m.digits = digits
	if !ok {
		return append(dst, value...)
	}
	head := digits[:min(len(digits), chunkDigits)]
	x := uint64(0)
	for _, c := range head {
		x = x*10 + uint64(c-'0')
	}
	sum := m.prf.of(value)
	reach := x/100*m.percent + x%100*m.percent/100
	if reach > 0 {
		x = m.move(x, reach, len(head), sum)
	}
	for i := len(head) - 1; i >= 0; i-- {
		head[i] = byte('0' + x%10)
		x /= 10
	}
	for i := len(head); i < len(digits); i++ {
		digits[i] = '0' + sum[8+i%24]%10
	}
	return appendWithDigits(dst, value, digits, end)
}

// move returns a number from x-reach to x+reach, not x itself, that has no more digits and fits the type.
func (m *noiseMask) move(x, reach uint64, digits int, sum *[32]byte) uint64 {
	random := uint64(0)
	for _, b := range sum[:8] {
		random = random<<8 | uint64(b)
	}
	distance := 1 + random>>1%reach
	above := x + distance
	if random&1 == 0 || above > m.greatest || above >= powersOfTen()[digits] {
		return x - distance
	}
	return above
}

func bucketKind() kind {
	return kind{
		name: "bucket", summary: "the number rounded to a multiple of width: everybody in a bucket looks the same",
		params: []param{
			{name: "width", kind: paramText, required: true, summary: "the size of a bucket: a number above zero, such as 10 or 0.5"},
			{name: "round", kind: paramChoice, values: []string{"down", "nearest"}, fallback: "down", summary: "down is towards zero; nearest as well, where the result would have more digits"},
		},
		families: []family{familyInteger, familyNumeric},
		bind:     bindBucket,
	}
}

func bindBucket(a *arguments, t *target, _ []byte) (binding, error) {
	text := a.text("width")
	width, err := strconv.ParseFloat(text, 64)
	if err != nil || width <= 0 || width > 1e15 || math.IsNaN(width) {
		return binding{}, &refusal{"width is not a number above zero", "write for example width: 10"}
	}
	if t.family == familyInteger && width == 1 {
		return binding{}, &refusal{"with a width of 1 every number stays as it is", "write for example width: 10, or keep"}
	}
	if t.family == familyInteger && width != math.Trunc(width) {
		return binding{}, &refusal{"width is not a whole number", "write for example width: 10"}
	}
	nearest := a.text("round") == "nearest"
	greatest := greatestOf(t)
	return binding{
		make: func() maskFunc {
			return func(dst, value []byte) []byte { return appendBucket(dst, value, width, nearest, greatest) }
		},
		mapping: fmt.Sprintf("bucket %s %s", text, a.text("round")),
	}, nil
}

// appendBucket rounds as a floating point number: up to 15 digits are exact, what is behind those is rounding anyway.
func appendBucket(dst, value []byte, width float64, nearest bool, greatest uint64) []byte {
	x, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) {
		return append(dst, value...)
	}
	down := math.Trunc(x/width) * width
	rounded := down
	if nearest {
		rounded = math.Trunc(x/width+math.Copysign(0.5, x)) * width
		if math.Abs(rounded) > float64(greatest) || wholeDigits(rounded) > wholeDigits(x) {
			rounded = down
		}
	}
	if rounded == 0 {
		rounded = 0 // no minus
	}
	decimals := 0
	if dot := bytes.IndexByte(value, '.'); dot >= 0 {
		for decimals = 0; dot+1+decimals < len(value) && '0' <= value[dot+1+decimals] && value[dot+1+decimals] <= '9'; {
			decimals++
		}
	}
	if bytes.ContainsAny(value, "eE") {
		return strconv.AppendFloat(dst, rounded, 'g', -1, 64)
	}
	return strconv.AppendFloat(dst, rounded, 'f', decimals, 64)
}

// wholeDigits returns how many digits a number has before the point.
func wholeDigits(x float64) int {
	n := 0
	for x = math.Abs(x); x >= 1; x /= 10 {
		n++
	}
	return n
}
