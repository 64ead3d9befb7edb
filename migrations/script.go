package migrations

import (
	"fmt"
	"strings"
	"unicode"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// script is what of a file goes to the server, and how.
type script struct {
	// text is the file, or a text of as many lines in which only placeholders were filled in: failures are located in it.
	text string
	// queries are the parts of text that are sent, each as one query of the simple protocol. A part with several
	// statements is one transaction by itself, as the protocol has it. Without any, nothing is executed.
	queries []span
	// transaction is true if all queries, and the tool's own record of them, are one transaction.
	transaction bool
}

// span is a part of a text, in bytes.
type span struct{ begin, end int }

// wholeScript sends a text as it is, as one query.
func wholeScript(text string, transaction bool) script {
	s := script{text: text, transaction: transaction}
	if strings.TrimSpace(text) != "" {
		s.queries = []span{{0, len(text)}}
	}
	return s
}

// split cuts a part of a text into one query per statement. Parts without a statement are left out.
func split(text string, part span) []span {
	var queries []span
	for _, p := range sqlsplit.Counted(sqlsplit.Split(text[part.begin:part.end], true)) {
		queries = append(queries, span{part.begin + p.First, part.begin + p.Last})
	}
	return queries
}

// check refuses what the server cannot execute, before anything is executed.
func (s script) check(tool, path string) error {
	for _, q := range s.queries {
		// What is before it keeps its lines, so that the message has the right one.
		blank := strings.Repeat("\n", strings.Count(s.text[:q.begin], "\n"))
		if err := checkText(tool, path, blank+s.text[q.begin:q.end]); err != nil {
			return err
		}
	}
	return nil
}

// checkText looks at a text that would be sent as one query.
func checkText(tool, path, text string) error {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s: the file has a NUL byte at offset %d", path, i).
			WithHint("save the file as UTF-8 text")
	}
	for _, s := range sqlsplit.Split(text, true) {
		switch {
		case s.CopyIn:
			line, _ := lineColumn(text, s.First)
			return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s:%d: COPY … FROM STDIN cannot be in a migration", path, line).
				WithHint("%s sends the file to the server as it is, and the server would wait for rows that never come: use INSERT", tool)
		case s.Backslash >= 0:
			line, _ := lineColumn(text, s.Backslash)
			return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s:%d: %q is a command of psql, not SQL", path, line, firstWord(text[s.Backslash:])).
				WithHint("%s sends the file to the server as it is: write what the command stands for in SQL", tool)
		}
	}
	return nil
}

// firstWord cuts a psql command out of the text, for the message.
func firstWord(text string) string {
	if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
		text = text[:end]
	}
	return excerpt(text, 20)
}

// at names a line of a file for a message.
func at(path string, line int) string { return fmt.Sprintf("%s:%d", path, line) }
