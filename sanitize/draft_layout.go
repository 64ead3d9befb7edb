package sanitize

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/mayflydb/mayfly"
)

// layOut writes the rules, and says on which line each column begins.
func (d *Draft) layOut(name, about string, existing []byte, chosen *choices, examples map[string]string) (text []byte, lines map[*choice]int, err error) {
	var edits []edit
	if existing == nil {
		existing = []byte("# " + printableLine(about) + "\n# Each line is a proposal: what it is (confidence: why), then the rule. Look at all of them, first at those marked\n" +
			"# \"please check\". mayfly sanitize transformers lists what else there is.\nversion: " + rulesVersion + "\n")
	}
	places, err := readPlaces(name, existing)
	if err != nil {
		return nil, nil, err
	}
	var order []string
	byTable := map[string][]*choice{}
	for _, c := range chosen.columns {
		table := c.ruleTable()
		if byTable[table] == nil {
			order = append(order, table)
		}
		byTable[table] = append(byTable[table], c)
	}
	fresh := edit{line: places.tablesEnd}
	for _, table := range order {
		if at, known := places.columns[table]; known {
			one := edit{line: at.end, at: at.brace}
			if at.header {
				one.add(nil, strings.Repeat(" ", at.indent-2)+"columns:")
			}
			for _, c := range byTable[table] {
				if at.brace > 0 {
					one.add(c, yamlKey(c.column.Name)+": "+c.proposal().oneLine())
				} else {
					one.column(c, strings.Repeat(" ", at.indent), examples)
				}
			}
			edits = append(edits, one)
			continue
		}
		indent := strings.Repeat(" ", places.indent)
		fresh.add(nil, indent+yamlKey(table)+":")
		fresh.add(nil, indent+"  columns:")
		for _, c := range byTable[table] {
			fresh.column(c, indent+"    ", examples)
		}
	}
	if len(fresh.lines) > 0 {
		if !places.hasTables {
			fresh.lines = slices.Insert(fresh.lines, 0, editLine{text: ""}, editLine{text: "tables:"})
		}
		edits = append(edits, fresh)
	}
	text, lines = apply(existing, edits)
	return text, lines, nil
}

func printableLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// edit inserts lines behind a line of a file.
type edit struct {
	line  int // from 1; 0 is the start
	lines []editLine
	// at, if it is not 0, is the column, from 1, of the brace in that line before which the lines are inserted as entries.
	at int
}

type editLine struct {
	text   string
	column *choice // that begins there
}

func (e *edit) add(c *choice, text string) { e.lines = append(e.lines, editLine{text, c}) }

// column adds a column's comment and rule.
func (e *edit) column(c *choice, indent string, examples map[string]string) {
	p := c.proposal()
	comment := fmt.Sprintf("%.2f: %s", p.confidence, printableLine(p.why))
	if example := examples[c.path()]; example != "" {
		comment += "; for example " + printableLine(example)
	}
	e.add(c, indent+"# "+comment)
	check := ""
	if p.confidence < sure {
		check = " # please check"
	}
	if len(p.paths) == 0 {
		e.add(nil, indent+yamlKey(c.column.Name)+": "+p.spec+check)
		return
	}
	e.add(nil, indent+yamlKey(c.column.Name)+":"+check)
	for line := range strings.SplitSeq(strings.Trim(p.spec, "{}"), ", ") {
		e.add(nil, indent+"  "+line)
	}
	e.add(nil, indent+"  paths:")
	for _, path := range p.paths {
		e.add(nil, fmt.Sprintf("%s    # %.2f: %s", indent, path.confidence, printableLine(path.why)))
		e.add(nil, indent+"    "+yamlKey(path.path)+": "+path.yaml())
	}
}

// apply inserts all edits.
func apply(text []byte, edits []edit) (out []byte, lines map[*choice]int) {
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Or(a.line-b.line, b.at-a.at) }) // the last brace of a line first
	lines = map[*choice]int{}
	var file bytes.Buffer
	number := 0
	put := func(line []byte) {
		file.Write(line)
		file.WriteByte('\n')
		number++
	}
	old := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	next := 0
	for at := 0; at <= len(old); at++ {
		for ; next < len(edits) && edits[next].line == at && edits[next].at > 0; next++ {
			for _, l := range edits[next].lines {
				lines[l.column] = number + 1
			}
			old[at-1] = edits[next].inline(old[at-1])
		}
		if at > 0 {
			put(old[at-1])
		}
		for ; next < len(edits) && (edits[next].line == at || at == len(old)); next++ {
			for _, l := range edits[next].lines {
				put([]byte(l.text))
				if l.column != nil {
					lines[l.column] = number
				}
			}
		}
	}
	return file.Bytes(), lines
}

