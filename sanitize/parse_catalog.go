package sanitize

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// CatalogRules are what the rules file says about texts of the catalog that are not rows: comments, and literals in
// functions, views, defaults and the like.
type CatalogRules struct {
	Comments CatalogAction // CatalogMask, CatalogKeep or CatalogDrop
	Literals CatalogAction // CatalogMask, CatalogKeep or CatalogRefuse
	Allow    []CatalogAllowance
}

// CatalogAction is what happens to a text of the catalog in which something personal or secret is recognised.
type CatalogAction string

// The actions.
const (
	CatalogMask   CatalogAction = "mask"
	CatalogKeep   CatalogAction = "keep"
	CatalogDrop   CatalogAction = "drop"
	CatalogRefuse CatalogAction = "refuse"
)

// CatalogAllowance is an object that may stay as it is, by decision of a person.
type CatalogAllowance struct {
	Object string `json:"object"` // as reports name it: "function public.f()"
	Reason string `json:"reason"`
	Rule   string `json:"rule"` // where it was written: "sanitize.yaml:12:9"
}

// Catalog returns what the rules say about the catalog.
func (r *Rules) Catalog() CatalogRules {
	c := r.catalog
	if c.Comments == "" {
		c.Comments = CatalogMask
	}
	if c.Literals == "" {
		c.Literals = CatalogMask
	}
	c.Allow = slices.Clone(c.Allow)
	return c
}

func (p *ruleParser) parseCatalog(n ast.Node) error {
	entries, err := p.mapping(n, "catalog")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.key {
		case "comments":
			err = p.catalogAction(&p.rules.catalog.Comments, e, CatalogMask, CatalogKeep, CatalogDrop)
		case "literals":
			err = p.catalogAction(&p.rules.catalog.Literals, e, CatalogMask, CatalogKeep, CatalogRefuse)
		case "allow":
			err = p.catalogAllow(e.value)
		default:
			err = unknown(e.at, "key", e.key, []string{"comments", "literals", "allow"})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *ruleParser) catalogAction(into *CatalogAction, e entry, known ...CatalogAction) error {
	text, err := p.scalar(e.value, e.key)
	if err != nil {
		return err
	}
	names := make([]string, len(known))
	for i, action := range known {
		if names[i] = string(action); names[i] == text {
			*into = action
			return nil
		}
	}
	return unknown(positionOf(e.value), e.key, text, names)
}

func (p *ruleParser) catalogAllow(n ast.Node) error {
	items, err := p.sequence(n, "allow")
	if err != nil {
		return err
	}
	for _, item := range items {
		a := CatalogAllowance{Rule: p.rules.where(positionOf(item))}
		if err := p.texts(item, "an entry of allow", map[string]*string{"object": &a.Object, "reason": &a.Reason}); err != nil {
			return err
		}
		if slices.ContainsFunc(p.rules.catalog.Allow, func(have CatalogAllowance) bool { return have.Object == a.Object }) {
			return errorAt(positionOf(item), "%q is there twice", a.Object)
		}
		p.rules.catalog.Allow = append(p.rules.catalog.Allow, a)
	}
	return nil
}
