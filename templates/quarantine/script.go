package quarantine

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// scriptDatabase is where statements go that come before the script's first \connect.
const scriptDatabase = "mayfly_script"

// RestoreScript runs a script of SQL. major is that of the server it is from, 0 if unknown; encoding is what it is in, ""
// if unknown. An error of open or of what it returns ends the restore and is returned as it is.
func RestoreScript(ctx context.Context, opts Options, major int, encoding string, open func() (io.ReadCloser, error)) (*Cluster, error) {
	return restore(ctx, opts, func(ctx context.Context, c *Cluster) error {
		if err := c.initialise(ctx, major, encoding); err != nil {
			return err
		}
		script, err := open()
		if err != nil {
			return err
		}
		defer func() { _ = script.Close() }()
		if err := c.runScript(ctx, script); err != nil {
			return err
		}
		return c.chooseDatabase(ctx)
	})
}

// initialise makes and starts an empty cluster with scriptDatabase.
func (c *Cluster) initialise(ctx context.Context, major int, encoding string) (err error) {
	if c.Image, err = c.opts.Image(ctx, major); err != nil {
		return fmt.Errorf("find an image for the quarantine: %w", err)
	}
	if err := c.makeVolume(ctx); err != nil {
		return err
	}
	if err := cluster.Init(ctx, c.opts.Engine, c.Image, c.id, cluster.InitOptions{}); err != nil {
		return err
	}
	if err := c.createInstance(ctx); err != nil {
		return err
	}
	if err := c.start(ctx, "postgres"); err != nil {
		return err
	}
	conn, err := c.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	create := "CREATE DATABASE " + scriptDatabase + " TEMPLATE template0"
	if encoding == "SQL_ASCII" { // nothing is converted, so another encoding would refuse it
		create += " ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
	}
	if _, err := conn.Exec(ctx, create); err != nil {
		return fmt.Errorf("create the database for the script: %w", err)
	}
	return nil
}

// runScript feeds a script to psql.
func (c *Cluster) runScript(ctx context.Context, script io.Reader) error {
	admin, err := c.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	in, out := io.Pipe()
	s := newScanner(script, out, scriptDatabase)
	databases := &databaseMaker{cluster: c, conn: admin, foreignKeys: map[recentStatement]string{}}
	s.replace = databases.replace
	watch := &psqlWatch{fail: func(err error) { cancel(err) }, recent: &s.recent}
	var fed sync.WaitGroup
	fed.Go(func() {
		err := s.run(ctx)
		if err != nil {
			cancel(err) // or psql would take what it has for the whole
		}
		_ = out.CloseWithError(err)
	})
	relay := &adminRelay{ctx: ctx, engine: c.opts.Engine, id: c.id}
	result, err := c.run(ctx, driver.RunSpec{
		Command: []string{
			"psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=0", "--set=VERBOSITY=verbose", "--set=SHOW_CONTEXT=never",
			"--output=/dev/null", "--host=" + driver.SocketDir, "--username=" + cluster.AdminRole, "--dbname=" + scriptDatabase, "--file=-",
		},
		Stdin: in, Stderr: watch, Listener: relay.serve,
		Env: []string{"PGCLIENTENCODING=UTF8", "LC_MESSAGES=C"},
	})
	cause := context.Cause(ctx)
	_ = in.CloseWithError(errEnded)
	fed.Wait()
	relay.wait.Wait()
	switch {
	case cause != nil:
		return cause
	case err != nil:
		return fmt.Errorf("run the script: %w", err)
	case result.OOMKilled:
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "psql takes more memory than it may have: a statement of the script is too long")
	case result.ExitCode != 0:
		if err := c.alive(ctx); err != nil {
			return err
		}
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "psql ended with exit code %d in the middle of the script", result.ExitCode)
	}
	for _, of := range watch.violated {
		if databases.addUnvalidated(ctx, of) {
			watch.unvalidated(of.head)
		}
	}
	c.Findings = slices.Concat(c.Findings, databases.findings, watch.findings)
	return nil
}

// adminRelay lets psql in as the superuser: its container has no password, and as itself it is nobody. It copies bytes
// between psql and the server, which sees this process.
type adminRelay struct {
	ctx    context.Context //nolint:containedctx // serve is a callback without a context; this is the restore's
	engine driver.Engine
	id     string
	wait   sync.WaitGroup
}

func (r *adminRelay) serve(client net.Conn) {
	r.wait.Add(1)
	defer r.wait.Done()
	defer func() { _ = client.Close() }()
	server, err := r.engine.Dial(r.ctx, r.id)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(r.ctx, func() { _ = server.Close(); _ = client.Close() })()
	var both sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	both.Go(func() { oneWay(server, client) })
	both.Go(func() { oneWay(client, server) })
	both.Wait()
}
