package sanitize

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Made-up values for a constraint: some of the column's type, and those that the constraint itself suggests by the
// literals in it. A row that satisfies the constraint must be among them, or nothing is learned.

// maxSamples bounds the values per column.
const maxSamples = 64

// samples returns values of the target's type, each once, NULL among them where the column takes it.
func samples(t *target, sources []string) []*string {
	var texts []string
	for _, source := range sources {
		texts = append(texts, suggested(t, source)...)
	}
	texts = append(texts, typical(t)...)
	seen := map[string]bool{}
	var out []*string
	for _, text := range texts {
		if t.family == familyText && t.limit > 0 && utf8.RuneCountInString(text) > t.limit || seen[text] || len(out) == maxSamples {
			continue
		}
		seen[text] = true
		out = append(out, &text)
	}
	if !t.column.NotNull && len(out) > 0 {
		out = append(out, nil)
	}
	return out
}

func typical(t *target) []string {
	switch t.family {
	case familyText:
		return []string{
			"Jane", "jane roe", "JANE ROE", "jane.roe@mail.example", "+44 20 7946 0018", "0123456789", "AB12CD", "ab-12", "x", "Zoë Ångström",
			"https://www.example/path?q=1", "221b Baker Street", "DE", "en-GB", "4111111111111111",
		}
	case familyInteger:
		return []string{"0", "1", "-1", "7", "12", "99", "100", "1234", "32767"}
	case familyNumeric:
		return []string{"0", "1", "-1", "0.5", "9.99", "12", "99.99", "100"}
	case familyBoolean:
		return []string{"t", "f"}
	case familyDate:
		return []string{"1970-01-01", "1984-02-29", "1999-12-31", "2010-06-15", "2024-03-05", "2024-03-06"}
	case familyUUID:
		return []string{"6f1c2d3e-0000-4000-8000-0123456789ab", "00000000-0000-0000-0000-000000000000"}
	case familyEnum:
		return slices.Clone(t.column.EnumLabels)
	case familyJSON:
		return []string{`{}`, `[]`, `{"a": 1, "b": "x", "c": [1, "y"], "d": {"e": null}}`, `"text"`, "1"}
	case familyInet:
		return []string{"192.0.2.17", "10.0.0.1", "2001:db8::1"}
	case familyBytes:
		return []string{`\x00`, `\x0123456789abcdef0123456789abcdef`}
	case familyMAC:
		return []string{"08:00:2b:01:02:03"}
	case familyTextArray:
		return []string{`{}`, `{a}`, `{a,b,c}`, `{NULL}`}
	case familyTime, familyXML, familyTSVector, familyArray, familyComposite, familyRange, familyHstore, familyPoint, familyOther:
	}
	return nil
}

// suggested finds values in an expression: its literals, texts that match its patterns, numbers around its numbers and
// texts of the lengths that it names.
func suggested(t *target, expression string) []string {
	var out []string
	quoted := regexp.MustCompile(`'((?:[^']|'')*)'`)
	for _, m := range quoted.FindAllStringSubmatch(expression, maxSamples) {
		literal := strings.ReplaceAll(m[1], "''", "'")
		switch t.family {
		case familyText:
			out = append(append(out, literal), strings.NewReplacer("%", "abc", "_", "a").Replace(literal))
			out = append(out, matching(literal)...)
			// A condition on an array of alternatives is printed as one literal: '{a,b}'.
			out = append(out, strings.Split(strings.Trim(literal, "{}"), ",")...)
		case familyEnum:
		default:
			out = append(out, literal)
		}
	}
	for _, m := range regexp.MustCompile(`\b\d{1,9}\b`).FindAllString(quoted.ReplaceAllString(expression, " "), maxSamples) {
		n, _ := strconv.Atoi(m)
		switch {
		case t.family == familyInteger || t.family == familyNumeric:
			out = append(out, strconv.Itoa(n-1), m, strconv.Itoa(n+1), strconv.Itoa(-n))
		case t.family == familyText && 0 < n && n < 1000:
			out = append(out, strings.Repeat("a", n), strings.Repeat("7", n), strings.Repeat("A", n))
		}
	}
	return valid(t, out)
}

// valid drops what is no value of the type.
func valid(t *target, texts []string) []string {
	return slices.DeleteFunc(texts, func(text string) bool {
		return text == "" || checkStatic(t, text) != nil
	})
}

// matching returns a few texts that match a regular expression.
func matching(pattern string) []string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	var out []string
	for turn := range 3 {
		out = append(out, match(parsed, turn, 0))
	}
	return out
}

// maxRepeats bounds what a counted repetition adds.
const maxRepeats = 40

// match writes one text that matches, another one for each turn where there is a choice.
func match(re *syntax.Regexp, turn, depth int) string {
	if depth > maxRepeats {
		return ""
	}
	var all strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return ""
		}
		at := turn % (len(re.Rune) / 2) * 2
		return string(min(re.Rune[at]+rune(turn), re.Rune[at+1]))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "a"
	case syntax.OpAlternate:
		return match(re.Sub[turn%len(re.Sub)], turn, depth+1)
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			all.WriteString(match(sub, turn, depth+1))
		}
	case syntax.OpStar, syntax.OpQuest, syntax.OpPlus, syntax.OpRepeat:
		times := map[syntax.Op]int{syntax.OpStar: turn, syntax.OpQuest: min(turn, 1), syntax.OpPlus: 1 + turn, syntax.OpRepeat: re.Min}[re.Op]
		if re.Op == syntax.OpRepeat && (re.Max < 0 || re.Max > re.Min) {
			times += turn % 2
		}
		for range min(times, maxRepeats) {
			all.WriteString(match(re.Sub[0], turn, depth+1))
		}
	default: // anchors and word boundaries
	}
	return all.String()
}
