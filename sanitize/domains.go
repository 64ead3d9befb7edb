package sanitize

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// A value domain is declared once, with its transformer, and then used by name: {domain: customer_email}. All columns,
// paths, fields and elements in it share one mapping, whose results fit the shortest of them, and which takes for equal what any of them does.

// domainRule is an entry of "domains".
type domainRule struct {
	name string
	at   position
	spec *spec
	used bool
}

// domainsFirst orders the sections of the file so that declarations are read before their uses.
func domainsFirst(entries []entry) []entry {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b entry) int {
		switch {
		case a.key == b.key:
			return 0
		case a.key == "domains":
			return -1
		case b.key == "domains":
			return 1
		default:
			return 0
		}
	})
	return sorted
}

// domains reads the section of that name.
func (p *ruleParser) domains(n ast.Node) error {
	entries, err := p.mapping(n, "domains")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if len(e.key) > maxDomainLength {
			return errorAt(e.at, "the name of a domain must have 1 to %d bytes", maxDomainLength)
		}
		s, err := p.spec(e.value)
		if err != nil {
			return err
		}
		k := findKind(s.mask)
		switch {
		case s.domain != "":
			return errorAt(s.at, "domain %s is declared by another domain; give its transformer", e.key)
		case !k.takesDomain():
			return &ruleError{at: s.at, message: fmt.Sprintf("domain %s: %s takes no domain", e.key, s.mask), hint: "a domain is a keyed mapping: use email, token, phone or another keyed transformer"}
		}
		s.domain = e.key
		p.rules.domains = append(p.rules.domains, domainRule{name: e.key, at: e.at, spec: s})
	}
	return nil
}

// takesDomain reports whether the transformer is itself a keyed mapping of one value.
func (k *kind) takesDomain() bool { return k.keyed && !k.master }

// declared returns the declaration of a domain, or nil.
func (r *Rules) declared(name string) *domainRule {
	for i := range r.domains {
		if r.domains[i].name == name {
			return &r.domains[i]
		}
	}
	return nil
}

func (r *Rules) domainNames() []string {
	names := make([]string, len(r.domains))
	for i := range r.domains {
		names[i] = r.domains[i].name
	}
	return names
}

// useDomain reads {domain: name}, which takes the transformer from the declaration.
func (p *ruleParser) useDomain(e entry, at position) (*spec, error) {
	name, err := p.scalar(e.value, "domain")
	if err != nil {
		return nil, err
	}
	d := p.rules.declared(name)
	if d == nil {
		unknown := unknown(positionOf(e.value), "domain", name, p.rules.domainNames())
		if unknown.hint == "" {
			unknown.hint = "declare it at the top of the file, domains: {" + yamlKey(name) + ": email}, or give mask, too"
		}
		return nil, unknown
	}
	d.used = true
	s := *d.spec
	s.at = at
	return &s, nil
}

// checkDeclared compares a use that gives its own transformer with the declaration, if there is one.
func (p *ruleParser) checkDeclared(s *spec) error {
	d := p.rules.declared(s.domain)
	if d == nil || s.domain == "" {
		return nil
	}
	d.used = true
	same := s.mask == d.spec.mask
	for name, value := range s.args.values {
		same = same && d.spec.args.values[name] == value
	}
	if !same {
		return &ruleError{
			at: s.at, message: fmt.Sprintf("domain %s is declared as %s with other parameters or as another transformer (%s)", s.domain, d.spec.mask, p.rules.where(d.at)),
			hint: "write {domain: " + yamlKey(s.domain) + "} alone",
		}
	}
	s.args = d.spec.args
	return nil
}

// unusedDomains refuses declarations that nothing uses.
func (p *ruleParser) unusedDomains() error {
	for i := range p.rules.domains {
		if d := &p.rules.domains[i]; !d.used {
			return &ruleError{at: d.at, message: fmt.Sprintf("nothing is in the domain %s", d.name), hint: "use it: {domain: " + yamlKey(d.name) + "}, or remove it"}
		}
	}
	return nil
}

// domainTraits is what the columns of a domain have to agree about, so that one value has one result in all of them.
type domainTraits struct {
	// limit is the length that results in a declared domain must fit: the least of all its columns, 0 for none.
	limit int
	// fold and trim say that one of the columns takes values for equal that differ in case, or in trailing spaces. Then
	// all of them do: what is equal to a third value in one column must not become two in another.
	fold, trim bool
}

// domainLimits are the traits of domains.
type domainLimits map[string]domainTraits

// share makes t agree with the other columns of the domain that s is in.
func (l domainLimits) share(s *spec, t *target) {
	shared := l[s.sharedDomain()]
	switch {
	case shared.limit == 0:
	case t.limit == 0:
		t.limit = shared.limit
	default:
		t.limit = min(t.limit, shared.limit)
	}
	t.fold = t.fold || shared.fold
	t.trim = t.trim || shared.trim
}

// sharedDomain names the domain whose columns share traits. Of those that the rules do not name it is the one of addresses
// alone: nothing but their case tells two of them apart by accident, while it may be what makes two tokens differ.
func (s *spec) sharedDomain() string {
	if s.mask == "email" {
		return s.domainOrDefault()
	}
	return s.domain
}

// collect notes the traits of a column, or of what is inside of it.
func (l domainLimits) collect(r *Rules, d *DataType, s *spec) {
	switch d.Kind {
	case TypeArray, TypeRange, TypeMultirange:
		if d.Element != nil {
			l.collect(r, d.Element, s)
		}
	case TypeComposite:
		for i := range s.args.specs {
			for j := range d.Fields {
				if d.Fields[j].Name == s.args.specs[i].name {
					l.collect(r, d.Fields[j].Type, s.args.specs[i].spec)
				}
			}
		}
	case TypeScalar:
		name := s.sharedDomain()
		if name == "" || !findKind(s.mask).takesDomain() {
			return
		}
		t := newTarget(&Table{}, &Column{Type: d.Name, MaxLength: d.MaxLength})
		shared := l[name]
		if t.limit > 0 && r.declared(s.domain) != nil && (shared.limit == 0 || t.limit < shared.limit) {
			shared.limit = t.limit
		}
		shared.fold = shared.fold || t.fold
		shared.trim = shared.trim || t.trim
		l[name] = shared
	}
}
