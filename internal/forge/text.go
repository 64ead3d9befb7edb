package forge

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clip cuts s to at most n characters, the last of which is then an ellipsis.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return strings.TrimRightFunc(string(runes[:n-1]), unicode.IsSpace) + "…"
}

// cut drops what is far beyond the first n characters of s, so that huge text is not worked on only to be clipped.
func cut(s string, n int) string {
	const bytesEach = 16 // four for a character, and some for white space and what does not print
	return s[:min(len(s), n*bytesEach)]
}

// oneLine makes s one line of visible text: runs of white space become one space, and control and format characters
// (which could reverse or hide text) go.
func oneLine(s string) string {
	return strings.Join(strings.Fields(visible(s, false)), " ")
}

// visible drops what does not print. Line breaks and tabs stay, or become spaces.
func visible(s string, lines bool) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
			return r
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return -1
		}
		return r
	}, s)
}

// zeroWidthSpace breaks what GitHub would turn into a mention, a reference or a link, without being seen. An entity for
// the character itself would not do: GitHub looks for mentions after it has rendered entities.
const zeroWidthSpace = "\u200b"

// prose makes foreign text safe inside a line of Markdown: nothing in it is markup, HTML, a mention, a reference to an
// issue, or a link.
func prose(s string, limit int) string {
	s = clip(oneLine(cut(s, limit)), limit)
	s = strings.NewReplacer(
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`, "$", `\$`,
		"<", "&lt;", ">", "&gt;", "&", "&amp;", "|", "&#124;",
		"@", "@"+zeroWidthSpace, "#", "#"+zeroWidthSpace, "://", ":"+zeroWidthSpace+"//",
	).Replace(s)
	return breakWords(s, "www.", "GH-", "mailto:", "xmpp:")
}

// breakWords puts a zero-width space before the last character of every word in s, in any case.
func breakWords(s string, words ...string) string {
	var b strings.Builder
	for len(s) > 0 {
		cut := 0
		for _, word := range words {
			if len(s) >= len(word) && strings.EqualFold(s[:len(word)], word) {
				cut = len(word)
			}
		}
		if cut > 0 {
			b.WriteString(s[:cut-1] + zeroWidthSpace + s[cut-1:cut])
			s = s[cut:]
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		b.WriteString(s[:size])
		s = s[size:]
	}
	return b.String()
}

// code makes foreign text a code span, which is also safe in the cell of a table. Mentions and references do not work in
// code. Text with a backtick or a pipe, which would need rules of their own, becomes prose.
func code(s string, limit int) string {
	s = clip(oneLine(cut(s, limit)), limit)
	if s == "" {
		return ""
	}
	if strings.ContainsAny(s, "`|\\") {
		return prose(s, limit)
	}
	return "`" + s + "`"
}

// fence makes foreign text a code block whose fence is longer than any run of backticks in the text.
func fence(language, s string, limit int) string {
	s = strings.Trim(clip(visible(cut(s, limit), true), limit), "\n")
	longest, run := 0, 0
	for _, r := range s {
		if r != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	ticks := strings.Repeat("`", max(3, longest+1))
	return ticks + language + "\n" + s + "\n" + ticks + "\n"
}
