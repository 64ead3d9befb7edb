package recognise

import (
	"slices"
	"strings"
)

// What Table says a table is about.
const (
	People    = "people"
	Companies = "companies"
	Things    = "things" // that an application brings with it: categories, countries, …
)

// Table guesses from its name what a table is about, "" for anything else.
func Table(name string) (kind string, confidence float64) {
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		name = name[dot+1:]
	}
	words := split(name)
	if len(words) == 0 {
		return "", 0
	}
	if kind = listed(words[len(words)-1], Things, People, Companies); kind != "" {
		return kind, 0.9
	}
	return "", 0
}

// Impersonal reports whether a column's name says that it holds nothing about a person: times at which an application did
// something, codes, counts and measures.
func Impersonal(name string) bool {
	words := split(name)
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	if last == "code" {
		return len(words) > 1 && slices.Contains(strings.Fields("country currency language region color colour error status airport unit tax reason"), words[len(words)-2])
	}
	return listed(last, "impersonal") != "" || len(words) > 1 && (last == "at" || last == "on")
}
