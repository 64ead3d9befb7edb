package sanitize

import (
	"net/netip"
	"testing"
)

// FuzzParseInet holds the parser to what netip says.
func FuzzParseInet(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", "192.0.2.0/24", "::", "::1", "2001:db8::1/64", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:192.0.2.1", "1::2::3", "1.2.3",
		"1.2.3.4.5", "01.2.3.4", "256.1.1.1", ":1", "1:", "12345::", "fe80::1%eth0", "1.2.3.4/33", "::/128", "/1", "", ":::", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4:5",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
			want, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		got, _, ok := parseInet([]byte(s))
		if ok != (err == nil) || ok && got != want {
			t.Errorf("%q is %v (%t), want %v (%v)", s, got, ok, want, err)
		}
	})
}
