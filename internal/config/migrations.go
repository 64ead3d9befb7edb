package config

import (
	"path"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

type fileMigrations struct {
	Tool             string   `yaml:"tool"`
	Path             string   `yaml:"path"`
	Table            string   `yaml:"table"`
	Timeout          Duration `yaml:"timeout"`
	StatementTimeout Duration `yaml:"statement_timeout"`
	LockTimeout      Duration `yaml:"lock_timeout"`
	AlwaysRebuild    bool     `yaml:"always_rebuild"`
	Seed             []string `yaml:"seed"`

	Placeholders map[string]string `yaml:"placeholders"`
	Contexts     []string          `yaml:"contexts"`
	Labels       string            `yaml:"labels"`

	RehearseRollback string             `yaml:"rehearse_rollback"`
	Load             *fileMigrationLoad `yaml:"load"`
	Runner           *fileRunner        `yaml:"runner"`
}

type fileMigrationLoad struct {
	Readers *int `yaml:"readers"`
	Writers *int `yaml:"writers"`
}

// maxLoad bounds the sessions of one kind for one table: there are up to eight tables.
const maxLoad = 4

// resolve gives a load without numbers one reader and one writer for each table.
func (l *fileMigrationLoad) resolve() (mayfly.MigrationLoad, error) {
	if l == nil {
		return mayfly.MigrationLoad{}, nil
	}
	load := mayfly.MigrationLoad{Readers: 1, Writers: 1}
	for _, n := range []struct {
		given *int
		to    *int
	}{{l.Readers, &load.Readers}, {l.Writers, &load.Writers}} {
		if n.given == nil {
			continue
		}
		if *n.given < 0 || *n.given > maxLoad {
			return load, mayfly.Errorf(mayfly.CodeInvalid, "migrations.load: %d sessions for a table are not from 0 to %d", *n.given, maxLoad).
				WithHint("one reader and one writer show who has to wait")
		}
		*n.to = *n.given
	}
	return load, nil
}

// resolve checks the migrations of a project. With a path and without a tool, the tool is found out.
func (m *fileMigrations) resolve(configDir string) (mayfly.MigrationSettings, error) {
	var none mayfly.MigrationSettings
	tool, dir := m.Tool, strings.Trim(m.Path, "/")
	if tool == "" && m.Path != "" {
		tool = mayfly.MigrationToolAuto
	}
	if tools := slices.Concat(mayfly.MigrationTools(), mayfly.RunnerTools()); tool != "" && tool != mayfly.MigrationToolAuto && !slices.Contains(tools, tool) {
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.tool %q is not known", tool).
			WithHint("leave it out to have it found out, or use one of %s", strings.Join(tools, ", "))
	}
	runner, err := m.resolveRunner(configDir, tool)
	if err != nil {
		return none, err
	}
	if tool != "" && m.Path == "" && !slices.Contains(mayfly.RunnerTools(), tool) {
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.path is missing").WithHint("the directory in the repository, such as db/migrations")
	}
	if tool == "" && len(m.Seed) > 0 {
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.seed needs migrations.path").
			WithHint("seed files run after the migrations; a directory without migrations is fine")
	}
	for _, seed := range m.Seed {
		if clean := path.Clean(strings.Trim(seed, "/")); seed == "" || clean == ".." || strings.HasPrefix(clean, "../") {
			return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.seed: %q is not a path in a repository", seed).
				WithHint("write it from the root of the repository, such as db/seeds")
		}
	}
	load, err := m.Load.resolve()
	if err != nil {
		return none, err
	}
	switch m.RehearseRollback {
	case "", "on", "off", "true", "false":
	default:
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.rehearse_rollback is %q", m.RehearseRollback).WithHint("write on or off; it is on if left out")
	}
	return mayfly.MigrationSettings{
		Runner: runner, NoRehearsal: m.RehearseRollback == "off" || m.RehearseRollback == "false", Load: load,
		Tool: tool, Path: dir, Table: m.Table, Timeout: time.Duration(m.Timeout),
		StatementTimeout: time.Duration(m.StatementTimeout), LockTimeout: time.Duration(m.LockTimeout),
		AlwaysRebuild: m.AlwaysRebuild, Seed: m.Seed, Placeholders: m.Placeholders, Contexts: m.Contexts, Labels: m.Labels,
	}, nil
}
