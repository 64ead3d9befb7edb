package sanitize

import (
	"fmt"
	"strings"
)

// jsonRule is one entry of the json transformer's paths.
type jsonRule struct {
	path string
	segs []jsonSegment
	spec *spec
}

// jsonSegment is one step of a path.
type jsonSegment struct {
	kind jsonSegmentKind
	name string // segmentName
}

type jsonSegmentKind int

const (
	segmentName  jsonSegmentKind = iota // .name
	segmentAny                          // .* or [*]
	segmentDepth                        // ..: any number of steps, also none
)

// parseJSONPath reads the subset of JSONPath (RFC 9535) that rules need: $, .name, ["name"], .*, [*] and ..name.
func parseJSONPath(path string) ([]jsonSegment, error) {
	rest, ok := strings.CutPrefix(path, "$")
	if !ok {
		return nil, fmt.Errorf("must start with $")
	}
	segs := []jsonSegment{}
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, ".."):
			segs = append(segs, jsonSegment{kind: segmentDepth})
			rest = rest[1:]
			if strings.HasPrefix(rest, ".[") {
				rest = rest[1:]
			}
			if rest == "." || rest == "" {
				return nil, fmt.Errorf("must not end with \"..\"")
			}
		case strings.HasPrefix(rest, "[*]"):
			segs = append(segs, jsonSegment{kind: segmentAny})
			rest = rest[len("[*]"):]
		case strings.HasPrefix(rest, `["`):
			end := strings.Index(rest, `"]`)
			if end < len(`["`) {
				return nil, fmt.Errorf(`has [" without "]`)
			}
			segs = append(segs, jsonSegment{name: rest[2:end]})
			rest = rest[end+2:]
		case rest[0] == '.':
			name := rest[1:]
			if end := strings.IndexAny(name, ".["); end >= 0 {
				name = name[:end]
			}
			rest = rest[1+len(name):]
			switch name {
			case "":
				return nil, fmt.Errorf("has an empty name")
			case "*":
				segs = append(segs, jsonSegment{kind: segmentAny})
			default:
				segs = append(segs, jsonSegment{name: name})
			}
		default:
			return nil, fmt.Errorf(`has an unexpected %q; use .name, ["name"], .*, [*] or ..name`, rest[:1])
		}
	}
	if len(segs) > maxJSONSegments {
		return nil, fmt.Errorf("has more than %d steps", maxJSONSegments)
	}
	return segs, nil
}

// maxJSONSegments lets a set of positions in a path be one machine word.
const maxJSONSegments = 62

// closure adds the positions behind each ".." that is reached.
func (m *jsonMask) closure(r *jsonRule, set uint64) uint64 {
	for i := range r.segs {
		if r.segs[i].kind == segmentDepth && set>>i&1 == 1 {
			set |= 1 << (i + 1)
		}
	}
	return set
}

// enter computes the positions for a child of the value whose positions start at base, and appends them. It returns
// where they start and the rule that applies: one that ends here, or else the parent's. name is nil for elements.
func (m *jsonMask) enter(base, rule int, name []byte) (childBase, childRule int) {
	childBase, childRule = len(m.positions), rule
	found := false
	for i := range m.rules {
		r := &m.rules[i]
		set, next := m.positions[base+i], uint64(0)
		for j := range r.segs {
			if set>>j&1 == 0 {
				continue
			}
			switch seg := &r.segs[j]; {
			case seg.kind == segmentDepth:
				next |= 1 << j
			case seg.kind == segmentAny, name != nil && string(name) == seg.name:
				next |= 1 << (j + 1)
			}
		}
		next = m.closure(r, next)
		m.positions = append(m.positions, next)
		if !found && next>>len(r.segs)&1 == 1 {
			found, childRule = true, i
		}
	}
	return childBase, childRule
}
