package proof

import "strings"

// Class says how the results of a transformer relate to values that a source may hold.
type Class string

// The classes.
const (
	// ClassOwn are transformers whose results no source holds: an original in such a column, or an unchanged value, is a hit.
	ClassOwn Class = "own"
	// ClassShared are those that choose among values that sources hold too: names from a list, digits of the same length.
	// A result may be somebody's original by chance.
	ClassShared Class = "shared"
	// ClassParts are those that mask a part of a value and keep the rest, as the rules say.
	ClassParts Class = "parts"
)

// ClassOf returns the class of a transformer. One that is not known is taken to have results of its own: the strictest.
func ClassOf(transformer string) Class {
	if class, found := classes()[transformer]; found {
		return class
	}
	return ClassOwn
}

func classes() map[string]Class {
	return map[string]Class{
		"null": ClassOwn, "redact": ClassOwn, "token": ClassOwn, "email": ClassOwn, "url": ClassOwn,
		"username": ClassShared, "person_name": ClassShared, "company": ClassShared, "static": ClassShared,
		"phone": ClassShared, "street_address": ClassShared, "city": ClassShared, "postcode": ClassShared,
		"inet": ClassShared, "number": ClassShared, "date_shift": ClassShared, "json": ClassParts,
	}
}

// splits reports whether values of a type have parts: arrays, documents, hstore.
func splits(formatted string) bool {
	return strings.HasSuffix(formatted, "[]") || strings.HasPrefix(formatted, "json") || strings.HasSuffix(formatted, "hstore")
}
