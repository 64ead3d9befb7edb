package sanitize

import (
	"slices"
	"testing"
)

// TestCallsOfConditions finds every function that a condition calls, however its name is written.
func TestCallsOfConditions(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string][]Call{
		`a > 1`: nil,
		`lower(a) = 'pg_sleep(1)' AND Public."Odd (name"(b, 1)`: {{"", "lower"}, {"public", "Odd (name"}},
		`"pg_sleep" (1) IS NULL`:                                {{"", "pg_sleep"}},
		`db.pg_catalog . pg_sleep` + "\n" + `(1) IS NULL`:       {{"pg_catalog", "pg_sleep"}},
		`a = E'\'' || f(1)`:                                     {{"", "f"}},
		`(a) = ((1))`:                                           nil,
		`x IN (1, 2)`:                                           {{"", "in"}}, // a keyword is no function, which the catalog knows
	} {
		got, err := conditionCalls(condition)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", condition, got, err, want)
		}
	}
}
