package gateway

import (
	"bytes"
	"testing"
)

func TestFramingFollowsMessagesHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	row := append([]byte{'D', 0, 0, 0, 104}, bytes.Repeat([]byte{'Z'}, 100)...)
	ready := func(status byte) []byte { return []byte{'Z', 0, 0, 0, 5, status} }
	cases := []struct {
		name          string
		stream        []byte
		between, idle bool
	}{
		{"nothing yet", nil, true, false},
		{"ready", ready('I'), true, true},
		{"ready in a transaction", ready('T'), true, false},
		{"ready in a failed transaction", ready('E'), true, false},
		{"rows", bytes.Repeat(row, 3), true, false},
		{"rows, then ready", append(bytes.Repeat(row, 3), ready('I')...), true, true},
		{"ready, then a notice", append(ready('I'), 'N', 0, 0, 0, 4), true, true},
		{"ready, then a notification, cut", append(ready('I'), 'A', 0, 0, 0, 9, 'x'), false, true},
		{"a notice", []byte{'N', 0, 0, 0, 4}, true, false},
		{"half a header", append(ready('I'), 'D', 0), false, false},
		{"half a row", row[:50], false, false},
		{"ready without its status", ready('I')[:5], false, false},
		{"not messages", []byte{'D', 0, 0, 0, 3, 1, 2, 3, 4, 5, 6}, false, false},
		{"a length with the top bit set", []byte{'D', 0xff, 0xff, 0xff, 0xff, 1}, false, false},
	}
	for _, c := range cases {
		for size := 1; size <= len(c.stream)+1; size++ {
			var f framing
			for rest := c.stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				f.feed(rest[:min(size, len(rest))])
			}
			if f.between() != c.between || f.idle() != c.idle {
				t.Errorf("%s in pieces of %d: between %t, idle %t; want %t, %t", c.name, size, f.between(), f.idle(), c.between, c.idle)
			}
		}
	}
}

func TestFalseBooleansAreThoseOfPostgres(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"false": true, "FALSE": true, "f": true, "fa": true, "no": true, "n": true, "off": true, "of": true, "0": true,
		"": false, "o": false, "on": false, "true": false, "t": false, "1": false, "yes": false, "database": false, "falsey": false,
		"00": false, "none": false,
	} {
		if got := falseBoolean(value); got != want {
			t.Errorf("replication=%q is read as false: %t, want %t", value, got, want)
		}
	}
}

func TestCancelKeysOfEqualBackendsDiffer(t *testing.T) {
	t.Parallel()
	keys := newCancelKeys()
	backendKey := []byte{0, 0, 0, 57, 1, 2, 3, 4} // the same from two containers
	first, second := keys.add("p1", backendKey), keys.add("p2", backendKey)
	if first == second {
		t.Fatal("two connections got the same cancel key")
	}
	for key, instance := range map[string]string{first: "p1", second: "p2"} {
		if found, ok := keys.lookup(key); !ok || found.instance != instance || found.key != string(backendKey) {
			t.Errorf("key of %s leads to %+v, %t", instance, found, ok)
		}
		if key[:4] != string(backendKey[:4]) || len(key) != len(backendKey) {
			t.Errorf("key %x does not have the process id or the length of %x", key, backendKey)
		}
	}
	keys.remove(first)
	if _, ok := keys.lookup(first); ok {
		t.Error("a key that was removed is still known")
	}
}
