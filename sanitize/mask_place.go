package sanitize

import (
	"fmt"
	"net/netip"
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

func urlKind() kind {
	const start = "https://" + exampleDomain + "/"
	return kind{
		name: "url", summary: "an address below https://example.com/",
		families: []family{familyText},
		keyed:    true, unique: true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			token := emailToken
			if t.limit > 0 {
				token = min(token, t.limit-len(start))
			}
			if token < shortestToken {
				return binding{}, &refusal{
					fmt.Sprintf("the column takes %d characters; the shortest result has %d", t.limit, len(start)+shortestToken),
					"use token, null or static",
				}
			}
			return binding{
				make:    func() maskFunc { return tokenMask(newPRF(key, t), start, token, false) },
				unique:  token*5 >= uniqueBits,
				mapping: fmt.Sprintf("url %d %s", token, t.equality()),
			}, nil
		},
	}
}

// longestIPv4 and longestIPv6 are the lengths of the longest addresses in text form, with a prefix length.
const (
	longestIPv4 = len("255.255.255.255/32")
	longestIPv6 = len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")
)

func inetKind() kind {
	return kind{
		name: "inet", summary: "an address in 10.0.0.0/8 or, for IPv6, in fd00::/8; a prefix length stays",
		params: []param{
			{name: "network", kind: paramChoice, values: []string{"mask", "keep"}, fallback: "mask", summary: "keep leaves the first 24 bits of IPv4 and the first 48 of IPv6"},
		},
		families: []family{familyInet, familyText},
		keyed:    true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			if !t.fits(longestIPv4) {
				return binding{}, &refusal{
					fmt.Sprintf("the column takes %d characters; an address needs up to %d", t.limit, longestIPv4),
					"use token, null or static",
				}
			}
			m := inetMask{keep: a.text("network") == "keep", short: !t.fits(longestIPv6), network: t.base == "cidr"}
			return binding{
				make: func() maskFunc {
					m := m
					m.prf = newPRF(key, t)
					return m.mask
				},
				mapping: fmt.Sprintf("inet %s short %t cidr %t %s", a.text("network"), m.short, m.network, t.equality()),
			}, nil
		},
	}
}

type inetMask struct {
	prf     *prf
	keep    bool // leave the network part
	short   bool // the column has no room for IPv6
	network bool // cidr: bits behind the prefix must be zero
}

func (m *inetMask) mask(dst, value []byte) []byte {
	sum := m.prf.of(value)
	prefix, slash, ok := parseInet(value)
	if !ok || m.short && prefix.Addr().Is6() {
		prefix, slash = netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 32), false
	}
	var masked netip.Addr
	if prefix.Addr().Is4() {
		masked = m.ipv4(prefix.Addr(), sum[:], ok)
	} else {
		masked = m.ipv6(prefix.Addr(), sum[:])
	}
	if m.network {
		masked = m.networkOf(masked, prefix)
	}
	dst = masked.AppendTo(dst)
	if slash {
		dst = append(dst, '/')
		dst = strconv.AppendInt(dst, int64(prefix.Bits()), 10)
	}
	return dst
}

// networkOf clears the bits behind the prefix. If that leaves the original, it changes the last bit of the network, unless
// that one stays by rule: in 10.0.0.0/8 itself there is nothing to hide.
func (m *inetMask) networkOf(masked netip.Addr, original netip.Prefix) netip.Addr {
	bits := original.Bits()
	masked = netip.PrefixFrom(masked, bits).Masked().Addr()
	fixed := 8
	if m.keep && masked.Is4() {
		fixed = 24
	} else if m.keep {
		fixed = 48
	}
	if bits <= fixed || masked != original.Masked().Addr() {
		return masked
	}
	raw := masked.AsSlice()
	raw[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
	masked, _ = netip.AddrFromSlice(raw)
	return masked
}

func (m *inetMask) ipv4(original netip.Addr, sum []byte, known bool) netip.Addr {
	a := original.As4()
	old := a
	if !m.keep || !known {
		a[0], a[1], a[2] = 10, sum[1], sum[2]
	}
	a[3] = sum[3]
	if a == old {
		a[3]++
	}
	return netip.AddrFrom4(a)
}

func (m *inetMask) ipv6(original netip.Addr, sum []byte) netip.Addr {
	a := original.As16()
	old := a
	copy(a[6:], sum[6:16])
	if !m.keep {
		copy(a[:6], sum[:6])
		a[0] = 0xfd
	}
	if a == old {
		a[15]++
	}
	return netip.AddrFrom16(a)
}

// longestInet bounds what is worth parsing as an address.
const longestInet = 64

// parseInet reads "192.0.2.1", "192.0.2.0/24" and their IPv6 forms. Without a prefix length it is that of one host.
func parseInet(value []byte) (p netip.Prefix, slash, ok bool) {
	if len(value) > longestInet {
		return netip.Prefix{}, false, false
	}
	text := string(value)
	if strings.IndexByte(text, '/') >= 0 {
		p, err := netip.ParsePrefix(text)
		return p, true, err == nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, false, false
	}
	return netip.PrefixFrom(addr, addr.BitLen()), false, true
}
