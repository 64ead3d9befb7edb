package sanitize

import (
	"slices"
	"testing"
)

func TestWordListsKeepTheirPromises(t *testing.T) {
	t.Parallel()
	for name, list := range map[string][]string{
		"first": firstNames(), "last": lastNames(), "streets": streetNames(), "cities": cityStarts(),
		"company": companyWords(), "trades": companyTrades(),
	} {
		if len(list) < 50 || !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("%s: %d words, sorted %t", name, len(list), slices.IsSorted(list))
		}
	}
	longest := func(list []string) int {
		n := 0
		for _, w := range list {
			n = max(n, len(w))
			if !printableASCII(w) {
				t.Errorf("%q is not ASCII", w)
			}
		}
		return n
	}
	for name, c := range map[string]struct{ have, most int }{
		"first name": {longest(firstNames()), maxNameLength},
		"last name":  {longest(lastNames()), maxNameLength},
		"street":     {len("999 ") + longest(streetNames()) + len(" Avenue"), maxStreetLength},
		"city":       {longest(cityStarts()) + len("bridge"), maxCityLength},
		"company":    {longest(companyWords()) + 1 + longest(companyTrades()) + 1 + len("Group"), maxCompanyWords},
	} {
		if c.have > c.most {
			t.Errorf("%s: up to %d characters, promised %d", name, c.have, c.most)
		}
	}
}

func TestPermuterIsOneCycle(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{2, 3, 7, 10, 90, 100, 900, 1000, 22768} {
		p := newPermuter(make([]byte, MinKeyLength))
		x, steps := uint64(0), uint64(0)
		for {
			x = p.of(x, n)
			steps++
			if x >= n || steps > n {
				t.Fatalf("n %d: at %d after %d steps", n, x, steps)
			}
			if x == 0 {
				break
			}
		}
		if steps != n {
			t.Errorf("n %d: back at the start after %d steps", n, steps)
		}
	}
}

func TestPermuterOnTheLargestDomains(t *testing.T) {
	t.Parallel()
	p := newPermuter(make([]byte, MinKeyLength))
	for _, n := range []uint64{1e18, 1<<63 - 1, 1 << 63, 1<<63 - 1e18} {
		for _, x := range []uint64{0, 1, n / 2, n - 1} {
			h := p.halves(n)
			y := p.of(x, n)
			if back := p.forward((p.backward(y, n, h)+n-1)%n, n, h); y >= n || y == x || back != x {
				t.Errorf("n %d: %d became %d and back %d", n, x, y, back)
			}
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "abc", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "ac", true}, {"a?c", "abc", true},
		{"a?c", "ac", false}, {"*_at", "created_at", true}, {"*_at", "attic", false}, {"a*b*c", "axxbyybzc", true}, {"", "", true}, {"", "a", false}, {"abc", "abc", true}, {"abc", "abcd", false},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %t", c.pattern, c.s, got)
		}
	}
}
