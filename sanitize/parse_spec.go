package sanitize

import (
	"github.com/goccy/go-yaml/ast"
)

// spec reads a use of a transformer: its name alone, or a mapping with mask, domain and parameters.
func (p *ruleParser) spec(n ast.Node) (*spec, error) {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		entries, err := p.mapping(n, "a transformer")
		if err != nil {
			return nil, err
		}
		at := positionOf(n)
		if len(entries) > 0 {
			at = entries[0].at
		}
		return p.specFields(entries, at, nil)
	default:
		name, err := p.scalar(n, "the transformer")
		if err != nil {
			return nil, err
		}
		return p.use(name, positionOf(n), nil, nil)
	}
}

// specFields reads the entries of a transformer's mapping. others are keys that were read before, for suggestions.
func (p *ruleParser) specFields(entries []entry, at position, others []string) (*spec, error) {
	for i, e := range entries {
		if e.key != "mask" {
			continue
		}
		name, err := p.scalar(e.value, "mask")
		if err != nil {
			return nil, err
		}
		rest := append(append([]entry{}, entries[:i]...), entries[i+1:]...)
		return p.use(name, positionOf(e.value), rest, append(others, "mask"))
	}
	for _, e := range entries {
		if e.key == "domain" && len(entries) == 1 {
			return p.useDomain(e, at)
		}
	}
	known := append(append([]string{}, others...), "mask", "domain")
	for _, e := range entries {
		if e.key != "domain" && suggest(e.key, known) != "" {
			return nil, unknown(e.at, "key", e.key, known)
		}
	}
	for _, e := range entries {
		if e.key != "domain" {
			continue
		}
		name, _ := p.scalar(e.value, "domain")
		if d := p.rules.declared(name); d != nil {
			return nil, &ruleError{at: at, message: "the parameters of domain " + name + " stand where it is declared, " + p.rules.where(d.at), hint: "write {domain: " + yamlKey(name) + "} alone"}
		}
	}
	return nil, &ruleError{at: at, message: "mask is missing", hint: "write for example {mask: email, domain: customer_email}"}
}

// use reads the domain and the parameters of a transformer.
func (p *ruleParser) use(name string, at position, entries []entry, others []string) (*spec, error) {
	k := findKind(name)
	if k == nil {
		return nil, unknown(at, "transformer", name, kindNames())
	}
	s := &spec{mask: name, at: at, args: arguments{params: k.params, values: map[string]string{}}}
	for _, e := range entries {
		if e.key == "domain" {
			if err := p.domain(s, k, e); err != nil {
				return nil, err
			}
			continue
		}
		if err := p.argument(s, k, e, others); err != nil {
			return nil, err
		}
	}
	for _, param := range k.params {
		if param.required && !s.args.has(param.name) {
			return nil, errorAt(at, "%s needs %s: %s", name, param.name, param.describe())
		}
	}
	if err := p.checkDeclared(s); err != nil {
		return nil, err
	}
	return s, nil
}

// maxDomainLength bounds the name of a domain.
const maxDomainLength = 100

func (p *ruleParser) domain(s *spec, k *kind, e entry) error {
	if !k.takesDomain() {
		return errorAt(e.at, "%s takes no domain", k.name)
	}
	text, err := p.scalar(e.value, "domain")
	if err != nil {
		return err
	}
	if text == "" || len(text) > maxDomainLength {
		return errorAt(positionOf(e.value), "domain must have 1 to %d bytes", maxDomainLength)
	}
	s.domain = text
	return nil
}

func (p *ruleParser) argument(s *spec, k *kind, e entry, others []string) error {
	known := append([]string{}, others...)
	if k.takesDomain() {
		known = append(known, "domain")
	}
	for i := range k.params {
		declared := &k.params[i]
		known = append(known, declared.name)
		if declared.name != e.key {
			continue
		}
		if declared.kind == paramPaths {
			return p.paths(s, e)
		}
		if declared.kind == paramSpecs {
			return p.specs(s, e)
		}
		text, err := p.scalar(e.value, e.key)
		if err != nil {
			return err
		}
		if _, isNull := e.value.(*ast.NullNode); isNull {
			return &ruleError{at: positionOf(e.value), message: e.key + " is null", hint: `write "null" in quotes for the text, or use the transformer null`}
		}
		if wrong := declared.check(text); wrong != "" {
			return errorAt(positionOf(e.value), "%s of %s %s", e.key, k.name, wrong)
		}
		s.args.values[e.key] = text
		return nil
	}
	return unknown(e.at, "parameter of "+k.name, e.key, known)
}

func (p *ruleParser) paths(s *spec, e entry) error {
	entries, err := p.mapping(e.value, "paths")
	if err != nil {
		return err
	}
	for _, path := range entries {
		segs, err := parseJSONPath(path.key)
		if err != nil {
			return errorAt(path.at, "path %q %s", path.key, err)
		}
		inner, err := p.spec(path.value)
		if err != nil {
			return err
		}
		if inner.mask == "json" {
			return errorAt(path.at, "path %q: json inside json; write longer paths instead", path.key)
		}
		s.args.paths = append(s.args.paths, jsonRule{path: path.key, segs: segs, spec: inner})
	}
	return nil
}

// specs reads a mapping of fields or keys to transformers.
func (p *ruleParser) specs(s *spec, e entry) error {
	entries, err := p.mapping(e.value, e.key)
	if err != nil {
		return err
	}
	for _, one := range entries {
		inner, err := p.spec(one.value)
		if err != nil {
			return err
		}
		s.args.specs = append(s.args.specs, namedSpec{name: one.key, at: one.at, spec: inner})
	}
	return nil
}
