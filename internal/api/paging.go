package api

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

const (
	defaultPage = 100
	maximalPage = 1000
)

// cursor is what a page's "next" says, in base64: the last row of the page, and the list that it is of. What is in it comes from the
// client and is checked like everything else that does: it names a place in an order, and opens nothing.
type cursor struct {
	List string `json:"l"`
	Sort string `json:"s,omitempty"`
	Desc bool   `json:"d,omitempty"`
	Key  string `json:"k"`
	ID   string `json:"i"`
}

func (c cursor) encode() string {
	raw, err := json.Marshal(c)
	if err != nil {
		return "" // cannot happen: it is text
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

func decodeCursor(text string) (cursor, bool) {
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return c, false
	}
	return c, isText(c.Key) && isText(c.ID)
}

// pageParameters are the parameters of every list; sorts is what it can be sorted by, nil if nothing.
func pageParameters(sorts []string) []parameter {
	parameters := []parameter{
		{"limit", "the size of a page, 1 to 1000; 100 if left out", nil},
		{"after", "the \"next\" of the page before; it means nothing else, and goes with the same order", nil},
		{"order", "the direction: asc if left out", []string{"asc", "desc"}},
	}
	if len(sorts) > 0 {
		parameters = append(parameters, parameter{"sort", "what the list is sorted by: " + sorts[0] + " if left out", sorts})
	}
	return parameters
}

// readPage reads which part of a list is asked for. list names it, so that a cursor of another one is refused; check says whether a
// key can be compared with what the list is sorted by. The limit is one more than the page's, to see whether there is a next one.
func readPage(c echo.Context, list string, sorts []string, check func(sort, key string) bool) (store.Page, error) {
	page := store.Page{Sort: c.QueryParam("sort"), Limit: defaultPage + 1}
	if page.Sort != "" && !slices.Contains(sorts, page.Sort) {
		return page, mayfly.InvalidField("sort", "sort: %q is none of %s", page.Sort, strings.Join(sorts, ", "))
	}
	switch order := c.QueryParam("order"); order {
	case "", "asc":
	case "desc":
		page.Descending = true
	default:
		return page, mayfly.InvalidField("order", "order: %q is neither asc nor desc", order)
	}
	if text := c.QueryParam("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maximalPage {
			return page, mayfly.InvalidField("limit", "limit: %q is not a number from 1 to %d", text, maximalPage)
		}
		page.Limit = n + 1
	}
	if text := c.QueryParam("after"); text != "" {
		at, ok := decodeCursor(text)
		if !ok || at.List != list || at.Sort != page.Sort || at.Desc != page.Descending || !check(at.Sort, at.Key) {
			return page, mayfly.InvalidField("after", "after: this is not the \"next\" of a page of this list in this order").
				WithHint("begin again without it")
		}
		page.After = &store.Position{Key: at.Key, ID: at.ID}
	}
	return page, nil
}

// pageOf cuts what was read down to the page, and returns with it the cursor of the next one, "" on the last page.
func pageOf[T any](list string, page store.Page, rows []T, position func(T) store.Position) (items []T, next string) {
	if len(rows) < page.Limit {
		return rows, ""
	}
	items = rows[:page.Limit-1]
	at := position(items[len(items)-1])
	return items, cursor{List: list, Sort: page.Sort, Desc: page.Descending, Key: at.Key, ID: at.ID}.encode()
}

// maximalFilter bounds the text of a filter, in bytes.
const maximalFilter = 255

func checkFilter(name, text string) error {
	if len(text) > maximalFilter || !utf8.ValidString(text) {
		return mayfly.InvalidField(name, "%s: it is longer than %d bytes", name, maximalFilter)
	}
	return nil
}
