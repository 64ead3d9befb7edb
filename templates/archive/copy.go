package archive

import (
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// CopyTarget is what a COPY statement of an archive loads.
type CopyTarget struct {
	Schema, Table string
	Columns       []string // nil for a table that has no column to load
}

// ParseCopy reads a COPY statement as pg_dump writes it: `COPY schema."Odd table" (a, "B") FROM stdin;`.
func ParseCopy(statement string) (CopyTarget, error) {
	p := copyParser{rest: statement}
	p.token("COPY ")
	var t CopyTarget
	t.Schema = p.name()
	p.token(".")
	t.Table = p.name()
	p.token(" ")
	if strings.HasPrefix(p.rest, "(") {
		p.token("(")
		for {
			t.Columns = append(t.Columns, p.name())
			if !strings.HasPrefix(p.rest, ", ") {
				break
			}
			p.token(", ")
		}
		p.token(") ")
	}
	p.rest = strings.TrimPrefix(p.rest, " ") // without columns pg_dump leaves two spaces
	p.token("FROM stdin;")
	if p.failed || strings.TrimSpace(p.rest) != "" {
		return CopyTarget{}, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive has a COPY statement that cannot be understood: %.200q", statement)
	}
	return t, nil
}

type copyParser struct {
	rest   string
	failed bool
}

func (p *copyParser) token(t string) {
	rest, found := strings.CutPrefix(p.rest, t)
	p.failed = p.failed || !found
	p.rest = rest
}

// name reads an identifier, quoted (with "" for a quote) or not.
func (p *copyParser) name() string {
	if !strings.HasPrefix(p.rest, `"`) {
		end := strings.IndexAny(p.rest, ` .,()";`)
		if end <= 0 {
			p.failed = true
			return ""
		}
		name := p.rest[:end]
		p.rest = p.rest[end:]
		return name
	}
	var name strings.Builder
	rest := p.rest[1:]
	for {
		before, after, found := strings.Cut(rest, `"`)
		if !found {
			p.failed = true
			return ""
		}
		name.WriteString(before)
		if rest = after; !strings.HasPrefix(rest, `"`) {
			break
		}
		name.WriteByte('"')
		rest = rest[1:]
	}
	p.rest = rest
	if name.Len() == 0 {
		p.failed = true
	}
	return name.String()
}
