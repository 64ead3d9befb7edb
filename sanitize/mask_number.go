package sanitize

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// chunkDigits is how many digits are permuted at a time.
const chunkDigits = 18

func numberKind() kind {
	return kind{
		name: "number", summary: "another number with the same sign and as many digits before and after the point",
		families: []family{familyInteger, familyNumeric},
		keyed:    true, unique: true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			greatest := uint64(math.MaxUint64)
			switch t.base {
			case "smallint":
				greatest = math.MaxInt16
			case "integer":
				greatest = math.MaxInt32
			case "bigint":
				greatest = math.MaxInt64
			}
			return binding{
				make: func() maskFunc {
					m := &numberMask{permuter: newPermuter(key), powers: powersOfTen(), greatest: greatest}
					return m.mask
				},
				// 7.5 and 7.50 are two forms of one number, and floating point numbers are rounded.
				unique:  t.family == familyInteger,
				mapping: "number " + t.base,
			}, nil
		},
	}
}

// maxDigits is the number of digits of the greatest bigint.
const maxDigits = 19

type numberMask struct {
	permuter *permuter
	powers   [19]uint64
	greatest uint64
	digits   []byte
}

// mask permutes the numbers that have the same form: sign, digits before and after the point, exponent. NaN and
// Infinity stay.
func (m *numberMask) mask(dst, value []byte) []byte {
	mantissa := value
	if e := bytes.IndexAny(value, "eE"); e >= 0 {
		mantissa = value[:e]
	}
	m.digits = m.digits[:0]
	for _, c := range mantissa {
		if '0' <= c && c <= '9' {
			m.digits = append(m.digits, c)
		} else if c != '-' && c != '.' {
			return append(dst, value...)
		}
	}
	if len(m.digits) == 0 {
		return append(dst, value...)
	}
	m.permute(m.digits, mantissa[0] == '-')
	next := 0
	for _, c := range mantissa {
		if '0' <= c && c <= '9' {
			c = m.digits[next]
			next++
		}
		dst = append(dst, c)
	}
	return append(dst, value[len(mantissa):]...)
}

// permute replaces digits with others. The first one stays zero or not zero, so that the number keeps its length.
func (m *numberMask) permute(digits []byte, negative bool) {
	single := len(digits) == 1
	if digits[0] == '0' && !single {
		// "0.05": what follows the zero may be anything, but a negative number stays below zero.
		m.loose(digits[1:], 0, negative)
		return
	}
	head := min(len(digits), chunkDigits)
	if len(digits) == maxDigits && m.greatest != math.MaxUint64 {
		head = maxDigits
	}
	least, above := uint64(0), uint64(math.MaxUint64)
	if head < maxDigits {
		above = m.powers[head]
	}
	if !single || negative {
		least = m.powers[head-1]
	}
	if greatest := m.greatest; greatest != math.MaxUint64 {
		if negative {
			greatest++
		}
		above = min(above, greatest+1)
	}
	m.chunk(digits[:head], least, above)
	m.loose(digits[head:], 0, false)
}

// loose replaces digits that may start with zeros, in chunks. positive keeps the first chunk above zero.
func (m *numberMask) loose(digits []byte, least uint64, positive bool) {
	if positive {
		least = 1
	}
	for len(digits) > 0 {
		n := min(len(digits), chunkDigits)
		m.chunk(digits[:n], least, m.powers[n])
		digits = digits[n:]
		least = 0
	}
}

// chunk permutes the numbers from least to below above. One outside of them, which the column's type does not hold, is
// taken into them first: it must not stay.
func (m *numberMask) chunk(digits []byte, least, above uint64) {
	var x uint64
	for _, c := range digits {
		x = x*10 + uint64(c-'0')
	}
	size := above - least
	if x < least || x >= above {
		x = least + x%size
	}
	x = m.permuter.of(x-least, size) + least
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + x%10)
		x /= 10
	}
}

