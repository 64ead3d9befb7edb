package quarantine

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	mayfly "github.com/mayflydb/mayfly"
)

// psqlWatch reads what psql writes to its standard error, and ends the restore at the first error that matters. What
// else the server says of an error (DETAIL, LINE, CONTEXT) holds values of rows and is dropped here.
type psqlWatch struct {
	fail   func(error)
	recent *recentStatements

	mu       sync.Mutex
	rest     []byte
	findings []Finding
	lacks    []string          // extensions that the image has not
	violated []recentStatement // foreign keys
}

// maxMessage bounds a line of psql's.
const maxMessage = 64 << 10

var (
	psqlLine   = regexp.MustCompile(`^psql:<stdin>:(\d+): (.*)$`)
	serverLine = regexp.MustCompile(`^(ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|LOG|DEBUG):  (?:([0-9A-Z]{5}): )?(.*)$`)
)

func (w *psqlWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		if room := maxMessage - len(w.rest); room > 0 {
			w.rest = append(w.rest, line[:min(len(line), room)]...)
		}
		if rest = after; !ended {
			break
		}
		w.line(string(w.rest))
		w.rest = w.rest[:0]
	}
	return len(p), nil
}

func (w *psqlWatch) line(text string) {
	m := psqlLine.FindStringSubmatch(text)
	if m == nil {
		return
	}
	line, _ := strconv.Atoi(m[1])
	server := serverLine.FindStringSubmatch(m[2])
	if server == nil {
		w.fail(mayfly.Errorf(mayfly.CodeSourceInvalid, "line %d of the script: %s", line, psqlMessage(m[2])))
		return
	}
	if level := server[1]; level != "ERROR" && level != "FATAL" && level != "PANIC" {
		return
	}
	e := scriptError{line: line, code: server[2], message: server[3], in: w.recent.at(line)}
	if f, known := e.known(); known {
		if f.Code == "missing_extension" {
			w.lacks = append(w.lacks, f.Object)
		}
		if f.Code == codeConstraint && e.code == "23503" && len(w.violated) < 1000 {
			w.violated = append(w.violated, e.in)
		}
		w.note(f)
		return
	}
	w.fail(e.fatal(w.lacks))
}

var pathInMessage = regexp.MustCompile(`connection to server on socket "[^"]*" failed: `)

// psqlMessage is what psql says itself: of a connection that it cannot make or has lost.
func psqlMessage(text string) string {
	return "psql: " + pathInMessage.ReplaceAllString(strings.TrimPrefix(text, "error: "), "")
}

// note keeps a finding, and counts how often it came.
func (w *psqlWatch) note(f Finding) {
	if f.Code == "" {
		return
	}
	for i := range w.findings {
		if have := &w.findings[i]; have.Code == f.Code && have.Object == f.Object {
			have.Count++
			if len(have.Samples) < 5 && len(f.Samples) > 0 && !slices.Contains(have.Samples, f.Samples[0]) {
				have.Samples = append(have.Samples, f.Samples...)
			}
			return
		}
	}
	if f.Count = 1; len(w.findings) < 1000 {
		w.findings = append(w.findings, f)
	}
}

// unvalidated says that a foreign key is there after all.
func (w *psqlWatch) unvalidated(head string) {
	for i := range w.findings {
		if f := &w.findings[i]; f.Code == codeConstraint && f.Object == head {
			f.Done = "the rows are there, and the constraint as NOT VALID: it holds for new rows"
		}
	}
}

// codeConstraint is the code of findings about constraints that rows violate.
const codeConstraint = "constraint_violated"

// scriptError is one error of the server's about a statement of a script.
type scriptError struct {
	line          int
	code, message string
	in            recentStatement
}

