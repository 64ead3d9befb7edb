package mayfly

import (
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads "90s", "12h", "7d", "1d12h" and "never" (-1ns).
func ParseDuration(text string) (time.Duration, error) {
	if text == "never" {
		return -1, nil
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, Errorf(CodeInvalid, "%q is not a duration such as 90s, 12h or 7d", text)
	}
	total := time.Duration(n) * 24 * time.Hour
	if rest == "" && found {
		return total, nil
	}
	v, err := time.ParseDuration(rest)
	if err != nil || v < 0 {
		return 0, Errorf(CodeInvalid, "%q is not a duration such as 90s, 12h or 7d", text)
	}
	if total+v < total { // int64 holds 292 years
		return 0, Errorf(CodeInvalid, "%q is longer than a duration can be", text)
	}
	return total + v, nil
}
