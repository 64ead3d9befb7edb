package sanitize

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/mayflydb/mayfly"
)

// rulesVersion is the version of the format.
const rulesVersion = "1"

// maxRulesBytes bounds a rules file: far more than any schema needs.
const maxRulesBytes = 8 << 20

// Parse reads a rules file; name is what errors call it. The format is strict: an unknown key, a wrong type or a value
// out of range is a *mayfly.Error with mayfly.CodeInvalid that starts with name:line:column.
func Parse(name string, data []byte) (*Rules, error) {
	if len(data) > maxRulesBytes {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s: larger than %d bytes", name, maxRulesBytes)
	}
	p := &ruleParser{rules: &Rules{name: name, sum: sumOf(data)}}
	root, err := p.document(data)
	if err == nil {
		err = p.root(root)
	}
	var e *ruleError
	if errors.As(err, &e) {
		out := mayfly.Errorf(mayfly.CodeInvalid, "%s: %s", p.rules.where(e.at), e.message)
		out.Hint = e.hint
		return nil, out
	}
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s: %w", name, err)
	}
	return p.rules, nil
}

// ruleError is a mistake in the file.
type ruleError struct {
	at            position
	message, hint string
}

func (e *ruleError) Error() string { return e.message }

func errorAt(at position, format string, args ...any) *ruleError {
	return &ruleError{at: at, message: fmt.Sprintf(format, args...)}
}

// unknown is the error for a name that is none of known.
func unknown(at position, what, name string, known []string) *ruleError {
	e := errorAt(at, "unknown %s %q", what, name)
	if s := suggest(name, known); s != "" {
		e.message += fmt.Sprintf("; did you mean %q?", s)
	}
	if len(known) > 0 {
		e.hint = "known: " + strings.Join(known, ", ")
	}
	return e
}

// ruleParser turns the syntax tree into Rules.
type ruleParser struct{ rules *Rules }

// document returns the root of the only document. The YAML library panics on some malformed input; that, too, is an
// error in the file.
func (p *ruleParser) document(data []byte) (root ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, errorAt(position{1, 1}, "this is not YAML")
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	var located interface {
		error
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &located) {
		return nil, errorAt(tokenPosition(located.GetToken()), "%s", located.GetMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("read YAML: %w", err)
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, errorAt(position{1, 1}, "the file is empty")
	case 1:
		return bodies[0], nil
	default:
		return nil, errorAt(positionOf(bodies[1]), "there is more than one YAML document")
	}
}

func tokenPosition(tk *token.Token) position {
	if tk == nil || tk.Position == nil {
		return position{1, 1}
	}
	return position{tk.Position.Line, tk.Position.Column}
}

func positionOf(n ast.Node) position { return tokenPosition(n.GetToken()) }

// entry is a key of a mapping with its value.
type entry struct {
	key   string
	at    position
	value ast.Node
}

// mapping returns the entries of a mapping in their order.
func (p *ruleParser) mapping(n ast.Node, what string) ([]entry, error) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, errorAt(positionOf(n), "%s must be a mapping", what)
	}
	entries := make([]entry, 0, len(values))
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		key, err := p.key(v.Key)
		if err != nil {
			return nil, err
		}
		at := positionOf(v.Key)
		if seen[key] {
			return nil, errorAt(at, "%q is there twice", key)
		}
		seen[key] = true
		if v.Value == nil {
			return nil, errorAt(at, "%q has no value", key)
		}
		entries = append(entries, entry{key: key, at: at, value: v.Value})
	}
	return entries, nil
}

func (p *ruleParser) key(n ast.MapKeyNode) (string, error) {
	if n == nil {
		return "", errorAt(position{1, 1}, "a key is missing")
	}
	if n.IsMergeKey() {
		return "", errorAt(positionOf(n), "merge keys (<<) are not supported")
	}
	text, err := p.scalar(n, "a key")
	if err == nil && text == "" {
		err = errorAt(positionOf(n), "a key is empty")
	}
	return text, err
}

// scalar returns a scalar as it is written: 007 is "007", null is "null".
func (p *ruleParser) scalar(n ast.Node, what string) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.NullNode:
		if n.GetToken().Type == token.ImplicitNullType {
			return "", errorAt(positionOf(n), "%s is missing", what)
		}
		return "null", nil // also written ~
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.AnchorNode, *ast.AliasNode:
		return "", errorAt(positionOf(n), "anchors and aliases are not supported")
	case *ast.TagNode:
		return "", errorAt(positionOf(n), "tags are not supported")
	default:
		return "", errorAt(positionOf(n), "%s must be a single value", what)
	}
}

func (p *ruleParser) root(n ast.Node) error {
	entries, err := p.mapping(n, "the file")
	if err != nil {
		return err
	}
	version := false
	for _, e := range domainsFirst(entries) {
		switch e.key {
		case "version":
			version = true
			text, err := p.scalar(e.value, "version")
			if err != nil {
				return err
			}
			if text != rulesVersion {
				return errorAt(positionOf(e.value), "version must be %s", rulesVersion)
			}
		case "domains":
			err = p.domains(e.value)
		case "tables":
			err = p.tables(e.value)
		case "defaults":
			err = p.defaults(e.value)
		case "types":
			err = p.types(e.value)
		case "proof":
			err = p.parseProof(e.value)
		case "quasi_identifiers":
			err = p.quasiIdentifiers(e.value)
		case "subset":
			err = p.parseSubset(e.value)
		case "catalog":
			err = p.parseCatalog(e.value)
		default:
			err = unknown(e.at, "key", e.key, []string{"version", "domains", "tables", "defaults", "types", "proof", "quasi_identifiers", "catalog"})
		}
		if err != nil {
			return err
		}
	}
	if !version {
		return &ruleError{at: position{1, 1}, message: "version is missing", hint: "start the file with: version: " + rulesVersion}
	}
	return p.unusedDomains()
}

