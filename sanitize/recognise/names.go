package recognise

import (
	_ "embed" // the lists of words
	"strconv"
	"strings"
)

// columnWords and tableWords say what names mean; their heads describe them.
//
//go:embed names.txt
var columnWords string

//go:embed tables.txt
var tableWords string

// names returns the words for what columns hold.
func names() []columnName {
	var out []columnName
	for line := range strings.Lines(columnWords) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " "):
			last := &out[len(out)-1]
			for word := range strings.SplitSeq(line, ",") {
				if word = strings.TrimSpace(word); word != "" {
					last.words = append(last.words, word)
				}
			}
		default:
			fields := strings.Fields(line)
			confidence, _ := strconv.ParseFloat(fields[1], 64) // TestColumn reads them all
			out = append(out, columnName{kind: fields[0], confidence: confidence, types: fields[2]})
		}
	}
	return out
}

// listed returns the name of the first list of tableWords, of those given, that a word is in; "" for none.
func listed(word string, lists ...string) string {
	list := ""
	for line := range strings.Lines(tableWords) {
		if !strings.HasPrefix(line, " ") {
			list = strings.TrimSpace(line)
			continue
		}
		for _, wanted := range lists {
			if list == wanted && strings.Contains(" "+strings.TrimSpace(line)+" ", " "+word+" ") {
				return list
			}
		}
	}
	return ""
}
