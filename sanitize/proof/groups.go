package proof

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/sanitize"
)

// Groups is how well rows hide among others that have the same quasi-identifiers (k-anonymity).
type Groups struct {
	sanitize.QuasiIdentifiers
	Rows   int64 `json:"rows"`
	Groups int64 `json:"groups"` // different combinations of values
	// Smallest is k: the size of the rarest group; Rarest are the sizes of the rarest ones.
	Smallest int64   `json:"smallest"`
	Rarest   []int64 `json:"rarest"`
	// SmallGroups and SmallRows count the groups below MinGroup and the rows in them.
	SmallGroups int64 `json:"small_groups"`
	SmallRows   int64 `json:"small_rows"`
}

// rarestGroups is how many sizes of groups are listed.
const rarestGroups = 5

// Below reports whether there is a group smaller than the threshold.
func (g *Groups) Below() bool { return g.SmallGroups > 0 }

func (g *Groups) String() string {
	return fmt.Sprintf("%s (%s): the rarest combination has %d rows; %d combinations with %d rows in all have fewer than %d",
		g.Table, strings.Join(g.Columns, ", "), g.Smallest, g.SmallGroups, g.SmallRows, g.MinGroup)
}

// CountGroups computes the figures over a session that may read the table.
func CountGroups(ctx context.Context, conn *pgx.Conn, q sanitize.QuasiIdentifiers) (*Groups, error) {
	schema, table, _ := strings.Cut(q.Table, ".")
	columns := make([]string, len(q.Columns))
	for i, c := range q.Columns {
		columns[i] = pgx.Identifier{c}.Sanitize()
	}
	list := strings.Join(columns, ", ")
	g := &Groups{QuasiIdentifiers: q}
	err := conn.QueryRow(ctx, `WITH sizes AS (SELECT pg_catalog.count(*) AS n FROM `+pgx.Identifier{schema, table}.Sanitize()+` GROUP BY `+list+`)
		SELECT coalesce(pg_catalog.sum(n), 0)::int8, pg_catalog.count(*), coalesce(pg_catalog.min(n), 0), pg_catalog.count(*) FILTER (WHERE n < $1),
			coalesce(pg_catalog.sum(n) FILTER (WHERE n < $1), 0)::int8,
			ARRAY(SELECT n FROM sizes ORDER BY n LIMIT $2) FROM sizes`, int64(q.MinGroup), rarestGroups).
		Scan(&g.Rows, &g.Groups, &g.Smallest, &g.SmallGroups, &g.SmallRows, &g.Rarest)
	if err != nil {
		return nil, fmt.Errorf("count the groups of %s by %s: %w", q.Table, list, err)
	}
	return g, nil
}
