package repoconfig

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	mayfly "github.com/mayflydb/mayfly"
)

// Path is where the file is in a repository.
const Path = ".mayfly.yml"

// MaxBytes is how large the file may be: far more than anybody writes by hand.
const MaxBytes = 64 << 10

// Problem is something wrong at a place in the file.
type Problem struct {
	Line    int // from 1
	Message string
	Hint    string
}

// String says it in a line: ".mayfly.yml:3: …".
func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", Path, p.Line, p.Message) }

// File is a file as written. The zero value says nothing.
type File struct {
	Projects map[string]*Project
}

// Project is what a file says of one project. What it does not say is nil or "".
type Project struct {
	Line int

	Enabled, Drafts, AlwaysRebuild *bool
	OnlyLabel, Size, Bots, Forks   string
	Paths, Seeds                   []string
	TTL, Idle                      *time.Duration
	MigrationsPath, MigrationsTool string
	lines                          map[string]int // where each key is
}

// KeyLine is the line of a key of the project, such as "size".
func (p *Project) KeyLine(key string) int { return p.lines[key] }

// Parse reads a file. Every problem in it is told; with any, the File is nil.
func Parse(content []byte) (file *File, problems []Problem) {
	if len(content) > MaxBytes {
		return nil, []Problem{{Line: 1, Message: fmt.Sprintf("the file has more than %d bytes", MaxBytes)}}
	}
	defer func() { // the parser is not ours, and the text is of anybody who may push
		if recover() != nil {
			file, problems = nil, []Problem{{Line: 1, Message: "the file is not YAML"}}
		}
	}()
	parsed, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, []Problem{syntax(err)}
	}
	r := &reader{file: &File{Projects: map[string]*Project{}}}
	for i, doc := range parsed.Docs {
		switch {
		case i > 0 && doc.Body != nil:
			r.problem(doc.Body, "there is more than one document", "")
		case doc.Body != nil:
			r.top(doc.Body)
		}
	}
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return r.file, nil
}

var position = regexp.MustCompile(`^\[(\d+):\d+\] (.*)`)

// syntax finds the line in the parser's error.
func syntax(err error) Problem {
	first, _, _ := strings.Cut(err.Error(), "\n")
	p := Problem{Line: 1, Message: "the file is not YAML: " + first}
	if m := position.FindStringSubmatch(first); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Message = "the file is not YAML: " + m[2]
	}
	return p
}

type reader struct {
	file     *File
	problems []Problem
}

func (r *reader) problem(at ast.Node, message, hint string) {
	line := 1
	if token := at.GetToken(); token != nil && token.Position != nil {
		line = token.Position.Line
	}
	r.problems = append(r.problems, Problem{Line: line, Message: message, Hint: hint})
}

// entry is one pair of a mapping.
type entry struct {
	key   string
	at    ast.Node
	value ast.Node
}

// entries returns the pairs of a mapping, in which each key may be only once and one of known, unless that is nil.
func (r *reader) entries(node ast.Node, what string, known []string) []entry {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil
	default:
		r.problem(node, what+" is not a mapping", "")
		return nil
	}
	seen := map[string]bool{}
	var out []entry
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		switch {
		case !ok:
			r.problem(v.Key, "a key of "+what+" is not a word", "")
		case seen[key.Value]:
			r.problem(v.Key, fmt.Sprintf("%q is there twice", key.Value), "")
		case known != nil && !contains(known, key.Value):
			r.problem(v.Key, fmt.Sprintf("%q is no key of %s", key.Value, what), suggestion(key.Value, known))
		default:
			seen[key.Value] = true
			out = append(out, entry{key: key.Value, at: v.Key, value: v.Value})
		}
	}
	return out
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func (r *reader) top(node ast.Node) {
	for _, e := range r.entries(node, Path, []string{"version", "projects"}) {
		switch e.key {
		case "version":
			if text, ok := scalar(e.value); !ok || text != "1" {
				r.problem(e.value, "version is not 1", "")
			}
		case "projects":
			for _, p := range r.entries(e.value, "projects", nil) {
				r.file.Projects[p.key] = r.project(p)
			}
		}
	}
}

func projectKeys() []string {
	return []string{"enabled", "drafts", "only_label", "paths", "ttl", "idle", "size", "bots", "forks", "migrations", "seeds"}
}

