package sanitize

import (
	"fmt"
	"strconv"
	"strings"
)

func dateTruncKind() kind {
	return kind{
		name: "date_trunc", summary: "the first moment of the year, quarter, month or day of a date",
		params: []param{
			{name: "to", kind: paramChoice, values: []string{"year", "quarter", "month", "day"}, required: true, summary: "what stays"},
		},
		families: []family{familyDate},
		bind: func(a *arguments, t *target, _ []byte) (binding, error) {
			to := a.text("to")
			if to == "day" && t.base == "date" {
				return binding{}, &refusal{"a date has no time of day", "use year, quarter or month"}
			}
			return binding{
				make: func() maskFunc {
					return func(dst, value []byte) []byte { return appendTruncated(dst, value, to) }
				},
				mapping: "date_trunc " + to + " " + t.base,
				ordered: true,
			}, nil
		},
	}
}

func appendTruncated(dst, value []byte, to string) []byte {
	if isInfinity(value) {
		return append(dst, value...)
	}
	day, rest, ok := parseDate(value)
	if !ok {
		return append(dst, unknownDate...)
	}
	y, m, d := civilFromDays(day)
	switch to {
	case "year":
		m, d = 1, 1
	case "quarter":
		m, d = (m-1)/3*3+1, 1
	case "month":
		d = 1
	}
	dst = appendDate(dst, daysFromCivil(y, m, d))
	return appendMidnight(dst, rest)
}

// appendMidnight appends the time of day with zeros for its digits, and the offset as it is.
func appendMidnight(dst, rest []byte) []byte {
	for i, c := range rest {
		if (c == '+' || c == '-' || c == 'Z') && i > 0 {
			return append(dst, rest[i:]...)
		}
		if c == '.' {
			continue
		}
		if i > 8 && '0' <= c && c <= '9' { // a fraction of a second
			continue
		}
		if '0' <= c && c <= '9' {
			c = '0'
		}
		dst = append(dst, c)
	}
	return dst
}

// unknownDate takes the place of dates that are not understood, such as those before Christ.
const unknownDate = "2000-01-01"

func isInfinity(value []byte) bool {
	return string(value) == "infinity" || string(value) == "-infinity"
}

func birthDateKind() kind {
	return kind{
		name: "birth_date", summary: "a date of birth in the same age band",
		params: []param{
			{name: "band", kind: paramInt, least: 1, most: 50, fallback: "5", summary: "years of birth in a band, without ages"},
			{name: "ages", kind: paramText, summary: "where bands begin instead, in years of age: \"18,25,35,50,65\""},
			{name: "as_of", kind: paramText, summary: "the day on which ages are counted, such as 2026-01-01"},
			{name: "to", kind: paramChoice, values: []string{"any", "start"}, fallback: "any", summary: "any day of the band, or its first one"},
		},
		families: []family{familyDate},
		keyed:    true,
		bind:     bindBirthDate,
	}
}

func bindBirthDate(a *arguments, t *target, key []byte) (binding, error) {
	m := birthMask{band: a.number("band"), start: a.text("to") == "start"}
	if a.has("ages") != a.has("as_of") {
		return binding{}, &refusal{"ages and as_of need each other", "write both, or neither"}
	}
	if a.has("ages") {
		day, rest, ok := parseDate([]byte(a.text("as_of")))
		if !ok || len(rest) > 0 {
			return binding{}, &refusal{"as_of is not a date", "write for example as_of: \"2026-01-01\""}
		}
		m.asOf = day
		for _, word := range strings.Split(a.text("ages"), ",") {
			age, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil || age < 1 || age > 120 || len(m.ages) > 0 && age <= m.ages[len(m.ages)-1] {
				return binding{}, &refusal{"ages is not a rising list of years from 1 to 120", `write for example ages: "18,25,35,50,65"`}
			}
			m.ages = append(m.ages, age)
		}
	}
	return binding{
		make: func() maskFunc {
			m := m
			m.prf = newPRF(key, t)
			return m.mask
		},
		mapping: fmt.Sprintf("birth_date %d %v %d %t %s", m.band, m.ages, m.asOf, m.start, t.base),
	}, nil
}

type birthMask struct {
	prf   *prf
	band  int
	ages  []int
	asOf  int // days since 1970-01-01
	start bool
}

// oldestAge ends the last band.
const oldestAge = 110

func (m *birthMask) mask(dst, value []byte) []byte {
	if isInfinity(value) {
		return append(dst, value...)
	}
	day, rest, ok := parseDate(value)
	if !ok {
		return append(dst, unknownDate...)
	}
	first, last := m.bandOf(day)
	masked := first
	if !m.start && last > first {
		// Any day of the band but the day itself.
		sum := m.prf.of(value)
		x := uint64(sum[0])<<24 | uint64(sum[1])<<16 | uint64(sum[2])<<8 | uint64(sum[3])
		masked = first + int(x*uint64(last-first)>>32)
		if masked >= day {
			masked++
		}
	}
	dst = appendDate(dst, masked)
	if m.start {
		return appendMidnight(dst, rest)
	}
	return append(dst, rest...)
}

// bandOf returns the first and the last day of the band of a birthday.
func (m *birthMask) bandOf(day int) (first, last int) {
	y, _, _ := civilFromDays(day)
	if len(m.ages) > 0 && day <= m.asOf && day > m.born(oldestAge) {
		youngest, oldest := 0, oldestAge
		for _, age := range m.ages {
			if day > m.born(age) {
				oldest = age
				break
			}
			youngest = age
		}
		return m.born(oldest) + 1, m.born(youngest)
	}
	y -= y % m.band
	return daysFromCivil(max(y, 1), 1, 1), min(daysFromCivil(y+m.band, 1, 1)-1, lastDay)
}

// born returns the last birthday of those who are of that age.
func (m *birthMask) born(age int) int {
	y, month, d := civilFromDays(m.asOf)
	if month == 2 && d == 29 {
		d = 28
	}
	return daysFromCivil(y-age, month, d)
}

// shiftByEntity moves the dates of a row by the distance of its entity: all rows of a customer by the same.
func shiftByEntity(key []byte, t *target, days int, entity string) binding {
	return binding{
		columns: []string{entity},
		makeRow: func(row rowReader) maskFunc {
			p := newPRF(key, &target{})
			m := &dateMask{prf: newPRF(key, t), days: days}
			of := &dateMask{prf: p, days: days}
			return func(dst, value []byte) []byte {
				m.shift = 0
				if id, null := row.value(0); !null && len(id) > 0 {
					m.shift = of.distance(id)
				}
				return m.mask(dst, value)
			}
		},
		mapping: fmt.Sprintf("date_shift %d by %s.%s %s", days, t.path, entity, t.base),
	}
}
