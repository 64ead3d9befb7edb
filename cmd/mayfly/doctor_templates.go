package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/schedule"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates"
)

// diagnoseTemplateSettings says when a project's templates are built, and reads its hooks.
func diagnoseTemplateSettings(p mayfly.Project) []finding {
	check := "project " + p.Name
	var findings []finding
	if hooks := p.Templates.Hooks; len(hooks.AfterLoad)+len(hooks.AfterMasking) > 0 {
		if err := templates.CheckHooks(hooks); err != nil {
			findings = append(findings, failed(check, err))
		} else {
			findings = append(findings, ok(check, "hooks: %d files", len(hooks.AfterLoad)+len(hooks.AfterMasking)))
		}
	}
	if p.Templates.Schedule == "" {
		return findings
	}
	plan, err := schedule.Parse(p.Templates.Schedule, p.Templates.TimeZone)
	if err != nil {
		return append(findings, failed(check, err))
	}
	return append(findings, ok(check, "schedule: %s, next at %s", plan, plan.Next(time.Now()).Format(time.RFC3339)))
}

// diagnoseAges looks for templates that are older than they may be. It says nothing where there is no state database yet.
func diagnoseAges(ctx context.Context, c *config.Config) []finding {
	limited := false
	for _, p := range c.Projects() {
		limited = limited || p.Templates.MaxAge > 0
	}
	if !limited {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	current, err := currentTemplates(ctx, c)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []finding{failed("templates", err)}
	}
	var findings []finding
	for _, p := range c.Projects() {
		created, built := current[p.Name]
		if p.Templates.MaxAge <= 0 || !built {
			continue
		}
		if time.Since(created) <= p.Templates.MaxAge {
			findings = append(findings, ok("project "+p.Name, "template: %s old", age(created)))
			continue
		}
		findings = append(findings, finding{
			Check: "project " + p.Name, Status: "warning", Detail: "template: " + age(created) + " old, more than templates.max_age",
			Fix: "mayfly template build --project " + p.Name + "; templates.schedule builds regularly",
		})
	}
	return findings
}

// currentTemplates reads, for each project, when the build of the template that new previews use was begun. It changes nothing, and starts
// no state database: os.ErrNotExist if the embedded one was never made.
func currentTemplates(ctx context.Context, c *config.Config) (map[string]time.Time, error) {
	state, done, err := stateForReading(c)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := pgx.ConnectConfig(ctx, state.ConnConfig)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeStateUnavailable, "the state database does not answer").WithHint("start the service with: mayfly serve")
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return store.CurrentTemplates(ctx, conn)
}

func stateForReading(c *config.Config) (_ *pgxpool.Config, done func(), err error) {
	if c.DatabaseURL != "" {
		state, err := pgxpool.ParseConfig(c.DatabaseURL)
		if err != nil {
			return nil, nil, mayfly.Errorf(mayfly.CodeInvalid, "the state database's URL cannot be understood")
		}
		return state, func() {}, nil
	}
	dir := filepath.Join(c.DataDir, "state")
	if _, err := os.Stat(filepath.Join(dir, "pgdata", "PG_VERSION")); err != nil {
		return nil, nil, os.ErrNotExist
	}
	installation, err := os.ReadFile(filepath.Join(c.DataDir, "installation"))
	if err != nil {
		return nil, nil, os.ErrNotExist
	}
	engine, err := docker.New(docker.Options{
		Host: c.Engine.Host, RunDir: filepath.Join(c.DataDir, "run"), Installation: strings.TrimSpace(string(installation)),
		VolumePath: func(string) (string, error) { return "", driver.ErrNotFound },
	})
	if err != nil {
		return nil, nil, err
	}
	state, err := store.EmbeddedOptions{Engine: engine, Dir: dir, Volume: stateVolume}.Config()
	return state, func() { _ = engine.Close() }, err
}
