package templates

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// Difference is an object that the template has and the source has not, or the other way round, or that is not the same
// in both; and why that is right.
type Difference struct {
	Object  string `json:"object"`  // kind and name
	What    string `json:"what"`    // "missing", "added" or "changed"
	Because string `json:"because"` // the code of the finding that explains it, or "hook"
}

// What a difference is.
const (
	differenceMissing = "missing"
	differenceAdded   = "added"
	differenceChanged = "changed"
)

// KindCount is how many objects of one kind there are.
type KindCount struct {
	Kind     string `json:"kind"`
	Source   int    `json:"source"`
	Template int    `json:"template"`
}

// becauseHook explains what a project's own SQL changed.
const becauseHook = "hook"

// comparison compares what the source has with what the template has.
type comparison struct {
	source, template *inventory
	explained        map[string]string // name of an object, code of the finding that explains why it is missing or not the same
	hooks            bool              // the project's own SQL ran
}

func newComparison(source, template *inventory, findings []Finding, hooks bool) *comparison {
	c := &comparison{source: source.normalised(), template: template.normalised(), explained: map[string]string{}, hooks: hooks}
	for _, f := range findings {
		if explains(f.Code) {
			c.explained[objectName(f.Object)] = f.Code
		}
	}
	return c
}

// normalised returns the inventory with names as objectName has them.
func (inv *inventory) normalised() *inventory {
	out := &inventory{items: make(map[itemKey]item, len(inv.items)), partial: inv.partial}
	for key, one := range inv.items {
		one.parent = tableMember(one.parent)
		out.items[itemKey{key.kind, tableMember(key.name)}] = one
	}
	return out
}

// explains reports whether a finding with that code says why an object is not there, or not the same.
func explains(code string) bool {
	switch code {
	case codeForeignTable, codeSuperuserObject, codeForeignKeyViolated, codeDuplicateKeys, codeIndexRowTooLarge, codeIndexInvalid,
		codeConstraintUnverified, codeMatviewFailed, codeDependent, codeExtensionMissing, codeCollationMissing,
		codeSubscription, codeScheduledJobs:
		return true
	}
	return strings.HasSuffix(code, "_left_out")
}

// objectName returns the name of what a finding is about, without its kind, as normalised inventories have it.
func objectName(object string) string {
	for _, kind := range []string{
		"materialized view ", "foreign table ", "unlogged table ", "fk constraint ", "check constraint ", "foreign key ", "unique index ",
		"event trigger ", "table ", "view ", "sequence ", "index ", "constraint ", "trigger ", "policy ", "rule ", "function ", "procedure ",
		"aggregate ", "type ", "domain ", "schema ", "extension ",
	} {
		if name, found := strings.CutPrefix(object, kind); found {
			return tableMember(strings.Replace(name, "(*)", "()", 1))
		}
	}
	return tableMember(object)
}

// differences returns those that are explained, and the objects of those that are not.
func (c *comparison) differences() (explained []Difference, unexplained []string) {
	note := func(key itemKey, one item, what string) {
		d := Difference{Object: key.String(), What: what}
		switch d.Because = c.because(key, one); {
		case d.Because != "":
			explained = append(explained, d)
		case c.hooks:
			d.Because = becauseHook
			explained = append(explained, d)
		default:
			unexplained = append(unexplained, d.Object+" ("+what+")")
		}
	}
	for _, key := range sortedKeys(c.source.items) {
		there, found := c.template.items[key]
		here := c.source.items[key]
		switch {
		case !found:
			note(key, here, differenceMissing)
		case !c.source.partial && (here.detail != there.detail || here.valid != there.valid), c.source.partial && !there.valid:
			note(key, here, differenceChanged)
		}
	}
	for _, key := range sortedKeys(c.template.items) {
		if _, found := c.source.items[key]; !found && (!c.source.partial || listed(key.kind)) {
			note(key, c.template.items[key], differenceAdded)
		}
	}
	return explained, unexplained
}

// because returns the code of the finding that explains a difference, "" if there is none.
func (c *comparison) because(key itemKey, one item) string {
	if key.kind == kindGrants {
		return codeGrantsLeftOut
	}
	if code := c.explained[key.name]; code != "" {
		return code
	}
	if one.parent != "" {
		if code := c.explained[one.parent]; code != "" {
			return code
		}
		// The index of a primary key or a unique constraint has the constraint's name.
		if schema, _, _ := strings.Cut(one.parent, "."); key.kind == kindIndex {
			return c.explained[one.parent+strings.TrimPrefix(key.name, schema)]
		}
	}
	return ""
}

// listed reports whether a table of contents has a line for each object of a kind.
func listed(kind string) bool {
	return kind != kindIndex && kind != kindConstraint && kind != kindGrants && kind != "rule"
}

// counts returns how many objects of each kind both have.
func (c *comparison) counts() []KindCount {
	byKind := map[string]*KindCount{}
	count := func(inv *inventory, add func(*KindCount)) {
		for key := range inv.items {
			if key.kind == kindGrants {
				continue
			}
			if byKind[key.kind] == nil {
				byKind[key.kind] = &KindCount{Kind: key.kind}
			}
			add(byKind[key.kind])
		}
	}
	count(c.source, func(k *KindCount) { k.Source++ })
	count(c.template, func(k *KindCount) { k.Template++ })
	all := make([]KindCount, 0, len(byKind))
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		all = append(all, *byKind[kind])
	}
	return all
}

func sortedKeys(items map[itemKey]item) []itemKey {
	return slices.SortedFunc(maps.Keys(items), func(a, b itemKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
}

// namedDifferences is how many objects an error names.
const namedDifferences = 10

// unexplainedError ends a build whose template is not what the source is.
func unexplainedError(objects []string) error {
	named := strings.Join(objects[:min(namedDifferences, len(objects))], ", ")
	if len(objects) > namedDifferences {
		named += ", …"
	}
	return mayfly.Errorf(mayfly.CodeVerificationFailed, "%d objects differ between the source and the template, and nothing explains it: %s", len(objects), named).
		WithHint("build again; if it happens again, this is a defect of Mayfly: please report it with the definitions of these objects")
}
