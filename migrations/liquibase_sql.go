package migrations

import (
	"cmp"
	"crypto/md5" //nolint:gosec // the tool's own checksum; nothing is protected by it
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// liquibaseSet is one changeset of formatted SQL.
type liquibaseSet struct {
	log        *liquibaseLog
	path       string // of the file in the repository
	logical    string // logicalFilePath
	id, author string
	line       int

	// text is the file with only the SQL of this changeset, each line where it is; undo is that of its rollback.
	text, undo string

	comment                           string
	inTransaction, split              bool
	runOnChange, runAlways, ignore    bool
	delimiter, contexts, labels, dbms string
	validSums                         []string
	checks                            []liquibaseCheck
	markRan                           bool
	cannot                            string // what of it cannot be honoured
	cannotLine                        int
}

// liquibaseCheck is --precondition-sql-check.
type liquibaseCheck struct {
	line            int
	expected, query string
}

// The lines of formatted SQL (AbstractFormattedChangeLogParser of the tool).
var (
	liquibaseHeader     = regexp.MustCompile(`(?i)^\s*--\s*liquibase\s*formatted`)
	liquibaseProperty   = regexp.MustCompile(`(?i)^\s*--\s*property\s`)
	liquibaseSetLine    = regexp.MustCompile(`(?i)^\s*--\s*changeset\s+("[^"]+"|[^:]+):\s*("[^"]+"|\S+)(.*)$`)
	liquibaseAnySetLine = regexp.MustCompile(`(?i)^\s*-{1,2}\s*changeset\b`)
	liquibaseRollback   = regexp.MustCompile(`(?i)^\s*--\s*rollback\s`)
	liquibaseRollbacks  = regexp.MustCompile(`(?i)^\s*/\*\s*liquibase\s*rollback\s*$`)
	liquibaseEndComment = regexp.MustCompile(`\*/\s*$`)
	liquibaseComment    = regexp.MustCompile(`(?i)^--\s*comment:? (.*)$`)
	liquibaseValidSum   = regexp.MustCompile(`(?i)^--\s*validCheckSum:? (.*)$`)
	liquibaseConditions = regexp.MustCompile(`(?i)^\s*--\s*preconditions(.*)$`)
	liquibaseCondition  = regexp.MustCompile(`(?i)^\s*--\s*precondition-([a-z0-9-]+)(.*)$`)
	liquibaseIgnore     = regexp.MustCompile(`(?i)^--\s*ignoreLines:(\w+)`)
	liquibaseExpected   = regexp.MustCompile(`(?i)^(?:expectedResult:)?(?:'([^']+)'|"([^"]+)"|(\w+)) (.*)$`)
)

// liquibaseAttribute returns the value of name:value in the line of a changeset.
func liquibaseAttribute(line, name string) (string, bool) {
	match := regexp.MustCompile(`(?i)(?:^|\s)` + name + `:("[^"]*"|\S*)`).FindStringSubmatch(line)
	if match == nil {
		return "", false
	}
	return strings.Trim(match[1], `"`), true
}

// formatted reads one file.
func (l *liquibaseLog) formatted(f File) error {
	p := &liquibaseParser{log: l, file: f, lines: strings.Split(strings.ReplaceAll(string(f.Content), "\r\n", "\n"), "\n")}
	first := slices.IndexFunc(p.lines, func(s string) bool { return strings.TrimSpace(s) != "" })
	if first < 0 {
		l.history.Findings = append(l.history.Findings, ignored(f.Path, "it is empty"))
		return nil
	}
	if !liquibaseHeader.MatchString(strings.TrimPrefix(p.lines[first], "\uFEFF")) {
		return invalid("begin it with '--liquibase formatted sql', or have Liquibase run by a runner command",
			"%s: the file is not formatted SQL", at(f.Path, first+1))
	}
	p.logical, _ = liquibaseAttribute(p.lines[first], "logicalFilePath")
	for p.at = first + 1; p.at < len(p.lines); p.at++ {
		if err := p.read(p.lines[p.at]); err != nil {
			return err
		}
	}
	return p.finish()
}

type liquibaseParser struct {
	log     *liquibaseLog
	file    File
	lines   []string
	at      int
	logical string
	set     *liquibaseSet
	kept    map[int]string // the SQL of the changeset, by line
	undo    map[int]string // that of its rollback
}

func (p *liquibaseParser) fail(format string, args ...any) error {
	return invalid("Liquibase refuses the file, too, or it cannot be run natively: then have Liquibase run by a runner command",
		"%s: %s", at(p.file.Path, p.at+1), fmt.Sprintf(format, args...))
}

func (p *liquibaseParser) read(line string) error {
	if match := liquibaseIgnore.FindStringSubmatch(line); match != nil {
		return p.ignoreLines(match[1])
	}
	if match := liquibaseSetLine.FindStringSubmatch(line); match != nil {
		if err := p.finish(); err != nil {
			return err
		}
		return p.begin(strings.Trim(match[1], `"`), strings.Trim(match[2], `"`), match[3])
	}
	switch {
	case liquibaseProperty.MatchString(line):
		return p.fail("properties cannot be honoured: set migrations.placeholders")
	case liquibaseAnySetLine.MatchString(line):
		return p.fail("the line is not '--changeset author:id'")
	case p.set == nil:
		return nil
	}
	return p.body(line)
}

func (p *liquibaseParser) ignoreLines(what string) error {
	if n, err := strconv.Atoi(what); err == nil {
		p.at += min(n, len(p.lines))
		return nil
	}
	if !strings.EqualFold(what, "start") {
		return p.fail("ignoreLines:%s is not known", excerpt(what, 40))
	}
	for p.at++; p.at < len(p.lines); p.at++ {
		if match := liquibaseIgnore.FindStringSubmatch(p.lines[p.at]); match != nil && strings.EqualFold(match[1], "end") {
			return nil
		}
	}
	return nil
}

// begin reads the line of a changeset.
func (p *liquibaseParser) begin(author, id, rest string) error {
	expand := p.log.expand
	c := &liquibaseSet{
		log: p.log, path: p.file.Path, logical: p.logical, id: expand(id), author: expand(author), line: p.at + 1, inTransaction: true, split: true,
	}
	p.set, p.kept, p.undo = c, map[int]string{}, map[int]string{}
	flags := map[string]*bool{
		"runInTransaction": &c.inTransaction, "splitStatements": &c.split, "runOnChange": &c.runOnChange, "runAlways": &c.runAlways, "ignore": &c.ignore,
	}
	for name, flag := range flags {
		if value, ok := liquibaseAttribute(rest, name); ok {
			switch strings.ToLower(value) {
			case "true", "false":
				*flag = strings.EqualFold(value, "true")
			default:
				return p.fail("%s:%s is neither true nor false", name, excerpt(value, 40))
			}
		}
	}
	for name, value := range map[string]*string{"labels": &c.labels, "dbms": &c.dbms, "endDelimiter": &c.delimiter, "context": &c.contexts, "contextFilter": &c.contexts} {
		if v, ok := liquibaseAttribute(rest, name); ok && v != "" {
			*value = expand(v)
		}
	}
	if v, ok := liquibaseAttribute(rest, "logicalFilePath"); ok && v != "" {
		c.logical = expand(v)
	}
	if v, ok := liquibaseAttribute(rest, "failOnError"); ok && !strings.EqualFold(v, "true") {
		c.refuse(p.at, "failOnError:"+v)
	}
	if v, ok := liquibaseAttribute(rest, "runWith"); ok {
		c.refuse(p.at, "runWith:"+v)
	}
	switch {
	case c.delimiter == "/":
		c.delimiter = "\n/"
	case strings.ContainsAny(c.delimiter, `\()[]{}*+?|^$.`) && c.delimiter != "$$":
		c.refuse(p.at, "endDelimiter:"+c.delimiter)
	}
	return nil
}

func (c *liquibaseSet) refuse(at int, what string) {
	if c.cannot == "" {
		c.cannot, c.cannotLine = excerpt(what, 80), at+1
	}
}

// body reads a line of a changeset.
func (p *liquibaseParser) body(line string) error {
	c := p.set
	if match := liquibaseComment.FindStringSubmatch(line); match != nil {
		c.comment = strings.TrimSpace(match[1])
		return nil
	}
	if match := liquibaseValidSum.FindStringSubmatch(line); match != nil {
		c.validSums = append(c.validSums, strings.TrimSpace(match[1]))
		return nil
	}
	if match := liquibaseConditions.FindStringSubmatch(line); match != nil {
		p.conditions(match[1])
		return nil
	}
	if match := liquibaseCondition.FindStringSubmatch(line); match != nil {
		p.condition(strings.ToLower(match[1]), strings.TrimSpace(match[2]))
		return nil
	}
	switch {
	case liquibaseRollback.MatchString(line + " "):
		p.undo[p.at] = strings.TrimSpace(liquibaseRollback.ReplaceAllString(line+" ", ""))
	case liquibaseRollbacks.MatchString(line):
		for p.at++; p.at < len(p.lines) && !liquibaseEndComment.MatchString(p.lines[p.at]); p.at++ {
			p.undo[p.at] = p.lines[p.at]
		}
	default:
		p.kept[p.at] = line
	}
	return nil
}

func (p *liquibaseParser) conditions(rest string) {
	for _, name := range []string{"onFail", "onError", "onSqlOutput", "onUpdateSql"} {
		value, ok := liquibaseAttribute(rest, name)
		switch {
		case !ok || strings.EqualFold(value, "HALT") || strings.HasPrefix(name, "onSql") || strings.HasPrefix(name, "onUpdate"):
		case name == "onFail" && strings.EqualFold(value, "MARK_RAN"):
			p.set.markRan = true
		default:
			p.set.refuse(p.at, name+":"+value)
		}
	}
}

func (p *liquibaseParser) condition(kind, rest string) {
	match := liquibaseExpected.FindStringSubmatch(p.log.expand(rest))
	if kind != "sql-check" || match == nil {
		p.set.refuse(p.at, "precondition-"+kind)
		return
	}
	query := strings.TrimRight(strings.TrimSpace(match[4]), ";")
	p.set.checks = append(p.set.checks, liquibaseCheck{line: p.at + 1, expected: match[1] + match[2] + match[3], query: query})
}

// finish ends a changeset.
func (p *liquibaseParser) finish() error {
	c := p.set
	if p.set = nil; c == nil {
		return nil
	}
	lines := make([]string, len(p.lines))
	var sql strings.Builder
	for i := range p.lines {
		if line, ok := p.kept[i]; ok {
			lines[i] = p.log.expand(line)
			sql.WriteString(lines[i] + "\n")
		}
	}
	c.text = strings.Join(lines, "\n")
	undo := make([]string, len(p.lines))
	for i, line := range p.undo {
		undo[i] = p.log.expand(line)
	}
	c.undo = strings.TrimRight(strings.Join(undo, "\n"), "\n")
	body := strings.TrimSpace(sql.String())
	if body == "" {
		return invalid("Liquibase refuses the file, too", "%s: the changeset %s:%s has no SQL", at(p.file.Path, c.line), c.author, c.id)
	}
	m := Migration{
		Version: liquibaseKey(cmp.Or(c.logical, c.path), c.id, c.author), Name: c.author + ":" + c.id, Up: &p.file, Checksum: liquibaseSum(body),
		NoTransaction: !c.inTransaction, Repeatable: c.runOnChange || c.runAlways, own: c, refused: badName(p.file),
	}
	m.identity = m.Checksum
	switch {
	case c.cannot != "":
		m.refused = invalid("have Liquibase run by a runner command", "%s: %s cannot be honoured", at(p.file.Path, c.cannotLine), c.cannot)
	case len(c.id) > 255 || len(c.author) > 255 || len(path.Clean(c.path)) > 255:
		m.refused = invalid("shorten it", "%s: the id, author or path is longer than the columns of %s", at(p.file.Path, c.line), liquibaseTable)
	}
	p.log.history.Migrations = append(p.log.history.Migrations, m)
	return nil
}

// liquibaseSum is the checksum of version 9: over the SQL without blanks, and then over that of all changes, here one.
func liquibaseSum(sql string) string {
	sum := func(s string) string {
		digest := md5.Sum([]byte(s)) //nolint:gosec // see the import
		return "9:" + hex.EncodeToString(digest[:])
	}
	return sum(sum(strings.NewReplacer(" ", "", "\n", "", "\r", "", "\t", "").Replace(sql)) + ":")
}

// fullContext is what column contexts has (ChangeSet.buildFullContext of the tool).
func (c *liquibaseSet) fullContext() string {
	if strings.ContainsAny(c.contexts, ", ") {
		return "(" + c.contexts + ")"
	}
	return c.contexts
}

// filtered says why a changeset does not run; "" if it does.
func (c *liquibaseSet) filtered() string {
	settings := c.log.settings
	switch {
	case c.ignore:
		return "ignore:true"
	case !liquibaseDBMS(c.dbms):
		return "for other databases: dbms:" + excerpt(c.dbms, 80)
	case c.contexts != "" && len(settings.Contexts) > 0 && !matchesExpression(c.contexts, settings.Contexts):
		return "its context " + excerpt(c.contexts, 80) + " is not among the active ones"
	case c.labels != "" && settings.Labels != "" && !matchesExpression(settings.Labels, strings.Split(c.labels, ",")):
		return "its labels " + excerpt(c.labels, 80) + " do not match " + settings.Labels
	}
	return ""
}

// liquibaseDBMS is DatabaseList.definitionMatches of the tool.
func liquibaseDBMS(list string) bool {
	if list == "" {
		return true
	}
	named := false
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "all", "postgresql":
			return true
		case "none", "!postgresql":
			return false
		default:
			named = named || !strings.HasPrefix(name, "!")
		}
	}
	return !named
}