func (p *ruleParser) tables(n ast.Node) error {
	entries, err := p.mapping(n, "tables")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.Contains(e.key, ".") {
			return &ruleError{at: e.at, message: fmt.Sprintf("table %q has no schema", e.key), hint: fmt.Sprintf("write public.%s, or the schema that it is in", e.key)}
		}
		rule := tableRule{name: e.key, at: e.at}
		fields, err := p.mapping(e.value, "table "+e.key)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if err := p.tableField(&rule, f); err != nil {
				return err
			}
		}
		if rule.noRows && rule.where != "" {
			return errorAt(e.at, "table %s has rows and truncate", e.key)
		}
		if rule.noRows && len(rule.columns) > 0 {
			return errorAt(e.at, "table %s has rows: none and columns; with no rows there is nothing to mask", e.key)
		}
		if !rule.noRows && len(rule.columns) == 0 && rule.where == "" {
			return errorAt(e.at, "table %s says nothing; give columns, or rows: none", e.key)
		}
		p.rules.tables = append(p.rules.tables, rule)
	}
	return nil
}

func (p *ruleParser) tableField(rule *tableRule, f entry) error {
	switch f.key {
	case "rows":
		return p.rows(rule, f.value)
	case "truncate":
		text, err := p.scalar(f.value, "truncate")
		if err != nil {
			return err
		}
		if text != "true" {
			return errorAt(positionOf(f.value), "truncate must be true; without it all rows are taken")
		}
		rule.noRows = true
		return nil
	case "columns":
		columns, err := p.mapping(f.value, "columns")
		if err != nil {
			return err
		}
		for _, c := range columns {
			s, err := p.spec(c.value)
			if err != nil {
				return err
			}
			rule.columns = append(rule.columns, columnRule{name: c.key, at: c.at, spec: s})
		}
		return nil
	default:
		return unknown(f.at, "key", f.key, []string{"columns", "rows", "truncate"})
	}
}

// rows reads which rows of a table are taken: none, those where a condition holds, or all but those that drop names.
func (p *ruleParser) rows(rule *tableRule, n ast.Node) error {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		text, err := p.scalar(n, "rows")
		if err != nil {
			return err
		}
		if text != "none" {
			return errorAt(positionOf(n), "rows must be none, {where: condition} or {drop: condition}; without it all rows are taken")
		}
		rule.noRows = true
		return nil
	}
	entries, err := p.mapping(n, "rows")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.key != "where" && e.key != "drop" {
			return unknown(e.at, "key", e.key, []string{"where", "drop"})
		}
		condition, err := p.condition(e.value, e.key)
		if err != nil {
			return err
		}
		if rule.where != "" {
			return errorAt(e.at, "rows has where and drop; write one condition")
		}
		rule.where = condition
		if e.key == "drop" {
			rule.where = "(" + condition + ") IS NOT TRUE"
		}
	}
	return nil
}

func (p *ruleParser) defaults(n ast.Node) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return errorAt(positionOf(n), "defaults must be a list")
	}
	for _, item := range list.Values {
		entries, err := p.mapping(item, "an entry of defaults")
		if err != nil {
			return err
		}
		rule := patternRule{at: positionOf(item)}
		if len(entries) > 0 {
			rule.at = entries[0].at
		}
		var rest []entry
		matched := false
		for _, e := range entries {
			if e.key != "match" {
				rest = append(rest, e)
				continue
			}
			matched = true
			if rule.pattern, err = p.pattern(e.value); err != nil {
				return err
			}
		}
		if !matched {
			return errorAt(rule.at, "an entry of defaults has no match")
		}
		if rule.spec, err = p.specFields(rest, rule.at, []string{"match"}); err != nil {
			return err
		}
		if rule.spec.mask == "keep" && strings.Trim(strings.Join(rule.pattern[1:], ""), "*?") == "" {
			return &ruleError{
				at: rule.at, message: "this would keep columns that nobody has looked at",
				hint: "name the table or the column in match, or use types for types that cannot hold personal data",
			}
		}
		p.rules.defaults = append(p.rules.defaults, rule)
	}
	return nil
}

func (p *ruleParser) pattern(n ast.Node) (pattern [3]string, err error) {
	text, err := p.scalar(n, "match")
	if err != nil {
		return pattern, err
	}
	parts := strings.Split(text, ".")
	if len(parts) != len(pattern) || contains(parts, "") {
		return pattern, &ruleError{at: positionOf(n), message: fmt.Sprintf("match %q is not schema.table.column", text), hint: `write for example "*.*.created_at"; * stands for any characters, ? for one`}
	}
	return [3]string(parts), nil
}

func (p *ruleParser) types(n ast.Node) error {
	entries, err := p.mapping(n, "types")
	if err != nil {
		return err
	}
	for _, e := range entries {
		s, err := p.spec(e.value)
		if err != nil {
			return err
		}
		rule := typeRule{name: typeAlias(e.key), at: e.at, spec: s}
		if s.mask == "keep" && rule.name != keyType && rule.name != enumType && familyOfType(rule.name).freeForm() {
			return &ruleError{
				at: e.at, message: fmt.Sprintf("type %s can hold personal data; it cannot be kept for all columns", e.key),
				hint: "keep columns by name in tables, or by pattern in defaults",
			}
		}
		p.rules.types = append(p.rules.types, rule)
	}
	return nil
}
