package sanitize

import (
	"fmt"
	"strconv"
	"strings"
)

// paramKind is the form of a parameter's value.
type paramKind int

const (
	paramChoice paramKind = iota // one of values
	paramInt                     // least to most
	paramText                    // any scalar, as it is written
	paramBool
	paramPaths // a mapping of JSON paths to transformers
	paramSpecs // a mapping of names to transformers
)

// param declares one parameter of a transformer.
type param struct {
	name, summary string
	kind          paramKind
	values        []string // paramChoice
	least, most   int      // paramInt
	fallback      string   // what absence means; "" when that depends on the column
	required      bool
}

func (p *param) describe() string {
	switch p.kind {
	case paramChoice:
		return strings.Join(p.values, "|")
	case paramInt:
		return fmt.Sprintf("%d to %d", p.least, p.most)
	case paramBool:
		return "true|false"
	case paramPaths:
		return "a mapping of JSON paths to transformers"
	case paramSpecs:
		return "a mapping of names to transformers"
	default:
		return "a text"
	}
}

// check returns what is wrong with a scalar value, or "".
func (p *param) check(value string) string {
	ok := true
	switch p.kind {
	case paramChoice:
		ok = contains(p.values, value)
	case paramInt:
		n, err := strconv.Atoi(value)
		ok = err == nil && p.least <= n && n <= p.most
	case paramBool:
		ok = value == "true" || value == "false"
	case paramPaths, paramSpecs:
		ok = false
	case paramText:
	}
	if ok {
		return ""
	}
	return "must be " + p.describe()
}

// arguments are the checked parameters of one use of a transformer.
type arguments struct {
	params []param
	values map[string]string
	paths  []jsonRule
	specs  []namedSpec // of the one parameter that is a paramSpecs
}

// has reports whether the parameter was given.
func (a *arguments) has(name string) bool {
	if _, ok := a.values[name]; ok {
		return true
	}
	for i := range a.params {
		if p := &a.params[i]; p.name == name {
			return p.kind == paramPaths && len(a.paths) > 0 || p.kind == paramSpecs && len(a.specs) > 0
		}
	}
	return false
}

// text returns the parameter's value, or its fallback.
func (a *arguments) text(name string) string {
	if v, ok := a.values[name]; ok {
		return v
	}
	for i := range a.params {
		if a.params[i].name == name {
			return a.params[i].fallback
		}
	}
	return ""
}

// number returns the value of a paramInt that was checked before.
func (a *arguments) number(name string) int {
	n, _ := strconv.Atoi(a.text(name))
	return n
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
