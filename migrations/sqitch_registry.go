package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// sqitchTables are the tables of the registry's release 1.1, without the comments on them.
const sqitchTables = `BEGIN;
CREATE TABLE REGISTRY.releases (
    version         REAL        PRIMARY KEY,
    installed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    installer_name  TEXT        NOT NULL,
    installer_email TEXT        NOT NULL
);
CREATE TABLE REGISTRY.projects (
    project         TEXT        PRIMARY KEY,
    uri             TEXT            NULL UNIQUE,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    creator_name    TEXT        NOT NULL,
    creator_email   TEXT        NOT NULL
);
CREATE TABLE REGISTRY.changes (
    change_id       TEXT        PRIMARY KEY,
    script_hash     TEXT            NULL,
    change          TEXT        NOT NULL,
    project         TEXT        NOT NULL REFERENCES REGISTRY.projects(project) ON UPDATE CASCADE,
    note            TEXT        NOT NULL DEFAULT '',
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    committer_name  TEXT        NOT NULL,
    committer_email TEXT        NOT NULL,
    planned_at      TIMESTAMPTZ NOT NULL,
    planner_name    TEXT        NOT NULL,
    planner_email   TEXT        NOT NULL,
    UNIQUE(project, script_hash)
);
CREATE TABLE REGISTRY.tags (
    tag_id          TEXT        PRIMARY KEY,
    tag             TEXT        NOT NULL,
    project         TEXT        NOT NULL REFERENCES REGISTRY.projects(project) ON UPDATE CASCADE,
    change_id       TEXT        NOT NULL REFERENCES REGISTRY.changes(change_id) ON UPDATE CASCADE,
    note            TEXT        NOT NULL DEFAULT '',
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    committer_name  TEXT        NOT NULL,
    committer_email TEXT        NOT NULL,
    planned_at      TIMESTAMPTZ NOT NULL,
    planner_name    TEXT        NOT NULL,
    planner_email   TEXT        NOT NULL,
    UNIQUE(project, tag)
);
CREATE TABLE REGISTRY.dependencies (
    change_id       TEXT        NOT NULL REFERENCES REGISTRY.changes(change_id) ON UPDATE CASCADE ON DELETE CASCADE,
    type            TEXT        NOT NULL,
    dependency      TEXT        NOT NULL,
    dependency_id   TEXT            NULL REFERENCES REGISTRY.changes(change_id) ON UPDATE CASCADE CONSTRAINT dependencies_check CHECK (
            (type = 'require'  AND dependency_id IS NOT NULL)
         OR (type = 'conflict' AND dependency_id IS NULL)
    ),
    PRIMARY KEY (change_id, dependency)
);
CREATE TABLE REGISTRY.events (
    event           TEXT        NOT NULL CONSTRAINT events_event_check CHECK (
        event IN ('deploy', 'revert', 'fail', 'merge')
    ),
    change_id       TEXT        NOT NULL,
    change          TEXT        NOT NULL,
    project         TEXT        NOT NULL REFERENCES REGISTRY.projects(project) ON UPDATE CASCADE,
    note            TEXT        NOT NULL DEFAULT '',
    requires        TEXT[]      NOT NULL DEFAULT '{}',
    conflicts       TEXT[]      NOT NULL DEFAULT '{}',
    tags            TEXT[]      NOT NULL DEFAULT '{}',
    committed_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    committer_name  TEXT        NOT NULL,
    committer_email TEXT        NOT NULL,
    planned_at      TIMESTAMPTZ NOT NULL,
    planner_name    TEXT        NOT NULL,
    planner_email   TEXT        NOT NULL,
    PRIMARY KEY (change_id, committed_at)
);
COMMENT ON SCHEMA REGISTRY IS 'Sqitch database deployment metadata v1.1.';
COMMIT`

// record is log_deploy_change of the tool, in a transaction of its own: a script has its own before.
func (sqitch) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	c, ok := m.own.(*sqitchChange)
	if !ok {
		return errors.New("a change without a plan")
	}
	if err := r.exec(ctx, `BEGIN`); err != nil {
		return err
	}
	defer r.settle(context.WithoutCancel(ctx))
	registry := pgx.Identifier{r.table.schema}.Sanitize()
	if err := r.exec(ctx, `LOCK TABLE `+registry+`.changes IN EXCLUSIVE MODE`); err != nil {
		return err
	}
	_, hash, _ := strings.Cut(m.Checksum, " ")
	err := r.exec(ctx, `INSERT INTO `+registry+`.changes (change_id, script_hash, change, project, note, committer_name, committer_email,
			planned_at, planner_name, planner_email, committed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::timestamptz, $9, $10, clock_timestamp())`,
		c.id, hash, c.name, c.plan.project, c.note, sqitchUser, sqitchEmail, c.at, c.planner, c.email)
	if err != nil {
		return err
	}
	if err := c.recordDependencies(ctx, r, registry); err != nil {
		return err
	}
	for _, t := range c.tags {
		err := r.exec(ctx, `INSERT INTO `+registry+`.tags (tag_id, tag, project, change_id, note, committer_name, committer_email,
				planned_at, planner_name, planner_email, committed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::timestamptz, $9, $10, clock_timestamp())`,
			t.id, t.name, c.plan.project, c.id, t.note, sqitchUser, sqitchEmail, t.at, t.planner, t.email)
		if err != nil {
			return err
		}
	}
	if err := c.event(ctx, r, "deploy"); err != nil {
		return err
	}
	return r.exec(ctx, `COMMIT`)
}

func (c *sqitchChange) recordDependencies(ctx context.Context, r *run, registry string) error {
	for _, d := range c.requires {
		id := d.id
		if d.project != "" && d.project != c.plan.project {
			err := r.conn.QueryRow(ctx, `SELECT change_id FROM `+registry+`.changes WHERE project = $1 AND change = $2 ORDER BY committed_at DESC LIMIT 1`,
				pgx.QueryExecModeExec, d.project, d.change).Scan(&id)
			if err != nil {
				return fmt.Errorf("look for the required change %s: %w", d.text(c.plan), err)
			}
		}
		err := r.exec(ctx, `INSERT INTO `+registry+`.dependencies (change_id, type, dependency, dependency_id) VALUES ($1, 'require', $2, $3)`,
			c.id, d.text(c.plan), id)
		if err != nil {
			return err
		}
	}
	for _, d := range c.conflicts {
		err := r.exec(ctx, `INSERT INTO `+registry+`.dependencies (change_id, type, dependency, dependency_id) VALUES ($1, 'conflict', $2, NULL)`,
			c.id, d.text(c.plan))
		if err != nil {
			return err
		}
	}
	return nil
}

// event is _log_event of the tool.
func (c *sqitchChange) event(ctx context.Context, r *run, kind string) error {
	names := func(list []sqitchDependency) []string {
		out := []string{}
		for _, d := range list {
			out = append(out, d.text(c.plan))
		}
		return out
	}
	tags := []string{}
	for _, t := range c.tags {
		tags = append(tags, t.name)
	}
	return r.exec(ctx, `INSERT INTO `+pgx.Identifier{r.table.schema, "events"}.Sanitize()+` (event, change_id, change, project, note, tags, requires, conflicts,
			committer_name, committer_email, planned_at, planner_name, planner_email, committed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::timestamptz, $12, $13, clock_timestamp())`,
		kind, c.id, c.name, c.plan.project, c.note, tags, names(c.requires), names(c.conflicts),
		sqitchUser, sqitchEmail, c.at, c.planner, c.email)
}
