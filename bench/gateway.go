package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
)

// copyBytes is how much each measurement of the gateway moves, at least.
const copyBytes = 200 << 20

// measureGateway copies the same rows out through the gateway and directly from the preview's socket, in turn.
func (b *bench) measureGateway(ctx context.Context) error {
	c, err := b.service.create(ctx, b.sizeProjects()[0])
	if err != nil {
		return err
	}
	config, err := pgx.ParseConfig(c.credentials.URL)
	if err != nil {
		return err
	}
	direct := config.Copy()
	direct.TLSConfig, direct.Fallbacks, direct.Database = nil, nil, "app"
	direct.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return b.service.engine.Dial(ctx, c.instance())
	}

	var ours, theirs series
	for i := range max(4, b.n/4) + 1 {
		through, err := copyOut(ctx, config)
		if err != nil {
			return fmt.Errorf("copy through the gateway: %w", err)
		}
		straight, err := copyOut(ctx, direct)
		if err != nil {
			return fmt.Errorf("copy from the socket: %w", err)
		}
		if i > 0 { // the first reads the file into memory
			ours.add(through)
			theirs.add(straight)
		}
	}
	b.record(ours.result("gateway_copy_mib_per_s", "MiB/s").beside("the same from the Unix socket, without TLS", theirs), map[string]any{
		"template": b.sizes[0].String(), "higher_is_better": true,
		"what": fmt.Sprintf("COPY of at least %d MiB of text to the client, through the gateway over TLS", copyBytes/mib),
	})
	return b.service.remove(ctx, c.preview.Name)
}

// copyOut returns MiB per second.
func copyOut(ctx context.Context, config *pgx.ConnConfig) (rate float64, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	const sql = `COPY (SELECT a.* FROM pgbench_accounts a WHERE aid <= 2200000) TO STDOUT`
	var w counter
	began := time.Now()
	for w < copyBytes { // a small database needs several turns
		if _, err := conn.PgConn().CopyTo(ctx, &w, sql); err != nil {
			return 0, err
		}
	}
	return float64(w) / mib / time.Since(began).Seconds(), nil
}

// counter counts bytes.
type counter int64

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
