package sanitize

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

func keepKind() kind {
	return kind{
		name: "keep", summary: "leaves values as they are", unique: true,
		params: []param{
			{name: "harmless", kind: paramBool, fallback: "false", summary: "true says that a column which is called like a token, a secret or a password holds none"},
		},
		bind: func(a *arguments, t *target, _ []byte) (binding, error) {
			if a.text("harmless") != "true" && namesSecret(t) {
				return binding{}, &refusal{
					"its name says that it holds a token, a secret or a password, and those are never kept",
					"use token, or password for hashes that users log in with; if it holds nothing of the kind, write {mask: keep, harmless: true}",
				}
			}
			return binding{keep: true, unique: true, mapping: "keep"}, nil
		},
	}
}

// namesSecret reports whether a column that can hold a text is called like something that opens doors.
func namesSecret(t *target) bool {
	if t.family != familyText && t.family != familyTextArray && t.family != familyBytes {
		return false
	}
	name := strings.TrimSuffix(strings.ToLower(t.column.Name), "s")
	for _, word := range []string{"token", "secret", "password", "passwd", "apikey"} {
		if strings.HasSuffix(name, word) {
			return true
		}
	}
	for _, word := range []string{"api_key", "private_key", "secret_key", "access_key", "password_hash", "password_digest"} {
		if name == word || strings.HasSuffix(name, "_"+word) {
			return true
		}
	}
	return false
}

func nullKind() kind {
	return kind{
		name: "null", summary: "replaces every value with NULL", unique: true,
		bind: func(_ *arguments, t *target, _ []byte) (binding, error) {
			if t.column.NotNull || t.column.PrimaryKey {
				return binding{}, &refusal{"the column is NOT NULL", "use static with a value, or redact"}
			}
			return binding{constant: []byte(nullMarker), unique: true, mapping: "null"}, nil
		},
	}
}

func staticKind() kind {
	return kind{
		name: "static", summary: "replaces every value with the same one",
		params: []param{
			{name: "value", kind: paramText, required: true, summary: "the new value, in PostgreSQL's text form"},
			{name: "replace_null", kind: paramBool, fallback: "false", summary: "whether NULL is replaced too"},
		},
		bind: bindStatic,
	}
}

func bindStatic(a *arguments, t *target, _ []byte) (binding, error) {
	value := a.text("value")
	if err := checkStatic(t, value); err != nil {
		return binding{}, err
	}
	return binding{
		constant:    appendEscaped([]byte{}, []byte(value)),
		replaceNull: a.text("replace_null") == "true",
		mapping:     "static " + strconv.Quote(value),
	}, nil
}

// checkStatic refuses values that PostgreSQL would refuse at load time. The rules file is not secret, but the value is
// left out of errors anyway: they end up in logs.
func checkStatic(t *target, value string) error {
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return &refusal{"the value is not valid UTF-8 text", "write the value as PostgreSQL would print it"}
	}
	if n := utf8.RuneCountInString(value); !t.fits(n) {
		return &refusal{fmt.Sprintf("the value has %d characters; the column takes %d", n, t.limit), "shorten the value"}
	}
	var ok bool
	switch t.family {
	case familyInteger:
		_, err := strconv.ParseInt(value, 10, integerBits(t.base))
		ok = err == nil
	case familyNumeric:
		_, err := strconv.ParseFloat(value, 64)
		ok = err == nil
	case familyBoolean:
		ok = contains([]string{"true", "false", "t", "f"}, value)
	case familyUUID:
		ok = looksLikeUUID(value)
	case familyEnum:
		ok = contains(t.column.EnumLabels, value)
	case familyJSON:
		ok = validJSON([]byte(value))
	case familyDate:
		_, _, parsed := parseDate([]byte(value))
		ok = parsed || value == "infinity" || value == "-infinity"
	default:
		ok = true
	}
	if !ok {
		hint := "write the value as PostgreSQL would print it"
		if t.family == familyEnum {
			hint = "the labels are: " + strings.Join(t.column.EnumLabels, ", ")
		}
		return &refusal{"the value is not a valid " + t.column.Type, hint}
	}
	return nil
}

func integerBits(base string) int {
	switch base {
	case "smallint":
		return 16
	case "integer":
		return 32
	default:
		return 64
	}
}

func looksLikeUUID[T string | []byte](s T) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return false
			}
			continue
		}
		if _, ok := hexValue(s[i]); !ok {
			return false
		}
	}
	return true
}

func redactKind() kind {
	return kind{
		name:     "redact",
		summary:  "replaces every character with x; white space, line breaks and the length in characters stay",
		families: []family{familyText, familyJSON, familyBytes, familyXML, familyTSVector},
		master:   true,
		bind: func(_ *arguments, t *target, key []byte) (binding, error) {
			switch t.family {
			case familyJSON:
				return bindJSON(&arguments{params: jsonKind().params, values: map[string]string{"default": "redact"}}, t, key)
			case familyBytes:
				return binding{make: func() maskFunc { return redactBytes }, escape: true, mapping: "redact bytea"}, nil
			default:
				return binding{make: func() maskFunc { return redactText }, escape: true, mapping: "redact"}, nil
			}
		},
	}
}

// redactText replaces each character that is not ASCII white space with one x. A byte that is not UTF-8 counts as a
// character.
func redactText(dst, value []byte) []byte {
	for i := 0; i < len(value); {
		c := value[i]
		switch {
		case c == ' ' || '\t' <= c && c <= '\r':
			dst = append(dst, c)
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, 'x')
			i++
		default:
			_, size := utf8.DecodeRune(value[i:])
			dst = append(dst, 'x')
			i += size
		}
	}
	return dst
}