// matchesExpression evaluates names with "and", "or", ",", "!", "not" and parentheses: "," binds least.
func matchesExpression(expression string, names []string) bool {
	has := map[string]bool{}
	for _, n := range names {
		has[strings.ToLower(strings.TrimSpace(n))] = true
	}
	spaced := strings.NewReplacer("(", " ( ", ")", " ) ", "!", " ! ", ",", " or ").Replace(strings.ToLower(expression))
	e := &expressionReader{words: strings.Fields(spaced), has: has}
	return e.or()
}

type expressionReader struct {
	words []string
	has   map[string]bool
}

func (e *expressionReader) next(word string) bool {
	if len(e.words) > 0 && e.words[0] == word {
		e.words = e.words[1:]
		return true
	}
	return false
}

func (e *expressionReader) or() bool {
	value := e.and()
	for e.next("or") {
		right := e.and()
		value = value || right
	}
	return value
}

func (e *expressionReader) and() bool {
	value := e.not()
	for e.next("and") {
		right := e.not()
		value = value && right
	}
	return value
}

func (e *expressionReader) not() bool {
	switch {
	case e.next("!"), e.next("not"):
		return !e.not()
	case e.next("("):
		value := e.or()
		e.next(")")
		return value
	case len(e.words) == 0:
		return false
	}
	word := e.words[0]
	e.words = e.words[1:]
	return e.has[strings.TrimPrefix(word, "@")]
}
