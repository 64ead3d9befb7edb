package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Duration is a time.Duration that also reads whole days: "7d", "1d12h". "never" is -1ns.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := mayfly.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Bytes is a number of bytes that reads "512MiB", "10GiB" or a plain number.
type Bytes int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	shift := 0
	for suffix, n := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if strings.HasSuffix(s, suffix) {
			shift, s = n, strings.TrimSpace(strings.TrimSuffix(s, suffix))
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return fmt.Errorf("%q is not a size such as 512MiB or 10GiB", text)
	}
	*b = Bytes(n * float64(int64(1)<<shift))
	return nil
}

// Rate is a number of bytes a second that reads "50MB/s" or "64KiB/s".
type Rate int64

// leastRate is the least rate that makes sense: below it a source's keep-alives and replies would time out.
const leastRate = 64 << 10

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	number, found := strings.CutSuffix(strings.TrimSpace(string(text)), "/s")
	factor := 1.0
	for suffix, n := range map[string]float64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			factor, number = n, strings.TrimSpace(rest)
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if !found || err != nil || n*factor < leastRate || n*factor > 1<<40 {
		return fmt.Errorf("%q is not a rate such as 50MB/s, of at least 64KiB/s", text)
	}
	*r = Rate(n * factor)
	return nil
}
