package recognise

import (
	"strings"
	"unicode"
)

// What Column says a column holds, besides the kinds of items in texts.
const (
	FirstName     = "first_name"
	LastName      = "last_name"
	FullName      = "full_name"
	Name          = "name" // of a person or of anything else
	Username      = "username"
	Company       = "company"
	StreetAddress = "street_address"
	City          = "city"
	Postcode      = "postcode"
	Website       = "website"
	IPAddress     = "ip"
	NationalID    = "national_id"
	Account       = "account_number"
	Password      = "password"
	Token         = "token"
	FreeText      = "free_text"
	Location      = "location"
	Sensitive     = "sensitive" // health, religion, sex, …
	Money         = "money"     // what somebody earns or owns
	Picture       = "picture"
)

// Column guesses from its name, in any of a dozen languages, and its type, as format_type prints it, what a column holds
// that is personal or secret. kind is "" if nothing suggests that; confidence is between 0 and 1.
func Column(name, typ string) (kind string, confidence float64) {
	words := split(name)
	if len(words) == 0 {
		return "", 0
	}
	typ, _, _ = strings.Cut(strings.ToLower(typ), "(")
	text := newColumnText(words)
	for _, e := range names() {
		if !e.typed(typ) || !e.named(&text) {
			continue
		}
		if e.kind != BirthDateName && aboutSomething(words) {
			return "", 0
		}
		return e.kind, e.confidence
	}
	return "", 0
}

// BirthDateName is what Column calls dates of birth.
const BirthDateName = string(BirthDate)

// columnName are words that name a kind of content.
type columnName struct {
	kind       string
	confidence float64
	words      []string // "first name": all of them in this order
	types      string   // the types that such columns have: t texts, n numbers, d dates, a addresses, b binary, x all
}

func (e *columnName) typed(typ string) bool {
	have := byte('t')
	switch base := strings.TrimSuffix(typ, "[]"); {
	case base == "boolean" || base == "interval" || strings.HasPrefix(base, "time "):
		return false
	case base == "date" || strings.HasPrefix(base, "timestamp"):
		have = 'd'
	case base == "integer" || base == "bigint" || base == "smallint" || base == "numeric" || base == "real" || base == "double precision":
		have = 'n'
	case base == "inet" || base == "cidr" || base == "macaddr" || base == "macaddr8":
		have = 'a'
	case base == "bytea":
		have = 'b'
	case base == "uuid":
		have = 'u'
	case base == "point" || base == "geometry" || base == "geography":
		have = 'p'
	}
	return strings.IndexByte(e.types, have) >= 0 || e.types == "x"
}

// columnText is a name in the forms in which words are looked for.
type columnText struct {
	words    string // " first names "
	singular string // " first name "
	compact  string // "firstnames"
}

func newColumnText(words []string) columnText {
	singular := make([]string, len(words))
	for i, w := range words {
		if singular[i] = w; len(w) > 3 {
			singular[i] = strings.TrimSuffix(w, "s")
		}
	}
	return columnText{" " + strings.Join(words, " ") + " ", " " + strings.Join(singular, " ") + " ", strings.Join(words, "")}
}

// named reports whether the words are in the name: one after the other, or written together if they are long enough not
// to be a part of another word by chance.
func (e *columnName) named(name *columnText) bool {
	for _, entry := range e.words {
		if within(name.words, entry) || within(name.singular, entry) {
			return true
		}
		const distinctive = 6
		if len(entry) >= distinctive {
			if together := strings.ReplaceAll(entry, " ", ""); len(together) >= distinctive && strings.Contains(name.compact, together) {
				return true
			}
		}
	}
	return false
}

// within reports whether an entry is in a text of words with a space around each.
func within(text, entry string) bool {
	for from := 0; ; {
		at := strings.Index(text[from:], entry)
		if at < 0 {
			return false
		}
		at += from
		if text[at-1] == ' ' && text[at+len(entry)] == ' ' {
			return true
		}
		from = at + 1
	}
}

// aboutSomething reports whether the last word says that the column is about a thing and does not hold it.
func aboutSomething(words []string) bool {
	switch words[len(words)-1] {
	case "type", "kind", "status", "state", "count", "flag", "enabled", "verified", "confirmed", "format", "template", "required", "allowed", "at", "sent",
		"valid", "length", "size", "position", "order", "version", "language", "locale", "typ", "art", "anzahl", "tipo", "estado", "statut", "nombrede", "iso":
		return len(words) > 1
	default:
		return false
	}
}

// split takes a name apart: words between underscores, spaces and changes of case, in lower case, without accents and
// without digits at their ends.
func split(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if text := strings.TrimRight(string(word), "0123456789"); text != "" {
			words = append(words, text)
		}
		word = word[:0]
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			continue
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) && unicode.IsUpper(runes[i-1])):
			flush()
		}
		word = append(word, []rune(plain(unicode.ToLower(r)))...)
	}
	flush()
	return words
}

// plain writes a letter as people do who have none of the accents.
func plain(r rune) string {
	switch r {
	case 'ä', 'á', 'à', 'â', 'ã', 'å', 'ą', 'ā':
		return "a"
	case 'ö', 'ó', 'ò', 'ô', 'õ', 'ø', 'ő':
		return "o"
	case 'ü', 'ú', 'ù', 'û', 'ů', 'ű':
		return "u"
	case 'é', 'è', 'ê', 'ë', 'ę', 'ě':
		return "e"
	case 'í', 'ì', 'î', 'ï', 'ı':
		return "i"
	case 'ß':
		return "ss"
	case 'ñ', 'ń', 'ň':
		return "n"
	case 'ç', 'ć', 'č':
		return "c"
	case 'ş', 'ś', 'š':
		return "s"
	case 'ł':
		return "l"
	case 'ź', 'ż', 'ž':
		return "z"
	case 'ğ':
		return "g"
	case 'ř':
		return "r"
	case 'ý':
		return "y"
	default:
		return string(r)
	}
}
