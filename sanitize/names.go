package sanitize

import (
	"embed"
	"strings"
)

// nameFiles hold common first and last names of a language, as its people write them and, behind "=", in Latin letters
// where they write others. A blank line separates the two. A change there changes what values map to.
//
//go:embed names/*.txt
var nameFiles embed.FS

// locales are the languages that there are names for.
func locales() []string {
	return strings.Fields("en de fr es pt it nl pl tr hi zh ja ar")
}

// nameList is how people of a language are called.
type nameList struct {
	first, last []string
	// familyFirst says that the family name comes first, separator is what stands between the two.
	familyFirst bool
	separator   string
}

// namesOf returns the names of a locale, in its own script or in Latin letters.
func namesOf(locale string, latin bool) nameList {
	if locale == "en" {
		return nameList{first: firstNames(), last: lastNames(), separator: " "}
	}
	raw, err := nameFiles.ReadFile("names/" + locale + ".txt")
	if err != nil {
		panic("sanitize: names of a locale that has none: " + err.Error()) // locales() is checked when rules are parsed
	}
	first, last, _ := strings.Cut(string(raw), "\n\n")
	n := nameList{first: inScript(first, latin), last: inScript(last, latin), separator: " "}
	if !latin {
		n.familyFirst = locale == "zh" || locale == "ja"
		if locale == "zh" {
			n.separator = ""
		}
	}
	return n
}

func inScript(text string, latin bool) []string {
	words := strings.Fields(text)
	for i, w := range words {
		native, other, found := strings.Cut(w, "=")
		words[i] = native
		if latin && found {
			words[i] = other
		}
	}
	return words
}
