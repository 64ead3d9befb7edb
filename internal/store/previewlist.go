package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// Filter selects previews. Zero fields select all live ones.
type Filter struct {
	Project string
	// Projects, if not nil, bounds the projects that are seen at all.
	Projects       []string
	Kind           mayfly.Kind
	State          mayfly.PreviewState
	RepositoryID   int64
	IncludeDeleted bool
	// CreatedBy is who asked for it; PullRequest a pull request's number; Query a part of the name.
	CreatedBy   string
	PullRequest int
	Query       string
	// Labels must all be there with these values; LabelKeys must all be there.
	Labels    map[string]string
	LabelKeys []string
	// Page sorts by "created" (the usual), "name", "expires" or "last_used".
	Page Page
}

// previewSorts are what lists of previews can be sorted by. What never expires comes after all that does, what was never used before
// all that was.
func previewSorts(name string) (SortKey, bool) {
	key, ok := map[string]SortKey{
		"":          {"created_at", "timestamptz"},
		"created":   {"created_at", "timestamptz"},
		"name":      {"name", "text"},
		"expires":   {"coalesce(expires_at, 'infinity'::timestamptz)", "timestamptz"},
		"last_used": {"coalesce(last_used_at, '-infinity'::timestamptz)", "timestamptz"},
	}[name]
	return key, ok
}

// PreviewPosition returns where a preview is in a list that is sorted by that.
func PreviewPosition(p *mayfly.Preview, sort string) Position {
	key := TimeKey(&p.CreatedAt, "")
	switch sort {
	case "name":
		key = p.Name
	case "expires":
		key = TimeKey(p.ExpiresAt, "infinity")
	case "last_used":
		key = TimeKey(p.LastUsedAt, "-infinity")
	}
	return Position{Key: key, ID: p.ID}
}

// Previews returns previews, oldest first unless the page says otherwise.
func (s *Store) Previews(ctx context.Context, f Filter) ([]*mayfly.Preview, error) {
	key, ok := previewSorts(f.Page.Sort)
	if !ok {
		return nil, fmt.Errorf("list previews: no order %q", f.Page.Sort)
	}
	var args []any
	var where []string
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if !f.IncludeDeleted {
		where = append(where, "state <> 'deleted'")
	}
	if f.Project != "" {
		add("project = $%d", f.Project)
	}
	if f.Projects != nil {
		add("project = any ($%d)", f.Projects)
	}
	if f.Kind != "" {
		add("kind = $%d", string(f.Kind))
	}
	if f.State != "" {
		add("state = $%d", string(f.State))
	}
	if f.RepositoryID != 0 {
		add("repository_id = $%d", f.RepositoryID)
	}
	if f.CreatedBy != "" {
		add("created_by = $%d", f.CreatedBy)
	}
	if f.PullRequest != 0 {
		add("number = $%d", f.PullRequest)
	}
	if f.Query != "" {
		add("name like $%d", "%"+like(f.Query)+"%")
	}
	if len(f.Labels) > 0 {
		add("labels @> $%d", f.Labels)
	}
	if len(f.LabelKeys) > 0 {
		add("labels ?& $%d", f.LabelKeys)
	}
	after, order := f.Page.clause(key, "id", "text", &args)
	where = append(where, after)
	rows, err := s.pool.Query(ctx, `select `+previewColumns+` from preview where `+strings.Join(where, " and ")+" "+order, args...)
	if err != nil {
		return nil, failed(err, "list previews")
	}
	previews, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*mayfly.Preview, error) { return scanPreview(row) })
	if err != nil {
		return nil, failed(err, "list previews")
	}
	return previews, nil
}