// redactBytes keeps the number of bytes of a bytea in hex form ("\x0a1b") and sets all of them to zero. What is not in
// hex form becomes empty.
func redactBytes(dst, value []byte) []byte {
	dst = append(dst, `\x`...)
	if len(value) < 2 || value[0] != '\\' || value[1] != 'x' {
		return dst
	}
	for range (len(value) - 2) / 2 * 2 {
		dst = append(dst, '0')
	}
	return dst
}

// uniqueBits is how many keyed bits a result needs on a unique column: with 2^50 possible results, the chance that any
// two of a million values collide is below one in two thousand. A collision is not silent: the unique index refuses it.
const uniqueBits = 50

func tokenKind() kind {
	return kind{
		name:    "token",
		summary: "a keyed token that says nothing about the value; for uuid columns a UUID, for bytea 16 bytes",
		params: []param{
			{name: "format", kind: paramChoice, values: []string{"base32", "hex"}, fallback: "base32", summary: "the digits"},
			{name: "length", kind: paramInt, least: 1, most: maxHex, summary: "digits; without it 24 for base32 and 32 for hex, or what fits"},
			{name: "prefix", kind: paramText, summary: "put in front of the digits"},
		},
		families: []family{familyText, familyUUID, familyBytes},
		keyed:    true, unique: true, disjoint: true,
		bind: bindToken,
	}
}

func bindToken(a *arguments, t *target, key []byte) (binding, error) {
	if t.family == familyUUID {
		for _, p := range a.params {
			if a.has(p.name) {
				return binding{}, &refusal{"a uuid column takes no " + p.name, "remove it"}
			}
		}
		return binding{make: func() maskFunc { return uuidMask(newPRF(key, t)) }, unique: true, mapping: "token uuid"}, nil
	}
	if t.family == familyBytes {
		return bindTokenBytes(a, t, key)
	}
	isHex := a.text("format") == "hex"
	prefix := a.text("prefix")
	length, most, bits := 24, maxBase32, 5
	if isHex {
		length, most, bits = 32, maxHex, 4
	}
	if a.has("length") {
		length = a.number("length")
	} else if t.limit > 0 {
		length = min(length, t.limit-utf8.RuneCountInString(prefix))
	}
	switch {
	case length < 1 || !t.fits(length+utf8.RuneCountInString(prefix)):
		return binding{}, &refusal{fmt.Sprintf("the column takes %d characters", t.limit), "lower length or shorten prefix"}
	case length > most:
		return binding{}, &refusal{fmt.Sprintf("length is more than %d", most), "lower length, or use hex, which has up to 64 digits"}
	case !printableASCII(prefix):
		return binding{}, &refusal{"the prefix is not printable ASCII", "use letters, digits and punctuation without backslash"}
	}
	return binding{
		make:    func() maskFunc { return tokenMask(newPRF(key, t), prefix, length, isHex) },
		unique:  length*bits >= uniqueBits,
		mapping: fmt.Sprintf("token %s %d %q %s", a.text("format"), length, prefix, t.equality()),
	}, nil
}

// bindTokenBytes makes bytes: 16, or half of length.
func bindTokenBytes(a *arguments, t *target, key []byte) (binding, error) {
	digits := maxHex / 2
	switch {
	case a.has("prefix") || a.has("format"):
		return binding{}, &refusal{"a bytea column takes no prefix and no format", "remove them"}
	case a.has("length"):
		digits = a.number("length")
	}
	if digits%2 == 1 {
		return binding{}, &refusal{"length counts hexadecimal digits, two for each byte", "give an even length"}
	}
	return binding{
		make:    func() maskFunc { return tokenMask(newPRF(key, t), `\x`, digits, true) },
		escape:  true,
		unique:  digits*4 >= uniqueBits,
		mapping: fmt.Sprintf("token bytea %d", digits),
	}, nil
}

// equality names what the column's type considers equal: a part of every keyed mapping.
func (t *target) equality() string {
	switch {
	case t.fold:
		return "ignoring case"
	case t.trim:
		return "ignoring trailing spaces"
	default:
		return "exact"
	}
}

func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '\\' {
			return false
		}
	}
	return true
}

func tokenMask(p *prf, prefix string, length int, isHex bool) maskFunc {
	return func(dst, value []byte) []byte {
		sum := p.of(value)
		dst = append(dst, prefix...)
		if isHex {
			return appendHex(dst, sum[:], length)
		}
		return appendBase32(dst, sum[:], length)
	}
}

// uuidMask makes UUIDs of version 8, the one for custom contents (RFC 9562, 5.8): 122 keyed bits.
func uuidMask(p *prf) maskFunc {
	return func(dst, value []byte) []byte {
		sum := p.of(value)
		sum[6] = sum[6]&0x0f | 0x80
		sum[8] = sum[8]&0x3f | 0x80
		return appendUUID(dst, sum[:16])
	}
}

func appendUUID(dst, bits []byte) []byte {
	for i, group := 0, 0; i < 16; group++ {
		size := [...]int{4, 2, 2, 2, 6}[group]
		if group > 0 {
			dst = append(dst, '-')
		}
		dst = appendHex(dst, bits[i:i+size], size*2)
		i += size
	}
	return dst
}
