package migrations

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// liquibase follows `liquibase update` of Liquibase 4.33 with changelogs of formatted SQL.
type liquibase struct{}

const (
	liquibaseTable   = "databasechangelog"
	liquibaseVersion = "4.33.0" // in the rows, if no row before tells another
	liquibaseLocker  = "mayfly"
)

func (liquibase) rules() rules { return rules{gaps: gapRun, refuseEdited: true, anyPosition: true} }

// compare knows no order but that of the changelog.
func (liquibase) compare(_, _ string) int { return 0 }

// liquibaseKey identifies a changeset. Of the file only its name counts: what is before it in the table depends on the
// directory that the command was started in.
func liquibaseKey(file, id, author string) string { return path.Base(file) + "::" + id + "::" + author }

func (liquibase) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	log := &liquibaseLog{files: map[string]File{}, settings: settings, history: &History{}}
	for _, f := range files {
		if f.SHA == "" {
			f.SHA = blobSHA(f.Content)
		}
		log.files[f.Path] = f
	}
	root, err := log.root()
	if err != nil || root == "" {
		return log.history, err
	}
	if err := log.include(root, 0); err != nil {
		return nil, err
	}
	log.history.markDuplicates()
	return log.history, nil
}

// classify knows the changesets that do not run with these contexts and labels, and those that always run.
func (liquibase) classify(m Migration, p *comparing) (Status, bool) {
	c, ok := m.own.(*liquibaseSet)
	if !ok || m.duplicateOf != "" {
		return Status{}, false
	}
	if reason := c.filtered(); reason != "" {
		p.plan.Skipped = append(p.plan.Skipped, Skipped{Version: m.Version, Name: m.Name, File: m.file(), Reason: reason})
		return statusOf(m, StatusSkipped, reason), true
	}
	if _, applied := p.applied[m.Version]; applied && c.runAlways {
		p.plan.Pending = append(p.plan.Pending, m)
		return statusOf(m, StatusPending, "runAlways: it runs again every time"), true
	}
	return Status{}, false
}

// judge compares checksums of version 9. Those of older releases are let pass, as the tool does when it replaces them.
func (liquibase) judge(m Migration, a Applied) (edited, refuse bool) {
	c, ok := m.own.(*liquibaseSet)
	if !ok || !strings.HasPrefix(a.Checksum, "9:") || a.Checksum == m.Checksum {
		return false, false
	}
	for _, valid := range c.validSums {
		if valid == a.Checksum || strings.EqualFold(valid, "any") || valid == "1:any" {
			return false, false
		}
	}
	return true, !c.runOnChange
}

func (liquibase) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, liquibaseTable)
	if err != nil {
		return State{}, err
	}
	query := `SELECT filename, id, author, coalesce(md5sum, ''), dateexecuted FROM ` + table.quoted() + ` ORDER BY dateexecuted, orderexecuted`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var file, id, author string
		var at time.Time
		err := row.Scan(&file, &id, &author, &a.Checksum, &at)
		a.Version, a.Name, a.At = liquibaseKey(file, id, author), file, &at
		return a, err
	})
}

func liquibaseLockTable(t trackingTable) string {
	return trackingTable{schema: t.schema, name: t.name + "lock"}.quoted()
}

// lock sets the flag in the tool's lock table, which is a row and not a lock of the server.
func (q liquibase) lock(ctx context.Context, r *run) (unlock func(), err error) {
	if r.table, err = findTable(ctx, r.conn, r.plan.table, liquibaseTable); err != nil {
		return nil, err
	}
	table := liquibaseLockTable(r.table)
	statements := []string{
		`CREATE TABLE IF NOT EXISTS ` + table + ` (ID INTEGER NOT NULL, LOCKED BOOLEAN NOT NULL, LOCKGRANTED TIMESTAMP WITHOUT TIME ZONE, ` +
			`LOCKEDBY VARCHAR(255), CONSTRAINT ` + pgx.Identifier{r.table.name + "lock_pkey"}.Sanitize() + ` PRIMARY KEY (ID))`,
		`INSERT INTO ` + table + ` (ID, LOCKED) VALUES (1, FALSE) ON CONFLICT DO NOTHING`,
	}
	for _, s := range statements {
		if err := r.exec(ctx, s); err != nil {
			return nil, r.prepareError(err)
		}
	}
	deadline := r.opts.Now().Add(lockWait)
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		tag, err := r.conn.Exec(ctx, `UPDATE `+table+` SET LOCKED = TRUE, LOCKEDBY = '`+liquibaseLocker+`', LOCKGRANTED = pg_catalog.clock_timestamp()
			WHERE ID = 1 AND LOCKED = FALSE`, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return nil, fmt.Errorf("take the lock of liquibase: %w", err)
		}
		if tag.RowsAffected() == 1 {
			break
		}
		if r.opts.Now().After(deadline) {
			return nil, mayfly.Errorf(mayfly.CodeConflict, "the table %s says that another run of liquibase is under way", table).
				WithHint("if it came so from production, run `liquibase release-locks` there and build a new template; if not, reset the preview")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-poll.C:
		}
	}
	return func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer cancel()
		r.settle(after)
		// One that fails shows at the next run, which says what to do.
		_ = r.exec(after, `UPDATE `+table+` SET LOCKED = FALSE, LOCKEDBY = NULL, LOCKGRANTED = NULL WHERE ID = 1`)
	}, nil
}