// inline puts the entries before the brace.
func (e *edit) inline(line []byte) []byte {
	runes := []rune(string(line))
	texts := make([]string, len(e.lines))
	for i, l := range e.lines {
		texts[i] = l.text
	}
	text := strings.Join(texts, ", ")
	at := min(e.at-1, len(runes))
	return []byte(strings.TrimRight(string(runes[:at]), " ") + ", " + text + string(runes[at:]))
}

// places are where lines can be added to a file.
type places struct {
	hasTables bool
	tablesEnd int // the last line of the section "tables", or of the file
	indent    int // of the tables
	columns   map[string]columnsPlace
}

// columnsPlace is where the columns of a table end.
type columnsPlace struct {
	end    int  // their last line
	indent int  // of their entries
	header bool // there is no "columns" yet
	brace  int  // if they are in braces, the column of the closing one
}

// readPlaces finds out where tables and columns stand.
func readPlaces(name string, text []byte) (*places, error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) == 0 {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s cannot be read as YAML", name)
	}
	last := bytes.Count(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) + 1
	p := &places{tablesEnd: last, indent: 2, columns: map[string]columnsPlace{}}
	lines := strings.Split(string(text), "\n")
	for _, v := range pairs(file.Docs[0].Body) {
		if keyOf(v) != "tables" {
			continue
		}
		p.hasTables = true
		if flow(v.Value) {
			return nil, flowError(name, v)
		}
		tables := pairs(v.Value)
		for i, table := range tables {
			if i == 0 {
				p.indent = table.Key.GetToken().Position.Column - 1
			}
			p.tablesEnd = blockEnd(lines, table.Key.GetToken().Position.Line, p.indent)
			if err := p.readTable(name, lines, table); err != nil {
				return nil, err
			}
		}
		if len(tables) == 0 {
			return nil, flowError(name, v)
		}
	}
	return p, nil
}

func (p *places) readTable(name string, lines []string, table *ast.MappingValueNode) error {
	if braces, ok := table.Value.(*ast.MappingNode); ok && braces.IsFlowStyle {
		for _, part := range braces.Values {
			if keyOf(part) == "columns" {
				return p.readFlow(name, table, part)
			}
		}
		return nil
	}
	for i, part := range pairs(table.Value) {
		at := part.Key.GetToken().Position
		if i == 0 {
			p.columns[keyOf(table)] = columnsPlace{end: blockEnd(lines, table.Key.GetToken().Position.Line, p.indent), indent: at.Column + 1, header: true}
		}
		if keyOf(part) != "columns" {
			continue
		}
		if flow(part.Value) {
			return p.readFlow(name, table, part)
		}
		for _, c := range pairs(part.Value) {
			at := c.Key.GetToken().Position
			p.columns[keyOf(table)] = columnsPlace{end: blockEnd(lines, at.Line, at.Column-1), indent: at.Column - 1}
		}
	}
	return nil
}

func (p *places) readFlow(name string, table, part *ast.MappingValueNode) error {
	braces, ok := part.Value.(*ast.MappingNode)
	if !ok || braces.End == nil || braces.End.Position == nil {
		return flowError(name, part)
	}
	p.columns[keyOf(table)] = columnsPlace{end: braces.End.Position.Line, brace: braces.End.Position.Column}
	return nil
}

// blockEnd returns the last line of the entry that begins on a line with an indent.
func blockEnd(lines []string, line, indent int) int {
	end := line
	for i := line; i < len(lines); i++ {
		text := strings.TrimLeft(lines[i], " ")
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if len(lines[i])-len(text) <= indent {
			break
		}
		end = i + 1
	}
	return end
}

func pairs(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	default:
		return nil
	}
}

func keyOf(v *ast.MappingValueNode) string {
	if s, ok := v.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return v.Key.GetToken().Value
}

func flow(n ast.Node) bool {
	m, ok := n.(*ast.MappingNode)
	return ok && m.IsFlowStyle
}

func flowError(name string, v *ast.MappingValueNode) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "%s:%d: lines cannot be added to a mapping in braces", name, v.Key.GetToken().Position.Line).
		WithHint("write the mapping with one entry on each line")
}
