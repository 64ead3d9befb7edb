package sanitize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize/recognise"
)

// guess is what a column, or a place in documents, seems to hold.
type guess struct {
	kind       string // a recognise.Kind or one of the names beside recognise.Column; "" for nothing that is known
	confidence float64
	why        string
}

// decisive is the share of values that decides, whatever the name says.
const decisive = 0.8

// guessOf looks at values first, then at the name.
func guessOf(table, column, typ string, e *evidence) guess {
	name, confidence := recognise.Column(column, typ)
	if name == recognise.Name {
		name, confidence = nameOf(table)
	}
	k, share := e.kind()
	switch {
	case share >= decisive && (name == "" || name == string(k) || name == recognise.NationalID && k.National() || k != recognise.Phone && !k.National()):
		g := guess{string(k), 0.6 + 0.35*share, fmt.Sprintf("%.0f%% of %d values are %s", share*100, e.values, k.Noun())}
		if string(k) == name {
			g.confidence, g.why = max(confidence, 0.6+0.39*share), g.why+", and the name says so"
		}
		return g
	case name == recognise.NationalID || name == recognise.Account:
		if scheme := e.scheme(); scheme != "" {
			return guess{string(scheme), 0.97, "the name says an identifier, and the values are " + scheme.Noun()}
		}
	}
	if name != "" {
		g := guess{name, confidence, "the name says " + strings.ReplaceAll(name, "_", " ")}
		if e != nil && e.values >= leastValues && matchable(name) && share < 0.2 {
			g.confidence = min(g.confidence, 0.7)
			g.why += fmt.Sprintf(", but hardly any of %d values looks like it", e.values)
		}
		return g
	}
	if mixed := e.mixed(); mixed != "" {
		return guess{recognise.FreeText, 0.8, "some values contain " + mixed}
	}
	return guess{}
}

// matchable reports whether a recogniser would know values of the kind.
func matchable(kind string) bool {
	switch recognise.Kind(kind) {
	case recognise.Email, recognise.Phone, recognise.Card, recognise.IBAN, recognise.IP, recognise.MAC:
		return true
	default:
		return false
	}
}

// nameOf says what "name" means in a table.
func nameOf(table string) (kind string, confidence float64) {
	switch kind, _ := recognise.Table(table); kind {
	case recognise.People:
		return recognise.FullName, 0.9
	case recognise.Companies:
		return recognise.Company, 0.85
	case recognise.Things:
		return "", 0
	default:
		return recognise.Name, 0.5
	}
}

// harmless reports whether a name says that the column holds nothing personal: what is built into an application or counts
// and measures things.
func harmless(table, column string) bool {
	if recognise.Impersonal(column) {
		return true
	}
	kind, _ := recognise.Table(table)
	return kind == recognise.Things && slices.Contains([]string{"name", "title", "label", "code", "nom", "nombre", "nome", "naam", "nazwa", "titel", "ad"}, strings.ToLower(column))
}
