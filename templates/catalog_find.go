package templates

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize/recognise"
)

const whatEmail = "email addresses"

// catalogKinds are looked for in definitions, with how sure a recogniser has to be. Definitions are full of numbers, dates and
// addresses of networks that are nobody's: what only looks like a number of a person does not count.
func catalogKinds() map[recognise.Kind]float64 {
	return map[recognise.Kind]float64{
		recognise.Email: 0, recognise.JWT: 0, recognise.APIKey: 0, recognise.PrivateKey: 0, recognise.URL: 0, recognise.PasswordHash: 0,
		recognise.Card: 0.9, recognise.IBAN: 0.9, recognise.Phone: 0.8,
	}
}

// nationalConfidence is how sure a recogniser has to be of national identifiers.
const nationalConfidence = 0.95

// finder finds what is personal or secret in the texts of a catalog.
type finder struct {
	scanner *recognise.Scanner
	found   []recognise.Match
}

func newFinder() (*finder, error) {
	least := catalogKinds()
	wanted := slices.DeleteFunc(recognise.Kinds(), func(k recognise.Kind) bool {
		_, found := least[k]
		return !found && !k.National()
	})
	scanner, err := recognise.New(wanted...)
	return &finder{scanner: scanner}, err
}

func (f *finder) find(text string) []passage {
	least := catalogKinds()
	var out []passage
	f.found = f.scanner.Find(f.found[:0], []byte(text))
	for _, m := range f.found {
		sure, listed := least[m.Kind]
		if !listed {
			sure = nationalConfidence
		}
		if m.Confidence >= sure && !documented(m.Kind, text[m.Start:m.End]) {
			out = append(out, passage{m.Start + afterQuote(m.Kind, text[m.Start:m.End]), m.End, m.Kind.Noun()})
		}
	}
	return append(out, connectionPasswords(text)...)
}

// afterQuote returns where an address begins in what was recognised: a quote can be part of an address, but in SQL within
// SQL it ends what stands before.
func afterQuote(kind recognise.Kind, text string) int {
	if kind != recognise.Email {
		return 0
	}
	return strings.LastIndexByte(text, '\'') + 1
}

// documented reports whether an address is in a domain that is there for examples (RFC 2606, 3): nobody has one there.
func documented(kind recognise.Kind, text string) bool {
	_, domain, _ := strings.Cut(strings.ToLower(text), "@")
	return kind == recognise.Email && (domain == "example.com" || domain == "example.net" || domain == "example.org")
}

var (
	connectionPassword = regexp.MustCompile(`(?i)\bpassword\s*=\s*('(?:[^'\\]|\\.)+'|[^\s'";$%:?{|][^\s'";|]*)`)
	connectionWord     = regexp.MustCompile(`(?i)\b(?:host|hostaddr|port|dbname|user|service)\s*=\s*\S`)
)

// connectionPasswords finds passwords in connection strings of libpq, as dblink takes them: host=db user=x password=y.
func connectionPasswords(text string) []passage {
	if !connectionWord.MatchString(text) {
		return nil
	}
	var out []passage
	for _, m := range connectionPassword.FindAllStringSubmatchIndex(text, -1) {
		out = append(out, passage{m[2], m[3], "passwords"})
	}
	return out
}
