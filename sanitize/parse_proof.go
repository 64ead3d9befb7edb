package sanitize

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// ProofRules are what the rules file says about the proof that no original survives. Package proof carries it out.
type ProofRules struct {
	Allow            []Allowance
	QuasiIdentifiers []QuasiIdentifiers
}

// Allowance is a place where values of masked columns may be, by decision of a person.
type Allowance struct {
	Place  string `json:"place"` // "public.stores.city", or another place as a report names it
	Reason string `json:"reason"`
	Rule   string `json:"rule"` // where it was written: "sanitize.yaml:12:9"
}

// QuasiIdentifiers are columns that together may tell who somebody is.
type QuasiIdentifiers struct {
	Table   string   `json:"table"` // "schema.table"
	Columns []string `json:"columns"`
	// MinGroup is the least number of rows that any combination of values may have.
	MinGroup int `json:"min_group"`
	// Block says that a smaller group stops the template; else it is a warning.
	Block bool   `json:"block"`
	Rule  string `json:"rule"`
}

// defaultMinGroup is the usual threshold of k-anonymity for data that is not published.
const defaultMinGroup = 5

// Proof returns what the rules say about the proof.
func (r *Rules) Proof() ProofRules { return r.proof }

// Name returns the name of the file, as it was given to Parse.
func (r *Rules) Name() string { return r.name }

// SHA256 returns the hash of the file, in hex.
func (r *Rules) SHA256() string { return hex.EncodeToString(r.sum[:]) }

func sumOf(data []byte) [sha256.Size]byte { return sha256.Sum256(data) }

// sequence returns the items of a list.
func (p *ruleParser) sequence(n ast.Node, what string) ([]ast.Node, error) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return nil, errorAt(positionOf(n), "%s must be a list", what)
	}
	return list.Values, nil
}

func (p *ruleParser) parseProof(n ast.Node) error {
	entries, err := p.mapping(n, "proof")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.key != "allow" {
			return unknown(e.at, "key", e.key, []string{"allow"})
		}
		items, err := p.sequence(e.value, "allow")
		if err != nil {
			return err
		}
		for _, item := range items {
			a := Allowance{Rule: p.rules.where(positionOf(item))}
			if err := p.texts(item, "an entry of allow", map[string]*string{"place": &a.Place, "reason": &a.Reason}); err != nil {
				return err
			}
			p.rules.proof.Allow = append(p.rules.proof.Allow, a)
		}
	}
	return nil
}

// texts reads a mapping whose keys are all required and have texts for values.
func (p *ruleParser) texts(n ast.Node, what string, into map[string]*string) error {
	entries, err := p.mapping(n, what)
	if err != nil {
		return err
	}
	for _, e := range entries {
		target := into[e.key]
		if target == nil {
			return unknown(e.at, "key", e.key, sortedKeys(into))
		}
		if *target, err = p.scalar(e.value, e.key); err != nil {
			return err
		}
		if strings.TrimSpace(*target) == "" {
			return errorAt(positionOf(e.value), "%s is empty", e.key)
		}
	}
	for _, key := range sortedKeys(into) {
		if *into[key] == "" {
			return errorAt(positionOf(n), "%s has no %s", what, key)
		}
	}
	return nil
}

func sortedKeys(m map[string]*string) []string { return slices.Sorted(maps.Keys(m)) }

func (p *ruleParser) quasiIdentifiers(n ast.Node) error {
	items, err := p.sequence(n, "quasi_identifiers")
	if err != nil {
		return err
	}
	for _, item := range items {
		q := QuasiIdentifiers{MinGroup: defaultMinGroup, Block: true, Rule: p.rules.where(positionOf(item))}
		fields, err := p.mapping(item, "an entry of quasi_identifiers")
		if err != nil {
			return err
		}
		for _, f := range fields {
			if err := p.quasiField(&q, f); err != nil {
				return err
			}
		}
		switch {
		case q.Table == "":
			return errorAt(positionOf(item), "an entry of quasi_identifiers has no table")
		case len(q.Columns) == 0:
			return errorAt(positionOf(item), "an entry of quasi_identifiers has no columns")
		}
		p.rules.proof.QuasiIdentifiers = append(p.rules.proof.QuasiIdentifiers, q)
	}
	return nil
}

func (p *ruleParser) quasiField(q *QuasiIdentifiers, f entry) error {
	if f.key == "columns" {
		items, err := p.sequence(f.value, "columns")
		if err != nil {
			return err
		}
		for _, item := range items {
			name, err := p.scalar(item, "a column")
			if err != nil {
				return err
			}
			q.Columns = append(q.Columns, name)
		}
		return nil
	}
	text, err := p.scalar(f.value, f.key)
	if err != nil {
		return err
	}
	switch f.key {
	case "table":
		if !strings.Contains(text, ".") {
			return &ruleError{at: positionOf(f.value), message: fmt.Sprintf("table %q has no schema", text), hint: "write public." + text}
		}
		q.Table = text
	case "min_group":
		if q.MinGroup, err = strconv.Atoi(text); err != nil || q.MinGroup < 2 {
			return errorAt(positionOf(f.value), "min_group must be a number of 2 or more")
		}
	case "action":
		if text != "block" && text != "warn" {
			return errorAt(positionOf(f.value), "action must be block or warn")
		}
		q.Block = text == "block"
	default:
		return unknown(f.at, "key", f.key, []string{"table", "columns", "min_group", "action"})
	}
	return nil
}
