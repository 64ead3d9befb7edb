package proof

import "strings"

// Class says how the results of a transformer relate to values that a source may hold.
type Class string

// The classes.
const (
	// ClassOwn are transformers whose results no source holds: an original in such a column, or an unchanged value, is a hit.
	ClassOwn Class = "own"
	// ClassShared are those that choose among values that sources hold too: names from a list, digits of the same length.
	// A result may be somebody's original by chance; an unchanged value is a hit.
	ClassShared Class = "shared"
	// ClassGiven are those whose results may be what was there, by their rule: a constant, a rounded number.
	ClassGiven Class = "given"
	// ClassRows are those that give the column's true values to other rows. Nothing can be proved about these values; but where one
	// is an original of another column, it is a hit as it is in a column that is kept.
	ClassRows Class = "rows"
	// ClassParts are those that mask parts of a value, which are seen one by one, as the results of ClassShared are.
	ClassParts Class = "parts"
	// ClassPassages are those that replace what they recognise in a text, and leave a text in which there is nothing as it is.
	ClassPassages Class = "passages"
)

// makes reports whether a sampled original in such a column is no evidence. The class of a column that is kept is "".
func (c Class) makes() bool { return c != "" && c != ClassOwn && c != ClassRows }

// ClassOf returns the class of a transformer. One that is not known is taken to have results of its own: the strictest.
func ClassOf(transformer string) Class {
	if class, found := classes()[transformer]; found {
		return class
	}
	return ClassOwn
}

func classes() map[string]Class {
	out := map[string]Class{}
	for class, names := range map[Class]string{
		ClassOwn: "null redact token email url uuid template password",
		ClassShared: "username person_name company phone street_address address city postcode inet number date_shift fpe card iban national_id mac " +
			"enum_label",
		ClassGiven:    "static noise bucket date_trunc birth_date geo_jitter",
		ClassRows:     "resample shuffle",
		ClassParts:    "json composite hstore array range",
		ClassPassages: "scrub",
	} {
		for _, name := range strings.Fields(names) {
			out[name] = class
		}
	}
	return out
}

// splits reports whether values of a type have parts: arrays, documents, hstore.
func splits(formatted string) bool {
	return strings.HasSuffix(formatted, "[]") || strings.HasPrefix(formatted, "json") || strings.HasSuffix(formatted, "hstore")
}