var (
	noSuchRole     = regexp.MustCompile(`^role "(.*)" does not exist$`)
	noSuchOther    = regexp.MustCompile(`^(extension|tablespace|language) "(.*)" does not exist$`)
	extensionNamed = regexp.MustCompile(`(?i)^CREATE EXTENSION (?:IF NOT EXISTS )?` + name)
	alreadyThere   = regexp.MustCompile(`(?i)^CREATE (?:ROLE|USER|GROUP|DATABASE|SCHEMA|EXTENSION|(?:OR REPLACE )?(?:TRUSTED )?(?:PROCEDURAL )?LANGUAGE)\b`)
	setsSomething  = regexp.MustCompile(`(?i)^(?:SET|RESET|ALTER (?:SYSTEM|(?:DATABASE|ROLE|USER) .* SET))\b`)
	dropsSomething = regexp.MustCompile(`(?i)^(?:DROP|ALTER .* DROP)\b`)
	givesRights    = regexp.MustCompile(`(?i)^(?:GRANT|REVOKE|SECURITY LABEL|ALTER DEFAULT PRIVILEGES|ALTER .* OWNER TO|COMMENT ON EXTENSION|ALTER EXTENSION|ALTER TABLESPACE|(?:CREATE|ALTER) USER MAPPING)\b`)
	addsConstraint = regexp.MustCompile(`(?i)^ALTER TABLE .* ADD (?:CONSTRAINT|FOREIGN|UNIQUE|PRIMARY|CHECK|EXCLUDE)\b`)
	createsIndex   = regexp.MustCompile(`(?i)^CREATE (?:UNIQUE )?INDEX\b`)
	refreshes      = regexp.MustCompile(`(?i)^REFRESH MATERIALIZED VIEW\b`)
	makesFunction  = regexp.MustCompile(`(?i)^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE|TRANSFORM|CAST)\b`)
)

// known returns what there is to say about an error after which a restore can go on: a finding, or one without a code if
// nothing is.
func (e scriptError) known() (Finding, bool) {
	head := e.in.head
	gone := slices.Contains([]string{"42P01", "42703", "42704", "42883", "3F000", "3D000"}, e.code)
	sample := []string{fmt.Sprintf("line %d: %s", e.line, head)}
	if m := noSuchRole.FindStringSubmatch(e.message); m != nil && (givesRights.MatchString(head) || setsSomething.MatchString(head) || dropsSomething.MatchString(head)) {
		return Finding{
			Code: "missing_role", Severity: Info, Object: "role " + m[1], Cause: "the script names a role that it does not create",
			Done: "left out: everything in a template belongs to one role", Samples: sample,
		}, true
	}
	switch {
	// Of the roles that a script drops first, those are in use that a fresh cluster has: ours, and initdb's.
	case strings.HasPrefix(head, "DROP ROLE ") && slices.Contains([]string{"55006", "2BP01"}, e.code):
		return Finding{}, true
	case dropsSomething.MatchString(head) && gone, alreadyThere.MatchString(head) && slices.Contains([]string{"42710", "42P06", "42P04"}, e.code):
		return Finding{}, true // a fresh cluster
	case extensionNamed.MatchString(head) && slices.Contains([]string{"0A000", "58P01", "42704", "22023"}, e.code):
		extension := unquote(extensionNamed.FindStringSubmatch(head)[1])
		return Finding{
			Code: "missing_extension", Severity: Error, Object: "extension " + extension, Cause: "the image has not the extension that the source uses",
			Done: "left out", Advice: "set postgres.image to an image with the extension, or drop it from the source if nothing uses it",
		}, true
	case setsSomething.MatchString(head):
		return Finding{
			Code: "setting_left_out", Severity: Info, Object: "setting " + settingOf(head), Cause: "the server does not take the setting or its value",
			Done: "left out", Samples: sample,
		}, true
	case givesRights.MatchString(head):
		return Finding{
			Code: "rights_left_out", Severity: Info, Object: "grants and owners", Cause: "the server refuses what the script says about rights (SQLSTATE " + e.code + ")",
			Done: "left out: everything in a template belongs to one role", Samples: sample,
		}, true
	case makesFunction.MatchString(head) && (e.code == "58P01" || noSuchOther.MatchString(e.message)):
		return Finding{
			Code: "function_left_out", Severity: Error, Object: head, Cause: "the image has not the library or language that it is made with",
			Done: "left out", Advice: "set postgres.image to an image that has it",
		}, true
	case addsConstraint.MatchString(head) && strings.HasPrefix(e.code, "23"):
		return Finding{
			Code: codeConstraint, Severity: Error, Object: head, Cause: "rows of the source violate it (SQLSTATE " + e.code + ")",
			Done: "the rows are there, the constraint was left out", Advice: "mend the rows at the source",
		}, true
	case createsIndex.MatchString(head) && (e.code == "23505" || e.code == "54000"):
		return Finding{
			Code: "index_left_out", Severity: Error, Object: head, Cause: "rows of the source do not fit into it: duplicate keys, or keys that are too long (SQLSTATE " + e.code + ")",
			Done: "the rows are there, the index was left out", Advice: "mend the rows at the source",
		}, true
	case refreshes.MatchString(head):
		return Finding{
			Code: "view_not_filled", Severity: Warning, Object: head, Cause: "its query fails (SQLSTATE " + e.code + ")", Done: "it stays empty",
		}, true
	}
	return Finding{}, false
}

