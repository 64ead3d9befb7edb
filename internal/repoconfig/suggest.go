package repoconfig

import "fmt"

// suggestion is a hint at the known word that was probably meant, or "".
func suggestion(word string, known []string) string {
	best, least := "", max(len(word)/3, 1)+1
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance counts the bytes to insert, delete and substitute (Levenshtein). Words too long to be a slip are far from all.
func distance(a, b string) int {
	const tooLong = 64
	if len(a) > tooLong || len(b) > tooLong {
		return tooLong
	}
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := last[0]
		last[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, last[j] = last[j], min(last[j]+1, last[j-1]+1, diagonal+cost)
		}
	}
	return last[len(b)]
}
