package sanitize

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
)

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

// parseInet reads "192.0.2.1", "192.0.2.0/24" and their IPv6 forms. Without a prefix length it is that of one host. It does
// what netip does, without allocating memory.
func parseInet(value []byte) (p netip.Prefix, slash, ok bool) {
	text := value
	length := -1
	if at := bytes.IndexByte(value, '/'); at >= 0 {
		text, slash = value[:at], true
		if length, ok = smallNumber(value[at+1:], 128); !ok {
			return netip.Prefix{}, false, false
		}
	}
	addr, ok := parseIPv4(text)
	if !ok {
		addr, ok = parseIPv6(text)
	}
	if !ok || length > addr.BitLen() {
		return netip.Prefix{}, false, false
	}
	if length < 0 {
		length = addr.BitLen()
	}
	return netip.PrefixFrom(addr, length), slash, true
}

// smallNumber reads a decimal number of up to three digits without needless zeros.
func smallNumber(s []byte, most int) (n int, ok bool) {
	if len(s) == 0 || len(s) > 3 || len(s) > 1 && s[0] == '0' || !allDigits(s) {
		return 0, false
	}
	n = numberIn(s)
	return n, n <= most
}

func parseIPv4(s []byte) (netip.Addr, bool) {
	var a [4]byte
	for i := range a {
		part := s
		if i < 3 {
			dot := bytes.IndexByte(s, '.')
			if dot < 0 {
				return netip.Addr{}, false
			}
			part, s = s[:dot], s[dot+1:]
		}
		n, ok := smallNumber(part, 255)
		if !ok {
			return netip.Addr{}, false
		}
		a[i] = byte(n)
	}
	return netip.AddrFrom4(a), true
}

// parseIPv6 reads eight groups of hexadecimal digits; "::" stands for groups of zeros, an IPv4 address for the last two.
func parseIPv6(s []byte) (netip.Addr, bool) {
	var a [16]byte
	at, gap := 0, -1
	if len(s) >= 2 && s[0] == ':' && s[1] == ':' {
		gap, s = 0, s[2:]
	}
	for len(s) > 0 {
		if at == len(a) {
			return netip.Addr{}, false
		}
		end := bytes.IndexByte(s, ':')
		if end < 0 {
			end = len(s)
		}
		if v4, ok := parseIPv4(s); ok && at <= 12 {
			four := v4.As4()
			at += copy(a[at:], four[:])
			break
		}
		group, ok := hexGroup(s[:end])
		if !ok {
			return netip.Addr{}, false
		}
		a[at], a[at+1] = byte(group>>8), byte(group)
		at += 2
		if end == len(s) {
			break
		}
		if s = s[end+1:]; len(s) == 0 {
			return netip.Addr{}, false // a single colon at the end
		}
		if s[0] == ':' {
			if gap >= 0 {
				return netip.Addr{}, false
			}
			gap, s = at, s[1:]
		}
	}
	if gap < 0 && at < len(a) || gap >= 0 && at == len(a) {
		return netip.Addr{}, false
	}
	if gap >= 0 {
		moved := copy(a[len(a)-(at-gap):], a[gap:at])
		clear(a[gap : len(a)-moved])
	}
	return netip.AddrFrom16(a), true
}

// hexGroup reads one to four hexadecimal digits.
func hexGroup(s []byte) (n int, ok bool) {
	if len(s) == 0 || len(s) > 4 {
		return 0, false
	}
	for _, c := range s {
		digit, ok := hexValue(c)
		if !ok {
			return 0, false
		}
		n = n<<4 | digit
	}
	return n, true
}

func allDigits(s []byte) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// numberIn reads digits as a number.
func numberIn(s []byte) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}
