package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Reseal passes every sealed password to reseal, with what it is bound to, and stores what that gives. It returns how many have changed.
// One that reseal fails for is left as it is, and counted.
func (s *Store) Reseal(ctx context.Context, reseal func(sealed, context []byte) (fresh []byte, changed bool, err error)) (changed, lost int, err error) {
	for _, table := range []struct{ list, update string }{
		{
			`select id, id, password_sealed from preview where state <> 'deleted' and password_sealed is not null`,
			`update preview set password_sealed = $3 where id = $1 and password_sealed = $2`,
		},
		{
			`select preview_id || '/' || role, preview_id || '/' || role, password_sealed from preview_login where password_sealed is not null`,
			`update preview_login set password_sealed = $3 where preview_id || '/' || role = $1 and password_sealed = $2`,
		},
	} {
		type row struct {
			ID, Context string
			Sealed      []byte
		}
		rows, err := s.pool.Query(ctx, table.list)
		if err != nil {
			return changed, lost, failed(err, "read sealed passwords")
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
		if err != nil {
			return changed, lost, failed(err, "read sealed passwords")
		}
		for _, r := range all {
			fresh, differs, err := reseal(r.Sealed, []byte(r.Context))
			if err != nil {
				lost++
			}
			if err != nil || !differs {
				continue
			}
			if _, err := s.pool.Exec(ctx, table.update, r.ID, r.Sealed, fresh); err != nil {
				return changed, lost, failed(err, "seal passwords anew")
			}
			changed++
		}
	}
	return changed, lost, nil
}
