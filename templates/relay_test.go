package templates

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/jackc/pgx/v5"
)

// relay lets pg_dump in a container talk to a server that the test reaches: each connection is lent a new one.
type relay struct {
	ctx    context.Context
	config *pgx.ConnConfig

	mu    sync.Mutex
	first error
}

func newRelay(ctx context.Context, config *pgx.ConnConfig) *relay {
	return &relay{ctx: ctx, config: config}
}

func (r *relay) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

func (r *relay) serve(client net.Conn) {
	conn, err := pgx.ConnectConfig(r.ctx, r.config.Copy())
	if err == nil {
		l := &lender{ctx: r.ctx, conn: conn}
		l.serve(client)
		err = l.err()
		_ = conn.PgConn().Conn().Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.first = errors.Join(r.first, err)
}
