package schemadiff

import (
	"cmp"
	"slices"
)

// Action is what happened to an object.
type Action string

// The actions.
const (
	Added   Action = "added"
	Removed Action = "removed"
	Changed Action = "changed"
	// Renamed may come with changed properties, too.
	Renamed Action = "renamed"
)

// Difference is one property that is not as it was. "" is what a property that is not there has.
type Difference struct {
	Property string `json:"property"`
	Before   string `json:"before"`
	After    string `json:"after"`
}

// Change is what happened to one object.
type Change struct {
	Action Action `json:"action"`
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`
	Parent string `json:"parent,omitempty"`
	// Before is the name before a rename, with the parent's if that changed.
	Before string `json:"before,omitempty"`
	// Properties are those of an object that was added or removed.
	Properties []Property `json:"properties,omitempty"`
	// Differences are those of an object that was changed or renamed.
	Differences []Difference `json:"differences,omitempty"`
}

// Diff is what changed between two snapshots, in a stable order. Of a table that was added or removed its columns and all else in
// it are listed, too.
type Diff struct {
	Changes []Change `json:"changes"`
}

// Empty reports whether nothing changed.
func (d Diff) Empty() bool { return len(d.Changes) == 0 }

// Count returns how many objects were added, removed and changed. A rename is a change.
func (d Diff) Count() (added, removed, changed int) {
	for _, c := range d.Changes {
		switch c.Action {
		case Added:
			added++
		case Removed:
			removed++
		case Changed, Renamed:
			changed++
		}
	}
	return added, removed, changed
}

// comparison is one Compare.
type comparison struct {
	before, after     map[key]Object
	beforeID, afterID map[identity]Object
	// tables are the new names of tables that were renamed, by the old ones.
	tables map[string]string
	diff   Diff
}

// identity is what a rename does not change.
type identity struct {
	kind Kind
	id   string
}

// Compare returns what changed from before to after. Objects are matched by name, and by their identity in the catalog where no
// object of the name was there: so dropping and creating a view again changes nothing, and a rename is one.
func Compare(before, after *Snapshot) Diff {
	before, after = withoutSame(before, after)
	c := comparison{
		before: byKey(before), after: byKey(after), beforeID: byIdentity(before), afterID: byIdentity(after), tables: map[string]string{},
	}
	for _, o := range before.Objects {
		if now, ok := c.afterID[identity{o.Kind, o.id}]; ok && o.Kind == KindTable && now.Name != o.Name {
			c.tables[o.Name] = now.Name
		}
	}
	for _, o := range before.Objects {
		c.was(o)
	}
	for _, o := range after.Objects {
		c.is(o)
	}
	order := map[Kind]int{}
	for i, k := range Kinds() {
		order[k] = i
	}
	slices.SortStableFunc(c.diff.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.table(), b.table()), cmp.Compare(order[a.Kind], order[b.Kind]), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Action, b.Action))
	})
	return c.diff
}

// withoutSame leaves out what is the same in both, which is nearly all of a large schema.
func withoutSame(before, after *Snapshot) (restBefore, restAfter *Snapshot) {
	restBefore, restAfter = &Snapshot{}, &Snapshot{}
	same := make([]bool, len(after.Objects))
	var places map[identity]int // in after; the catalog mostly gives the rows of both in the same order, so that it is not needed
	next := 0
	for _, was := range before.Objects {
		place := next
		if next >= len(after.Objects) || after.Objects[next].id != was.id || after.Objects[next].Kind != was.Kind {
			if places == nil {
				places = make(map[identity]int, len(after.Objects))
				for i, o := range after.Objects {
					places[identity{o.Kind, o.id}] = i
				}
			}
			found, ok := places[identity{was.Kind, was.id}]
			if !ok {
				restBefore.Objects = append(restBefore.Objects, was)
				continue
			}
			place = found
		}
		next = place + 1
		now := after.Objects[place]
		if same[place] = now.Name == was.Name && now.Parent == was.Parent && slices.Equal(now.Properties, was.Properties); !same[place] {
			restBefore.Objects = append(restBefore.Objects, was)
		}
	}
	for i, o := range after.Objects {
		if !same[i] {
			restAfter.Objects = append(restAfter.Objects, o)
		}
	}
	return restBefore, restAfter
}

// table is what changes are grouped by: everything of a table stands with it.
func (c Change) table() string { return cmp.Or(c.Parent, c.Name) }

func byKey(s *Snapshot) map[key]Object {
	objects := make(map[key]Object, len(s.Objects))
	for _, o := range s.Objects {
		objects[o.key()] = o
	}
	return objects
}

func byIdentity(s *Snapshot) map[identity]Object {
	objects := make(map[identity]Object, len(s.Objects))
	for _, o := range s.Objects {
		objects[identity{o.Kind, o.id}] = o
	}
	return objects
}

// was looks at an object that was there before.
func (c *comparison) was(o Object) {
	if now, ok := c.successor(o); ok {
		c.compare(o, now)
		return
	}
	c.diff.Changes = append(c.diff.Changes, Change{Action: Removed, Kind: o.Kind, Name: o.Name, Parent: o.Parent, Properties: o.Properties})
}

// is looks at an object that is there now.
func (c *comparison) is(o Object) {
	if old, ok := c.beforeID[identity{o.Kind, o.id}]; ok {
		if now, ok := c.successor(old); ok && now.key() == o.key() {
			return
		}
	}
	if old, ok := c.before[o.key()]; ok {
		if now, ok := c.successor(old); ok && now.key() == o.key() {
			return
		}
	}
	for was, now := range c.tables { // of a renamed table, and made anew under its old name
		if old, ok := c.before[key{o.Kind, was, o.Name}]; ok && now == o.Parent {
			if next, ok := c.successor(old); ok && next.key() == o.key() {
				return
			}
		}
	}
	c.diff.Changes = append(c.diff.Changes, Change{Action: Added, Kind: o.Kind, Name: o.Name, Parent: o.Parent, Properties: o.Properties})
}

// successor finds what an object became: the same object of the catalog, or else another one of its name that did not exist before.
func (c *comparison) successor(o Object) (Object, bool) {
	if now, ok := c.afterID[identity{o.Kind, o.id}]; ok {
		return now, true
	}
	parent := o.Parent
	if renamed, ok := c.tables[parent]; ok {
		parent = renamed
	}
	now, ok := c.after[key{o.Kind, parent, o.Name}]
	if !ok {
		return Object{}, false
	}
	if _, existed := c.beforeID[identity{o.Kind, now.id}]; existed {
		return Object{}, false // it has a predecessor of its own
	}
	return now, true
}

func (c *comparison) compare(was, now Object) {
	change := Change{Action: Changed, Kind: now.Kind, Name: now.Name, Parent: now.Parent, Differences: differences(was, now)}
	moved := was.Name != now.Name || was.Parent != now.Parent && c.tables[was.Parent] != now.Parent
	if moved {
		change.Action, change.Before = Renamed, was.Title()
		if was.Parent == now.Parent || c.tables[was.Parent] == now.Parent {
			change.Before = was.Name
		}
	}
	if moved || len(change.Differences) > 0 {
		c.diff.Changes = append(c.diff.Changes, change)
	}
}

func differences(was, now Object) []Difference {
	if slices.Equal(was.Properties, now.Properties) {
		return nil
	}
	var out []Difference
	for _, p := range was.Properties {
		if after := now.property(p.Name); after != p.Value {
			out = append(out, Difference{p.Name, p.Value, after})
		}
	}
	for _, p := range now.Properties {
		if was.property(p.Name) == "" {
			out = append(out, Difference{p.Name, "", p.Value})
		}
	}
	return out
}