func (r *reader) project(e entry) *Project {
	p := &Project{lines: map[string]int{}}
	if token := e.at.GetToken(); token != nil {
		p.Line = token.Position.Line
	}
	for _, e := range r.entries(e.value, "a project", projectKeys()) {
		p.lines[e.key] = e.at.GetToken().Position.Line
		switch e.key {
		case "enabled":
			p.Enabled = r.boolean(e)
		case "drafts":
			p.Drafts = r.boolean(e)
		case "only_label":
			p.OnlyLabel = r.text(e)
		case "paths":
			p.Paths = r.patterns(e)
		case "ttl":
			p.TTL = r.duration(e)
		case "idle":
			p.Idle = r.duration(e)
		case "size":
			p.Size = r.text(e)
		case "bots":
			p.Bots = r.word(e, mayfly.BotsPreview, mayfly.BotsMigrations, mayfly.BotsSkip)
		case "forks":
			p.Forks = r.word(e, mayfly.ForksDeny, mayfly.ForksApprove, mayfly.ForksSchemaOnly)
		case "seeds":
			p.Seeds = r.paths(e)
		case "migrations":
			r.migrations(p, e)
		}
	}
	return p
}

func (r *reader) migrations(p *Project, e entry) {
	for _, e := range r.entries(e.value, "migrations", []string{"path", "tool", "always_rebuild"}) {
		p.lines["migrations."+e.key] = e.at.GetToken().Position.Line
		switch e.key {
		case "path":
			p.MigrationsPath = strings.Trim(r.path(e.value), "/")
		case "tool":
			p.MigrationsTool = r.text(e)
		case "always_rebuild":
			p.AlwaysRebuild = r.boolean(e)
		}
	}
}

// scalar returns the text of a value that is one. Anchors, aliases and tags are none.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.BoolNode:
		return strconv.FormatBool(n.Value), true
	case *ast.IntegerNode:
		return n.Token.Value, true
	case *ast.FloatNode:
		return n.Token.Value, true
	}
	return "", false
}

func (r *reader) text(e entry) string {
	text, ok := scalar(e.value)
	if !ok || strings.TrimSpace(text) == "" {
		r.problem(e.value, e.key+" is not a word", "")
		return ""
	}
	return text
}

func (r *reader) word(e entry, allowed ...string) string {
	text := r.text(e)
	if text != "" && !contains(allowed, text) {
		hint := suggestion(text, allowed)
		if hint == "" {
			hint = "use one of " + strings.Join(allowed, ", ")
		}
		r.problem(e.value, fmt.Sprintf("%s: %q is not known", e.key, text), hint)
	}
	return text
}

func (r *reader) boolean(e entry) *bool {
	text, _ := scalar(e.value)
	var value bool
	switch strings.ToLower(text) {
	case "on", "true", "yes":
		value = true
	case "off", "false", "no":
	default:
		r.problem(e.value, e.key+" is neither on nor off", "")
		return nil
	}
	return &value
}

func (r *reader) duration(e entry) *time.Duration {
	text, _ := scalar(e.value)
	d, err := mayfly.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	if err != nil {
		r.problem(e.value, e.key+" is not a time", `write it such as "2d", "12h" or "30m"`)
		return nil
	}
	return &d
}

func (r *reader) list(e entry) []ast.Node {
	sequence, ok := e.value.(*ast.SequenceNode)
	if !ok || len(sequence.Values) == 0 {
		r.problem(e.value, e.key+" is not a list with something in it", "")
		return nil
	}
	return sequence.Values
}

func (r *reader) patterns(e entry) []string {
	var out []string
	for _, node := range r.list(e) {
		text := r.path(node)
		if text != "" && !doublestar.ValidatePattern(text) {
			r.problem(node, fmt.Sprintf("%q is not a pattern", text), "such as services/shop/**")
		}
		out = append(out, text)
	}
	return out
}

func (r *reader) paths(e entry) []string {
	var out []string
	for _, node := range r.list(e) {
		out = append(out, r.path(node))
	}
	return out
}

// path reads a path in the repository.
func (r *reader) path(node ast.Node) string {
	text, ok := scalar(node)
	clean := strings.Trim(text, "/")
	if !ok || clean == "" || clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(clean, "/../") || strings.HasSuffix(clean, "/..") ||
		strings.ContainsFunc(clean, func(c rune) bool { return c < ' ' || c == '\\' }) {
		r.problem(node, "this is not a path in the repository", "write it from the root of the repository, without '..'")
		return ""
	}
	return clean
}
