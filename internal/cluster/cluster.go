package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// AdminRole is the bootstrap superuser of every cluster that Mayfly makes. It can log in only by peer authentication
// from the host's root user (pg_ident.conf below); the gateway refuses it.
const AdminRole = "mayfly_admin"

// AccessRules is the pg_hba.conf of every cluster that Mayfly makes.
const AccessRules = `local all ` + AdminRole + ` peer map=mayfly
local replication all reject
local all all scram-sha-256
`

// AccessMap is the pg_ident.conf of every cluster that Mayfly makes.
const AccessMap = `mayfly root ` + AdminRole + `
`

// initScript initialises the data directory beside its final place and renames it, so that a crash leaves either
// nothing or a whole cluster. Positional parameters: data directory, then initdb's further arguments.
const initScript = `
set -eu
data=$1; shift
[ -e "$data/PG_VERSION" ] && exit 0
rm -rf "$data" "$data.new"
initdb -D "$data.new" -U ` + AdminRole + ` --auth-local=peer --auth-host=reject --no-sync "$@" >&2
cat >"$data.new/pg_hba.conf" <<EOF
` + AccessRules + `EOF
cat >"$data.new/pg_ident.conf" <<EOF
` + AccessMap + `EOF
mv "$data.new" "$data"
`

// InitOptions are what a data directory is initialised with.
type InitOptions struct {
	Encoding string // "" means UTF8
	Locale   string // "" means C.UTF-8
}

// Init initialises a data directory on the volume, if there is none yet.
func Init(ctx context.Context, engine driver.Engine, image driver.Image, volume string, opts InitOptions) error {
	encoding, locale := opts.Encoding, opts.Locale
	if encoding == "" {
		encoding = "UTF8"
	}
	if locale == "" {
		locale = "C.UTF-8"
	}
	result, err := engine.Run(ctx, driver.RunSpec{
		Image:   image.ID,
		Command: []string{"sh", "-c", initScript, "initdb", driver.DataDir, "--encoding=" + encoding, "--locale=" + locale},
		Volume:  volume,
		Labels:  map[string]string{"role": "initdb"},
	})
	if err != nil {
		return fmt.Errorf("run initdb on volume %s: %w", volume, err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("initdb on volume %s: exit code %d: %s", volume, result.ExitCode, strings.TrimSpace(string(result.Stderr)))
	}
	return nil
}

// Profile says what a cluster is for; it decides about durability and memory.
type Profile int

const (
	// Build loads a template: nothing is durable until the end, when the template is synced as a whole.
	Build Profile = iota
	// Preview is small and starts fast. A commit may be lost if the host itself crashes, never by suspending, nor when
	// Postgres or its container is killed: that is why synchronous_commit stays on, which without fsync is one write.
	Preview
	// State is Mayfly's own database: fully durable.
	State
)

// Args returns the postgres command line arguments of a profile.
func Args(profile Profile) []string {
	settings := map[Profile][]string{
		Build: {
			"fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0",
			"autovacuum=off", "shared_buffers=256MB", "maintenance_work_mem=256MB", "max_wal_size=8GB",
			"min_wal_size=80MB", "checkpoint_timeout=1h", "max_connections=40", "max_parallel_maintenance_workers=2",
		},
		Preview: {
			"fsync=off", "full_page_writes=off", "wal_level=replica", "max_wal_senders=0",
			"shared_buffers=16MB", "max_wal_size=256MB", "min_wal_size=32MB", "max_connections=100", "jit=off",
			"log_line_prefix=%m [%p] %q%u@%d ", // whose statement it was
		},
		State: {"shared_buffers=64MB", "max_connections=200", "wal_level=replica", "max_wal_senders=0"},
	}[profile]
	settings = append(settings,
		"listen_addresses=", "unix_socket_directories="+driver.SocketDir, "unix_socket_permissions=0777",
		"password_encryption=scram-sha-256", "logging_collector=off", "log_destination=stderr",
		"ssl=off", "log_timezone=UTC",
	)
	args := make([]string, 0, 2*len(settings))
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// ConnConfig returns a configuration that connects as AdminRole to a database of the instance, through engine.Dial.
func ConnConfig(engine driver.Engine, instance, database string) (*pgx.ConnConfig, error) {
	// The host only has to look like a socket directory: it keeps pgx from asking for TLS. DialFunc decides.
	config, err := pgx.ParseConfig("host=/ user=" + AdminRole + " application_name=mayfly sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("make connection settings: %w", err)
	}
	config.Database = database
	// pgx takes what is not said from the PG* environment variables; none of them is meant for our clusters.
	config.Password = ""
	config.Fallbacks = nil
	config.ValidateConnect = nil
	config.RuntimeParams = map[string]string{"application_name": "mayfly"}
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return engine.Dial(ctx, instance) }
	return config, nil
}

// Connect connects as AdminRole to a database of a running instance, whatever its owner has set for the sessions in it but for
// search_path: what is run in a database that somebody uses names schemas, or sets it first.
func Connect(ctx context.Context, engine driver.Engine, instance, database string) (*pgx.Conn, error) {
	config, err := ConnConfig(engine, instance, database)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams = ownSettings()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, err := conn.PgConn().Exec(ctx, laterSettings(conn.PgConn().ParameterStatus("server_version"))).ReadAll(); err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, nil
}

// ownSettings are what the owner of a database could set for every session in it, ours included (ALTER DATABASE … SET), so that ours would
// not begin, would not be the superuser's, or would be ended or refused in the middle. What a session asks for when it begins takes
// precedence.
func ownSettings() map[string]string {
	return map[string]string{
		"application_name": "mayfly", "role": "none", "default_transaction_read_only": "off", "local_preload_libraries": "",
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
	}
}

// laterSettings sets the same of later versions, which an earlier one would refuse to begin a session with.
func laterSettings(version string) string {
	const hasIdleTimeout, hasTransactionTimeout = 14, 17
	major, _ := strconv.Atoi(version[:len(version)-len(strings.TrimLeft(version, "0123456789"))])
	switch {
	case major >= hasTransactionTimeout:
		return "set transaction_timeout = 0; set idle_session_timeout = 0"
	case major >= hasIdleTimeout:
		return "set idle_session_timeout = 0"
	}
	return ""
}

// WaitReady waits until the instance accepts connections to the database and returns the first one. It polls: Postgres has no
// other way to tell on a Unix socket. Often at first, since somebody waits and a clone is ready in tens of milliseconds. It gives up when ctx ends, or as soon as alive
// reports an error. alive is asked at every 32nd try; nil means always alive.
func WaitReady(ctx context.Context, engine driver.Engine, instance, database string, alive func(context.Context) error) (*pgx.Conn, error) {
	const often, seldom = time.Millisecond, 10 * time.Millisecond
	ticker := time.NewTicker(often)
	defer ticker.Stop()
	for attempt := 1; ; attempt++ {
		conn, err := Connect(ctx, engine, instance, database)
		if err == nil {
			return conn, nil
		}
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code != "57P03" { // cannot_connect_now: starting up
			return nil, fmt.Errorf("connect to instance %s: %w", instance, err)
		}
		if attempt == 200 {
			ticker.Reset(seldom)
		}
		if alive != nil && attempt%32 == 0 {
			if err := alive(ctx); err != nil {
				return nil, fmt.Errorf("instance %s while starting: %w", instance, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil, mayfly.Errorf(mayfly.CodeTimeout, "instance %s did not accept connections in time (last: %v): %w", instance, err, ctx.Err())
		case <-ticker.C:
		}
	}
}
