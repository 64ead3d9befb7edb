package sanitize

import (
	"bytes"
	"fmt"
)

func uuidKind() kind {
	return kind{
		name: "uuid", summary: "another UUID of the same version and variant; what is no UUID becomes one of version 8",
		families: []family{familyUUID, familyText},
		keyed:    true, unique: true, disjoint: true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			if !t.fits(uuidLength) {
				return binding{}, &refusal{fmt.Sprintf("the column takes %d characters; a UUID has %d", t.limit, uuidLength), "use token"}
			}
			return binding{
				make:    func() maskFunc { return versionedUUID(newPRF(key, t)) },
				unique:  true,
				mapping: "uuid " + t.equality(),
			}, nil
		},
	}
}

const uuidLength = 36

// versionedUUID keeps version and variant (RFC 9562, 4.1 and 4.2); the other 122 bits are keyed.
func versionedUUID(p *prf) maskFunc {
	return func(dst, value []byte) []byte {
		version, variant := byte(8), byte(8)
		if len(value) == uuidLength && looksLikeUUID(value) {
			v, _ := hexValue(value[14])
			r, _ := hexValue(value[19])
			version, variant = byte(v), byte(r)&0xc
		}
		sum := p.of(value)
		sum[6] = sum[6]&0x0f | version<<4
		sum[8] = sum[8]&0x3f | variant<<4
		return appendUUID(dst, sum[:16])
	}
}

func macKind() kind {
	return kind{
		name: "mac", summary: "another hardware address; its form and the bits for local and group addresses stay",
		params: []param{
			{name: "vendor", kind: paramChoice, values: []string{"mask", "keep"}, fallback: "mask", summary: "keep leaves the first 24 bits"},
		},
		families: []family{familyMAC, familyText},
		keyed:    true, unique: true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			if !t.fits(len("02:00:00:00:00:00")) {
				return binding{}, &refusal{fmt.Sprintf("the column takes %d characters; a hardware address needs up to 17", t.limit), "use token, null or static"}
			}
			keep := a.text("vendor") == "keep"
			return binding{
				make: func() maskFunc {
					m := &macMask{prf: newPRF(key, t), fpe: newFPE(key), keepVendor: keep}
					return m.mask
				},
				unique:  t.family == familyMAC, // texts can write one address in several ways
				mapping: "mac " + a.text("vendor") + " " + t.equality(),
			}, nil
		},
	}
}

// macMask replaces hardware addresses of 48 and 64 bits, in any of the forms that PostgreSQL reads.
type macMask struct {
	prf        *prf
	fpe        *fpe
	keepVendor bool
	text       symbols
	kept       []byte
}

// vendorDigits is the length of the part that names the vendor (IEEE 802, OUI).
const vendorDigits = 6

func (m *macMask) mask(dst, value []byte) []byte {
	if !m.read(value) {
		sum := m.prf.of(value)
		dst = append(dst, "02"...)
		for _, b := range sum[:5] {
			dst = append(dst, ':', hexDigits[b>>4], hexDigits[b&15])
		}
		return dst
	}
	m.fpe.apply(&m.text, m.kept)
	digits := hexDigits
	if bytes.ContainsAny(value, "ABCDEF") {
		digits = "0123456789ABCDEF"
	}
	next, digit := 0, 0
	for _, c := range value {
		if n, ok := hexValue(c); ok {
			switch {
			case m.keepVendor && digit < vendorDigits:
			case digit == 1:
				c = digits[n&3|int(m.text.value[next])<<2]
				next++
			default:
				c = digits[m.text.value[next]]
				next++
			}
			digit++
		}
		dst = append(dst, c)
	}
	return dst
}

// read takes the digits of an address apart. The two low bits of the first byte stay: they say whether it is a group's and
// whether it is local.
func (m *macMask) read(value []byte) bool {
	m.text.reset()
	m.kept = m.kept[:0]
	digit := 0
	for _, c := range value {
		n, ok := hexValue(c)
		switch {
		case !ok && (c == ':' || c == '-' || c == '.'):
			continue
		case !ok:
			return false
		case m.keepVendor && digit < vendorDigits:
			m.kept = append(m.kept, byte(n))
		case digit == 1:
			m.text.add(uint8(n>>2), 4)
			m.kept = append(m.kept, byte(n&3))
		default:
			m.text.add(uint8(n), 16)
		}
		digit++
	}
	return digit == 12 || digit == 16
}