// settingOf returns the name of the setting in a statement's first words.
func settingOf(head string) string {
	words := strings.Fields(head)
	for i, word := range words[:max(0, len(words)-1)] {
		if strings.EqualFold(word, "SET") || strings.EqualFold(word, "RESET") {
			if next := strings.ToLower(words[i+1]); (next == "session" || next == "local") && i+2 < len(words) {
				return words[i+2]
			}
			return words[i+1]
		}
	}
	return head
}

// safeMessages are those of the server that hold names and no values.
func safeMessages() []*regexp.Regexp {
	n := `"[^"]*"`
	var all []*regexp.Regexp
	for _, pattern := range []string{
		`duplicate key value violates unique constraint ` + n,
		`null value in column ` + n + `(?: of relation ` + n + `)? violates not-null constraint`,
		`new row for relation ` + n + ` violates check constraint ` + n,
		`(?:insert or update|update or delete) on table ` + n + ` violates foreign key constraint ` + n + `(?: on table ` + n + `)?`,
		`(?:relation|schema|type|table|role|database|extension|index|constraint|language|collation|sequence|view|operator class|access method) ` + n + `(?: (?:for|of) [a-z]+ ` + n + `)? (?:does not exist|already exists)`,
		`extension ` + n + ` is not available`,
		`function [^']* does not exist`,
		`permission denied for [a-z ]+ ` + n,
		`INSERT has more (?:expressions than target columns|target columns than expressions)`,
		`extra data after last expected column|missing data for column ` + n,
		`current transaction is aborted, commands ignored until end of transaction block`,
		`no space left on device|could not (?:extend|write to) file ` + n + `: No space left on device`,
	} {
		all = append(all, regexp.MustCompile(`^(?:`+pattern+`)$`))
	}
	return all
}

// fatal turns an error that a restore cannot go on after into one for people: where it is and what kind it is of, without
// what the server quotes.
func (e scriptError) fatal(lacks []string) error {
	what := "the server refuses it"
	switch {
	case slices.ContainsFunc(safeMessages(), func(r *regexp.Regexp) bool { return r.MatchString(e.message) }):
		what = e.message
	case e.code == "42601":
		what = "it is not SQL that this server understands"
	case e.code == "42703":
		what = "a column that it names does not exist"
	case strings.HasPrefix(e.code, "22"):
		what = "a value does not fit its type"
	case strings.HasPrefix(e.code, "57") || strings.HasPrefix(e.code, "53"):
		what = "the server has run out of something, or was stopped"
	}
	where := fmt.Sprintf("line %d of the script", e.line)
	if e.in.head != "" {
		where += " (" + e.in.head + ")"
	}
	err := mayfly.Errorf(mayfly.CodeSourceInvalid, "%s: %s (SQLSTATE %s)", where, what, e.code)
	if len(lacks) > 0 {
		return err.WithHint("the image lacks the %s: set postgres.image to one that has it", strings.Join(lacks, ", the "))
	}
	return err.WithHint("look at that line; `psql -v ON_ERROR_STOP=1 -f` with the script into an empty cluster shows the whole message")
}
