package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Page says in which order a list is read and which part of it. The zero value is the whole list in its usual order.
type Page struct {
	// Sort is one of the names that the list knows; "" is its usual one. Descending turns the order round.
	Sort       string
	Descending bool
	// After is the last row of the page before; nil for the first page.
	After *Position
	// Limit bounds the page; 0 means no bound.
	Limit int
}

// Position is where a row is in a sorted list: what the list is sorted by, as text, and the id for those that are equal in it. It stays
// valid when rows come and go, the row that it is of included.
type Position struct {
	Key string
	ID  string
}

// SortKey is something that a list can be sorted by.
type SortKey struct {
	// Expression is SQL without parameters, never null; Type its type, which Key is cast to.
	Expression, Type string
}

// clause returns the condition and the order that read a page, for the ids in the column id of type idType. The arguments of the
// condition are added to args.
func (p Page) clause(key SortKey, id, idType string, args *[]any) (condition, order string) {
	direction, comparison := "asc", ">"
	if p.Descending {
		direction, comparison = "desc", "<"
	}
	condition = "true"
	if p.After != nil {
		*args = append(*args, p.After.Key, p.After.ID)
		condition = fmt.Sprintf("(%s, %s) %s (($%d::text)::%s, ($%d::text)::%s)", key.Expression, id, comparison, len(*args)-1, key.Type, len(*args), idType)
	}
	order = fmt.Sprintf("order by %s %s, %s %s", key.Expression, direction, id, direction)
	if p.Limit > 0 {
		*args = append(*args, p.Limit)
		order += " limit $" + strconv.Itoa(len(*args))
	}
	return condition, order
}

// TimeKey is a time as a Position has it: all that Postgres knows of it. nil is fallback, "infinity" or "-infinity".
func TimeKey(t *time.Time, fallback string) string {
	if t == nil {
		return fallback
	}
	return t.UTC().Format("2006-01-02T15:04:05.999999Z")
}

// like makes text safe for the right side of LIKE with its usual escape character.
func like(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}
