package observe

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// insertion is a probe in a text.
type insertion struct {
	at    int // byte offset in the original text
	chars int // the same in characters
	size  int // bytes, all of them ASCII
}

// Words returns the first words of a statement and the symbols between them, in lower case, without comments: at most n.
func Words(statement string, n int) []string {
	var out []string
	for _, t := range sqlsplit.Tokens(statement, true) {
		if t.Kind == sqlsplit.KindComment {
			continue
		}
		if len(out) == n {
			break
		}
		out = append(out, strings.ToLower(statement[t.Begin:t.End]))
	}
	return out
}

// mute are statements behind which no probe may be: it would be a query before SET TRANSACTION, or take part in the transaction of
// the BEGIN that follows. They lock nothing.
func mute(words []string) bool {
	switch first(words) {
	case "begin", "start", "set", "reset", "show", "savepoint", "release", "prepare", "deallocate", "discard", "listen", "unlisten", "":
		return true
	}
	return false
}

// opens reports whether a statement must be the first in its transaction, or begins one.
func opens(words []string) bool {
	switch first(words) {
	case "begin", "start":
		return true
	case "set":
		return slices.Contains(words, "transaction") || slices.Contains(words, "characteristics")
	}
	return false
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// Alone reports whether a statement, sent by itself outside of a transaction, must stay by itself: it may not run in a
// transaction block, or ends transactions of its own. PostgreSQL takes two statements in one query for a transaction block. What is not known
// to be harmless counts.
func Alone(statement string) bool {
	words := Words(statement, 400)
	has := func(word string) bool { return slices.Contains(words, word) }
	switch first(words) {
	case "select", "insert", "update", "delete", "merge", "with", "truncate", "comment", "grant", "revoke", "lock", "table", "values", "security", "refresh", "import", "reassign":
		return has("concurrently") && first(words) != "refresh"
	case "create", "drop", "alter":
		if has("concurrently") {
			return true
		}
		switch kind := strings.Join(words[1:min(2, len(words))], ""); kind {
		case "database", "tablespace", "system", "subscription":
			return true
		}
		return false
	case "do":
		text := strings.ToLower(statement)
		for _, word := range []string{"commit", "rollback", "call"} {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
	return true
}

// forgets reports whether a text may drop the prepared probe.
func forgets(text string) bool {
	lower := strings.ToLower(text)
	return strings.Contains(lower, "discard") || strings.Contains(lower, "deallocate")
}

// instrument puts probe behind each statement that can have done something. lead puts one before the first, too. It returns false if
// the text is better left alone.
func instrument(text string, pieces []sqlsplit.Statement, inTransaction, lead bool, probe string) (string, []insertion, bool) {
	if len(pieces) == 0 || slices.ContainsFunc(pieces, func(p sqlsplit.Statement) bool { return p.Open || p.Backslash >= 0 || p.CopyIn }) {
		return text, nil, false
	}
	words := make([][]string, len(pieces))
	for i, p := range pieces {
		words[i] = Words(text[p.First:p.Last], 40)
	}
	if len(pieces) == 1 && !inTransaction && Alone(text[pieces[0].First:pieces[0].Last]) {
		return text, nil, false
	}
	var out strings.Builder
	var inserted []insertion
	done, chars := 0, 0
	put := func(at int, sql string) {
		out.WriteString(text[done:at] + sql)
		chars += utf8.RuneCountInString(text[done:at])
		done = at
		inserted = append(inserted, insertion{at: at, chars: chars, size: len(sql)})
	}
	if lead && !inTransaction && !mute(words[0]) {
		put(pieces[0].Begin, probe+";")
	}
	for i, p := range pieces {
		switch {
		case mute(words[i]), i+1 < len(pieces) && opens(words[i+1]):
		case i+1 < len(pieces):
			put(p.End, probe+";")
		default:
			put(len(text), "\n;"+probe)
		}
	}
	out.WriteString(text[done:])
	return out.String(), inserted, len(inserted) > 0
}

// original translates a position that the server gave for an instrumented text, from 1, to one in the text as it was. It returns false
// if the position is in a probe.
func original(position int, inserted []insertion, inBytes bool) (int, bool) {
	shift := 0
	for _, i := range inserted {
		at := i.chars
		if inBytes {
			at = i.at
		}
		if position <= at+shift {
			break
		}
		if position <= at+shift+i.size {
			return 0, false
		}
		shift += i.size
	}
	return position - shift, true
}