func dateShiftKind() kind {
	return kind{
		name: "date_shift", summary: "moves dates and timestamps by whole days; the time of day stays",
		params: []param{
			{name: "days", kind: paramInt, least: 1, most: 36500, fallback: "365", summary: "the greatest distance"},
			{name: "by", kind: paramChoice, values: []string{"constant", "value"}, fallback: "constant", summary: "constant: all values of a domain by the same distance, so that order and intervals stay; value: each value by its own"},
			{name: "entity", kind: paramText, summary: "a column of the same table, such as customer_id: rows with the same one move by the same distance, in all tables"},
		},
		families: []family{familyDate},
		keyed:    true, unique: true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			days, constant := a.number("days"), a.text("by") == "constant"
			if entity := a.text("entity"); entity != "" {
				if a.has("by") {
					return binding{}, &refusal{"entity and by exclude each other", "remove by"}
				}
				return shiftByEntity(key, t, days, entity), nil
			}
			return binding{
				make: func() maskFunc {
					m := &dateMask{prf: newPRF(key, t), days: days}
					if constant {
						m.shift = m.distance(nil)
					}
					return m.mask
				},
				unique:  constant,
				ordered: constant,
				mapping: fmt.Sprintf("date_shift %d %s %s", days, a.text("by"), t.base),
			}, nil
		},
	}
}

type dateMask struct {
	prf   *prf
	days  int
	shift int // 0: by value
}

// distance returns a number from -days to days without 0.
func (m *dateMask) distance(value []byte) int {
	sum := m.prf.of(value)
	x := uint64(sum[0])<<24 | uint64(sum[1])<<16 | uint64(sum[2])<<8 | uint64(sum[3])
	n := int(x * uint64(2*m.days) >> 32) // 0 to 2*days-1
	if n < m.days {
		return n - m.days
	}
	return n - m.days + 1
}

// mask moves an ISO date. What is not one, such as a year before Christ, becomes a fixed date. Infinity stays, and so do
// 0001-01-01 and the year 9999, which applications write for "never", and dates that would leave the years 1 to 9999.
func (m *dateMask) mask(dst, value []byte) []byte {
	if string(value) == "infinity" || string(value) == "-infinity" {
		return append(dst, value...)
	}
	day, rest, ok := parseDate(value)
	if !ok {
		return append(dst, "2000-01-01"...)
	}
	shift := m.shift
	if shift == 0 {
		shift = m.distance(value)
	}
	if day == firstDay || day > lastDay-365 || day+shift < firstDay || day+shift > lastDay {
		return append(dst, value...)
	}
	dst = appendDate(dst, day+shift)
	return append(dst, rest...)
}

// Days since 1970-01-01 of 0001-01-01 and of 9999-12-31.
const (
	firstDay = -719162
	lastDay  = 2932896
)

// parseDate reads "2024-02-29" at the start of value, as days since 1970-01-01; rest is what follows it, which holds a
// time of day at most.
func parseDate(value []byte) (day int, rest []byte, ok bool) {
	if len(value) < 10 || value[4] != '-' || value[7] != '-' || bytes.HasSuffix(value, []byte("BC")) {
		return 0, nil, false
	}
	for i, c := range value {
		if i != 4 && i != 7 && i < 10 && (c < '0' || c > '9') ||
			i >= 10 && (c < '0' || c > '9') && strings.IndexByte(" T:.+-Z", c) < 0 {
			return 0, nil, false
		}
	}
	year := int(value[0]-'0')*1000 + int(value[1]-'0')*100 + int(value[2]-'0')*10 + int(value[3]-'0')
	month := int(value[5]-'0')*10 + int(value[6]-'0')
	dayOfMonth := int(value[8]-'0')*10 + int(value[9]-'0')
	if year == 0 || month < 1 || month > 12 || dayOfMonth < 1 || dayOfMonth > 31 {
		return 0, nil, false
	}
	return daysFromCivil(year, month, dayOfMonth), value[10:], true
}

// daysFromCivil and civilFromDays convert by eras of 400 years that begin in March (Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms"). Years are positive.
func daysFromCivil(y, m, d int) int {
	if m <= 2 {
		y--
	}
	era, month := y/400, (m+9)%12
	yearOfEra := y % 400
	dayOfYear := (153*month+2)/5 + d - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return era*146097 + dayOfEra - 719468
}

func civilFromDays(days int) (y, m, d int) {
	days += 719468
	era, dayOfEra := days/146097, days%146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	month := (5*dayOfYear + 2) / 153
	d = dayOfYear - (153*month+2)/5 + 1
	m = month + 3
	y = yearOfEra + era*400
	if m > 12 {
		m -= 12
		y++
	}
	return y, m, d
}

func appendDate(dst []byte, day int) []byte {
	y, m, d := civilFromDays(day)
	for _, unit := range [...]int{1000, 100, 10} {
		if y < unit {
			dst = append(dst, '0')
		}
	}
	dst = strconv.AppendInt(dst, int64(y), 10)
	dst = append(dst, '-', byte('0'+m/10), byte('0'+m%10), '-')
	return append(dst, byte('0'+d/10), byte('0'+d%10))
}
