package sanitize

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Lengths of what the word lists can give; words_test.go holds them to it.
const (
	maxStreetLength = 25
	maxCityLength   = 16
)

func streetAddressKind() kind {
	return wordsKind("street_address", "a house number and a street on one line", maxStreetLength,
		func(p *prf) maskFunc {
			streets, ways := streetNames(), strings.Fields("Street Road Avenue Lane Drive Way Court Close")
			return func(dst, value []byte) []byte {
				sum := p.of(value)
				number := 1 + (int(sum[4])<<8|int(sum[5]))*999>>16
				dst = strconv.AppendInt(dst, int64(number), 10)
				dst = append(dst, ' ')
				dst = append(dst, pick(streets, sum[0], sum[1], value)...)
				dst = append(dst, ' ')
				return append(dst, ways[int(sum[2])*len(ways)>>8]...)
			}
		})
}

// maxAddressLength is that of a street, a separator, a postcode, a space and a city.
const maxAddressLength = maxStreetLength + 2 + 5 + 1 + maxCityLength

func addressKind() kind {
	return kind{
		name: "address", summary: "a full address: house number, street, postcode and city, on as many lines as the original, at most two",
		families: []family{familyText},
		keyed:    true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			return binding{
				make: func() maskFunc {
					mask := addressMask(newPRF(key, t))
					return func(dst, value []byte) []byte { return fit(mask(dst, value), len(dst), t.limit) }
				},
				escape:  true, // a line break
				mapping: fmt.Sprintf("address limit %d %s", t.binding(maxAddressLength), t.equality()),
			}, nil
		},
	}
}

func addressMask(p *prf) maskFunc {
	streets, ways := streetNames(), strings.Fields("Street Road Avenue Lane Drive Way Court Close")
	starts, ends := cityStarts(), strings.Fields("ford bury field haven bridge mouth wick stead")
	return func(dst, value []byte) []byte {
		sum := p.of(value)
		dst = strconv.AppendInt(dst, int64(1+(int(sum[0])<<8|int(sum[1]))*999>>16), 10)
		dst = append(dst, ' ')
		dst = append(dst, pick(streets, sum[2], sum[3], value)...)
		dst = append(dst, ' ')
		dst = append(dst, ways[int(sum[4])*len(ways)>>8]...)
		if bytes.IndexByte(value, '\n') >= 0 {
			dst = append(dst, '\n')
		} else {
			dst = append(dst, ", "...)
		}
		for _, b := range sum[5:10] {
			dst = append(dst, '0'+b%10)
		}
		dst = append(dst, ' ')
		dst = append(dst, pick(starts, sum[10], sum[11], value)...)
		return append(dst, ends[int(sum[12])*len(ends)>>8]...)
	}
}

func cityKind() kind {
	return wordsKind("city", "a made-up city", maxCityLength,
		func(p *prf) maskFunc {
			starts, ends := cityStarts(), strings.Fields("ford bury field haven bridge mouth wick stead")
			return func(dst, value []byte) []byte {
				sum := p.of(value)
				dst = append(dst, pick(starts, sum[0], sum[1], value)...)
				return append(dst, ends[int(sum[2])*len(ends)>>8]...)
			}
		})
}

func postcodeKind() kind {
	return kind{
		name: "postcode", summary: "digits become digits, letters become letters, the rest stays",
		families: []family{familyText},
		keyed:    true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			return binding{
				make:    func() maskFunc { return postcodeMask(newPRF(key, t)) },
				escape:  true,
				mapping: "postcode " + t.equality(),
			}, nil
		},
	}
}

// postcodeMask keeps the form of a postcode. Characters outside ASCII become x.
func postcodeMask(p *prf) maskFunc {
	return func(dst, value []byte) []byte {
		sum := p.of(value)
		n := 0
		changed := false
		start := len(dst)
		dst = redactText(dst, value)
		at := start
		for _, r := range string(value) { // one result byte per character
			c := byte('x')
			switch {
			case '0' <= r && r <= '9':
				c = '0' + sum[n%len(sum)]%10
			case 'a' <= r && r <= 'z':
				c = 'a' + sum[n%len(sum)]%26
			case 'A' <= r && r <= 'Z':
				c = 'A' + sum[n%len(sum)]%26
			case r < 0x80:
				dst[at] = byte(r)
				at++
				continue
			}
			n++
			changed = changed || rune(c) != r
			dst[at] = c
			at++
		}
		if !changed && n > 0 {
			bump(dst[start:])
		}
		return dst
	}
}

// bump changes the last letter or digit to the next one.
func bump(s []byte) {
	for i := len(s) - 1; i >= 0; i-- {
		switch c := s[i]; {
		case c == '9':
			s[i] = '0'
		case c == 'z':
			s[i] = 'a'
		case c == 'Z':
			s[i] = 'A'
		case '0' <= c && c < '9' || 'a' <= c && c < 'z' || 'A' <= c && c < 'Z':
			s[i]++
		default:
			continue
		}
		return
	}
}