func (liquibase) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, liquibaseTable)
	if err != nil || exists {
		return err
	}
	return r.exec(ctx, `CREATE TABLE `+r.table.quoted()+` (ID VARCHAR(255) NOT NULL, AUTHOR VARCHAR(255) NOT NULL, FILENAME VARCHAR(255) NOT NULL, `+
		`DATEEXECUTED TIMESTAMP WITHOUT TIME ZONE NOT NULL, ORDEREXECUTED INTEGER NOT NULL, EXECTYPE VARCHAR(10) NOT NULL, MD5SUM VARCHAR(35), `+
		`DESCRIPTION VARCHAR(255), COMMENTS VARCHAR(255), TAG VARCHAR(255), LIQUIBASE VARCHAR(20), CONTEXTS VARCHAR(255), LABELS VARCHAR(255), `+
		`DEPLOYMENT_ID VARCHAR(10))`)
}

func (liquibase) script(m Migration) (script, error) {
	c, ok := m.own.(*liquibaseSet)
	if !ok {
		return script{}, nil
	}
	s := script{text: c.text, transaction: c.inTransaction}
	switch {
	case !c.split:
		s.queries = appendPart(nil, c.text, span{0, len(c.text)})
	case c.delimiter == "" || c.delimiter == ";":
		s.queries = split(c.text, span{0, len(c.text)})
	default:
		s.queries = splitAt(c.text, 0, c.delimiter)
	}
	return s, nil
}

// migrate looks at the preconditions first.
func (q liquibase) migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure) {
	c, ok := m.own.(*liquibaseSet)
	if !ok {
		return r.standard(ctx, m, s, q.record)
	}
	for _, check := range c.checks {
		var got string
		err := r.conn.QueryRow(ctx, `SELECT coalesce((`+check.query+`)::text, '')`, pgx.QueryExecModeExec).Scan(&got)
		if err != nil {
			return outcome{err: err}, r.failure(m, at(m.file(), check.line)+": the precondition could not be evaluated: ", err)
		}
		if got == check.expected {
			continue
		}
		if c.markRan {
			if err := q.row(ctx, r, m, "MARK_RAN"); err != nil {
				return outcome{err: err}, r.failure(m, "the tracking table could not be written: ", err)
			}
			return outcome{}, nil
		}
		err = fmt.Errorf("the precondition did not hold: the result is not %q", check.expected)
		failure := r.failure(m, "", err)
		failure.Line = check.line
		return outcome{err: err}, failure
	}
	return r.standard(ctx, m, s, q.record)
}

func (q liquibase) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	return q.row(ctx, r, m, "EXECUTED")
}

// row is MarkChangeSetRanGenerator of the tool. The id of the deployment is the moment of the lock, as the tool's is that of
// its start.
func (liquibase) row(ctx context.Context, r *run, m Migration, kind string) error {
	c, ok := m.own.(*liquibaseSet)
	if !ok {
		return fmt.Errorf("changeset %s was not read", m.Version)
	}
	file := c.filename(r.plan.state.Applied)
	deployment := `(SELECT pg_catalog.right((extract(epoch FROM lockgranted) * 1000)::bigint::text, 10) FROM ` + liquibaseLockTable(r.table) + ` WHERE id = 1)`
	order := `(SELECT coalesce(max(orderexecuted), 0) + 1 FROM ` + r.table.quoted() + `)`
	for _, a := range r.plan.state.Applied {
		if a.Version != m.Version {
			continue
		}
		return r.exec(ctx, `UPDATE `+r.table.quoted()+` SET dateexecuted = now(), orderexecuted = `+order+`, md5sum = $1, exectype = 'RERAN', deployment_id = `+deployment+`,
				comments = $2, contexts = nullif($3, ''), labels = nullif($4, '') WHERE id = $5 AND author = $6 AND filename = $7`,
			m.Checksum, excerpt(c.comment, 250), c.fullContext(), c.labels, c.id, c.author, a.Name)
	}
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` (id, author, filename, dateexecuted, orderexecuted, md5sum, description, comments, exectype,
			contexts, labels, liquibase, deployment_id)
		VALUES ($1, $2, $3, now(), `+order+`, $4, 'sql', $5, $6, nullif($7, ''), nullif($8, ''),
			coalesce((SELECT liquibase FROM `+r.table.quoted()+` ORDER BY orderexecuted DESC LIMIT 1), '`+liquibaseVersion+`'), `+deployment+`)`,
		c.id, c.author, file, m.Checksum, excerpt(c.comment, 250), kind, c.fullContext(), c.labels)
}

// filename is what the table calls the file of a changeset: its path below the directory that the command searches. That
// directory is the one that the rows before tell, or else that of the sources' resources, or the repository.
func (c *liquibaseSet) filename(applied []Applied) string {
	if c.logical != "" {
		return c.logical
	}
	for _, a := range applied {
		rest := strings.TrimPrefix(strings.TrimPrefix(a.Name, "classpath:"), "/")
		for _, p := range c.log.included {
			root, ok := strings.CutSuffix(p, rest)
			if ok && (root == "" || strings.HasSuffix(root, "/")) {
				return strings.TrimPrefix(c.path, root)
			}
		}
	}
	if c.log.searched != "" {
		return strings.TrimPrefix(c.path, c.log.searched)
	}
	for _, root := range []string{"src/main/resources/", "src/test/resources/"} {
		if _, rest, ok := strings.Cut("/"+c.path, "/"+root); ok {
			return rest
		}
	}
	return c.path
}
