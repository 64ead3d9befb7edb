package migrations

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path"
	"strings"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// atlasSumName is HashFileName of the tool.
const atlasSumName = "atlas.sum"

// atlasSumLine is one file in the sum.
type atlasSumLine struct{ name, hash string }

// atlasIgnoresSum: the first line takes the file out of the sum.
func atlasIgnoresSum(f File) bool {
	first, _, _ := strings.Cut(string(f.Content), "\n")
	value, ok := atlasComment(strings.TrimSpace(first), "sum")
	return ok && value == "ignore"
}

// atlasHashes is NewHashFile of the tool: each hash covers all files up to this one, names included.
func atlasHashes(list []File) map[string]string {
	hashes := map[string]string{}
	hash := sha256.New()
	for _, f := range list {
		_, _ = hash.Write([]byte(path.Base(f.Path))) // a hash never fails
		if atlasIgnoresSum(f) {
			continue
		}
		_, _ = hash.Write(f.Content)
		hashes[f.Path] = base64.StdEncoding.EncodeToString(hash.Sum(nil))
	}
	return hashes
}

// atlasSum is HashFile.Sum of the tool, over all lines.
func atlasSum(lines []atlasSumLine) string {
	hash := sha256.New()
	for _, l := range lines {
		_, _ = hash.Write([]byte(l.name + l.hash)) // a hash never fails
	}
	return base64.StdEncoding.EncodeToString(hash.Sum(nil))
}

// checkAtlasSum compares the directory with its sum file, and says which file is the first that differs.
func checkAtlasSum(sum *File, list []File, hashes map[string]string) error {
	const hint = "if the change is meant, run `atlas migrate hash` and commit the sum file with it; Atlas itself refuses the directory as it is"
	if sum == nil {
		if len(list) == 0 {
			return nil
		}
		return invalid(hint, "%s: the directory has no %s", path.Dir(list[0].Path), atlasSumName)
	}
	var recorded []atlasSumLine
	lines := bufio.NewScanner(bytes.NewReader(sum.Content))
	lines.Scan()
	total := strings.TrimPrefix(lines.Text(), "h1:")
	for number := 2; lines.Scan(); number++ {
		name, hash, ok := strings.Cut(lines.Text(), "h1:")
		if !ok {
			return invalid(hint, "%s is not a line of a sum file; a merge may have left its marks", at(sum.Path, number))
		}
		recorded = append(recorded, atlasSumLine{strings.TrimSpace(name), hash})
	}
	if total != atlasSum(recorded) {
		return invalid(hint, "%s: the first line does not fit the others", at(sum.Path, 1))
	}
	var now []atlasSumLine
	for _, f := range list {
		if hash, ok := hashes[f.Path]; ok {
			now = append(now, atlasSumLine{path.Base(f.Path), hash})
		}
	}
	if what := firstDifference(recorded, now); what != "" {
		return invalid(hint, "%s does not fit the directory: %s", sum.Path, what)
	}
	return nil
}

// firstDifference says what happened to the first file that is not as the sum has it.
func firstDifference(recorded, now []atlasSumLine) string {
	for i, was := range recorded {
		if i < len(now) && now[i] == was {
			continue
		}
		for j, is := range now {
			switch {
			case is.name != was.name:
			case i == j:
				return was.name + " was edited"
			default:
				return now[i].name + " was added"
			}
		}
		return was.name + " was removed"
	}
	if len(now) > len(recorded) {
		return now[len(recorded)].name + " was added"
	}
	return ""
}

// atlasStatements cuts a file as the tool does: at the semicolons, or at the delimiter that its first line names.
func atlasStatements(text string) ([]span, error) {
	first, _, more := strings.Cut(text, "\n")
	delimiter, ok := atlasComment(strings.TrimRight(first, "\r"), "delimiter")
	if !ok || !strings.HasPrefix(first, "-- atlas:") {
		return split(text, span{0, len(text)}), nil
	}
	delimiter = strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(delimiter)
	switch {
	case delimiter == "":
		return nil, &lineError{line: 1, text: "atlas:delimiter has no value", hint: "Atlas refuses the file, too"}
	case !more:
		return nil, &lineError{line: 1, text: fmt.Sprintf("there is nothing behind atlas:delimiter %q", delimiter), hint: "Atlas refuses the file, too"}
	}
	return splitAt(text, len(first)+1, delimiter), nil
}

// splitAt cuts the text from an offset on at a delimiter that is not in a quoted string or identifier. Parts of blanks and
// comments are left out.
func splitAt(text string, from int, delimiter string) []span {
	var parts []span
	begin, next := from, from
	found := -2 // the next delimiter, -1 for none any more, -2 if it is not known
	seek := func() int {
		if found == -2 || found >= 0 && found < next {
			if found = strings.Index(text[next:], delimiter); found >= 0 {
				found += next
			}
		}
		return found
	}
	emit := func(end int) {
		for _, p := range sqlsplit.Split(text[begin:end], true) {
			if p.First >= 0 {
				parts = append(parts, trimSpan(text, span{begin + p.First, end}))
				return
			}
		}
	}
	for _, t := range append(sqlsplit.Tokens(text[from:], true), sqlsplit.Token{Begin: len(text) - from, End: len(text) - from}) {
		quoted := t.Kind != sqlsplit.KindSymbol && t.Kind != sqlsplit.KindWord && t.Kind != sqlsplit.KindNumber && t.Kind != sqlsplit.KindComment
		limit := from + t.End
		if quoted || t.Begin == t.End {
			limit = from + t.Begin
		}
		for seek() >= 0 && seek() < limit {
			end := seek()
			emit(end)
			next = end + len(delimiter)
			begin = next
		}
		if quoted {
			next = max(next, from+t.End)
		}
	}
	emit(len(text))
	return parts
}
