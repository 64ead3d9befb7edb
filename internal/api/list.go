package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

const listOfPreviews = "previews"

// kinds, states and sorts are what the filters of previews take.
func kinds() []string { return []string{string(mayfly.KindPullRequest), string(mayfly.KindSandbox)} }

func states() []string {
	return []string{
		string(mayfly.PreviewQueued), string(mayfly.PreviewPending), string(mayfly.PreviewCreating), string(mayfly.PreviewMigrating), string(mayfly.PreviewReady),
		string(mayfly.PreviewSuspended), string(mayfly.PreviewFailed), string(mayfly.PreviewDeleting), string(mayfly.PreviewDeleted),
	}
}

func sorts() []string { return []string{"created", "name", "expires", "last_used"} }

func previewFilters() []parameter {
	return append([]parameter{
		{"project", "only this project's", nil}, {"kind", "only those of this kind", kinds()},
		{"state", "only those in this state; deleted ones are seen only so", states()},
		{"label", "only those with this label, as key=value or as key for any value; given several times, with all of them", nil},
		{"created_by", "only those that this one asked for, such as github:alice", nil},
		{"pull_request", "only those of the pull request with this number", nil},
		{"q", "only those with this in their name", nil},
	}, pageParameters(sorts())...)
}

func (a *API) listPreviews(c echo.Context) error {
	filter, err := readFilter(c)
	if err != nil {
		return err
	}
	previews, err := a.Store.Previews(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	list := client.PreviewList{Items: []client.Preview{}}
	previews, list.Next = pageOf(listOfPreviews, filter.Page, previews, func(p *mayfly.Preview) store.Position {
		return store.PreviewPosition(p, filter.Page.Sort)
	})
	for _, p := range previews {
		list.Items = append(list.Items, a.previewJSON(p, nil))
	}
	queued := make([]*client.Preview, len(list.Items))
	for i := range list.Items {
		queued[i] = &list.Items[i]
	}
	if err := a.addQueue(c.Request().Context(), queued...); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, list)
}

// readFilter reads the query of a list. Values that nothing can have are refused: an empty list would look like an answer.
func readFilter(c echo.Context) (store.Filter, error) {
	f := store.Filter{
		Project: c.QueryParam("project"), Kind: mayfly.Kind(c.QueryParam("kind")), State: mayfly.PreviewState(c.QueryParam("state")),
		CreatedBy: c.QueryParam("created_by"), Query: c.QueryParam("q"),
	}
	var err error
	if f.Page, err = readPage(c, listOfPreviews, sorts(), previewKey); err != nil {
		return f, err
	}
	if f.Kind != "" && !slices.Contains(kinds(), string(f.Kind)) {
		return f, mayfly.InvalidField("kind", "kind: %q is none of %s", string(f.Kind), strings.Join(kinds(), ", "))
	}
	if f.State != "" && !slices.Contains(states(), string(f.State)) {
		return f, mayfly.InvalidField("state", "state: %q is none of %s", string(f.State), strings.Join(states(), ", "))
	}
	f.IncludeDeleted = f.State == mayfly.PreviewDeleted
	for name, text := range map[string]string{"created_by": f.CreatedBy, "q": f.Query, "project": f.Project} {
		if err := checkFilter(name, text); err != nil {
			return f, err
		}
	}
	if text := c.QueryParam("pull_request"); text != "" {
		if f.PullRequest, err = strconv.Atoi(text); err != nil || f.PullRequest < 1 || f.PullRequest > 1<<31-1 {
			return f, mayfly.InvalidField("pull_request", "pull_request: %q is not the number of a pull request", text)
		}
	}
	if err := readLabels(c, &f); err != nil {
		return f, err
	}
	if f.Project != "" {
		if err := allow(c, auth.ScopePreviewsRead, f.Project); err != nil {
			return f, err
		}
	}
	f.Projects = bearer(c).Visible(auth.ScopePreviewsRead)
	return f, nil
}

// previewKey reports whether a cursor's key is one of the order.
func previewKey(sort, key string) bool { return sort == "name" || timeKey(sort, key) }

// timeKey takes what store.TimeKey makes, and nothing else that would be a time to Go and none to Postgres.
func timeKey(_, key string) bool {
	at, err := time.Parse("2006-01-02T15:04:05.999999Z", key)
	return (err == nil && at.Year() > 0) || key == "infinity" || key == "-infinity"
}

func readLabels(c echo.Context, f *store.Filter) error {
	wanted := c.QueryParams()["label"]
	if len(wanted) > maximalLabels {
		return mayfly.InvalidField("label", "label: %d of them, and a preview has at most %d", len(wanted), maximalLabels)
	}
	for _, text := range wanted {
		key, value, exact := strings.Cut(text, "=")
		if err := checkLabel(key, value); err != nil {
			return mayfly.InvalidField("label", "label: %q is none that a preview can have", text).WithHint("write key=value, or key for any value")
		}
		if !exact {
			f.LabelKeys = append(f.LabelKeys, key)
			continue
		}
		if f.Labels == nil {
			f.Labels = map[string]string{}
		}
		if other, twice := f.Labels[key]; twice && other != value {
			return mayfly.InvalidField("label", "label: %s cannot be both %q and %q", key, other, value)
		}
		f.Labels[key] = value
	}
	return nil
}

// Bounds of labels.
const (
	maximalLabels     = 32
	maximalLabelKey   = 63
	maximalLabelValue = 255
)

// checkLabels refuses labels that a preview cannot have, each by its name.
func checkLabels(labels map[string]string) error {
	if len(labels) > maximalLabels {
		return mayfly.InvalidField("/labels", "labels: %d of them, and %d are allowed", len(labels), maximalLabels)
	}
	for key, value := range labels {
		if err := checkLabel(key, value); err != nil {
			return err
		}
	}
	return nil
}

func checkLabel(key, value string) error {
	if key == "" || len(key) > maximalLabelKey || len(value) > maximalLabelValue || !isText(key) || !isText(value) || strings.Contains(key, "=") {
		return mayfly.InvalidField(pointer("labels", key), "labels: %q is not usable", key).
			WithHint("a key has 1 to %d bytes and no '=', a value up to %d, and neither a NUL", maximalLabelKey, maximalLabelValue)
	}
	return nil
}

// pointer makes a JSON pointer (RFC 6901) of the names on the way.
func pointer(names ...string) string {
	var p strings.Builder
	for _, name := range names {
		p.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return p.String()
}
