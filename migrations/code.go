package migrations

import (
	"cmp"
	"context"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/runner"
)

// code is a tool whose migrations are code of the project. What it has and what it lacks is told from its files and its
// tracking table, as for the others; applying is left to the tool itself, which package runner runs.
type code struct{ tool string }

// codeTool returns the implementation for such a tool, or nil.
func codeTool(name string) tool {
	if _, ok := runner.PresetOf(name); !ok {
		return nil
	}
	return setTool{code{name}}
}

// Code reports whether the settings' tool runs as a command of the project.
func Code(settings mayfly.MigrationSettings) bool { return runner.Is(settings) }

func (c code) rules() rules {
	switch c.tool {
	case Django, Alembic, runner.Command: // what comes before what is no matter of versions
		return rules{anyPosition: true}
	}
	return rules{}
}

func (c code) compare(a, b string) int {
	switch c.tool {
	case Rails, Ecto:
		x, errX := strconv.ParseUint(a, 10, 64)
		y, errY := strconv.ParseUint(b, 10, 64)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
	case Knex, Sequelize, runner.PrismaClient:
		return strings.Compare(a, b)
	case TypeORM:
		return cmp.Compare(classStamp(a), classStamp(b))
	}
	return 0
}

func (code) script(Migration) (script, error) { return script{}, nil }

func (c code) prepare(context.Context, *run) error {
	return invalid("push the branch: its preview runs the command", "the migrations of %s are code: they run as the project's own command, in a container, and not from here", c.tool)
}

func (code) record(context.Context, *run, Migration, time.Duration) error { return nil }

// FindingUnreached is a migration that is pending still after the project's own command succeeded.
const FindingUnreached FindingKind = "unreached"

// codeFile is what a file says of itself.
type codeFile struct {
	version, name string
	after         []string // the versions before it, for tools that say so
}

var (
	stampedName  = regexp.MustCompile(`^0*(\d+)_(.+)\.(rb|exs)$`)
	alembicID    = regexp.MustCompile(`(?m)^revision(?:\s*:[^=\n]+)?\s*=\s*["']([^"'\n]+)["']`)
	alembicDown  = regexp.MustCompile(`(?m)^down_revision(?:\s*:[^=\n]+)?\s*=\s*([^\n]*(?:\([^)]*\))?[^\n]*)`)
	pythonText   = regexp.MustCompile(`["']([^"'\n]+)["']`)
	typeormClass = regexp.MustCompile(`class\s+(\w+)\s+implements\s+MigrationInterface|class\s+(\w*\d{13})\b`)
	typeormName  = regexp.MustCompile(`(?m)^\s*(?:public\s+)?(?:readonly\s+)?name\s*(?::\s*string\s*)?=\s*["'` + "`" + `]([^"'` + "`" + `\n]+)`)
	djangoFile   = regexp.MustCompile(`^(?:.*/)?([^/]+)/migrations/([^/]+)\.py$`)
)

// CodeFile reports whether a file can be a migration of the settings' tool, by its path alone.
func CodeFile(settings mayfly.MigrationSettings, file string) bool {
	base := path.Base(file)
	switch settings.Tool {
	case Rails:
		return strings.HasSuffix(base, ".rb")
	case Ecto:
		return strings.HasSuffix(base, ".exs")
	case Django:
		return djangoFile.MatchString(file) && base != "__init__.py"
	case Alembic:
		return strings.HasSuffix(base, ".py") && base != "__init__.py"
	case Knex, Sequelize, TypeORM:
		return slices.Contains([]string{".js", ".cjs", ".mjs", ".ts"}, path.Ext(base)) && !strings.HasSuffix(base, ".d.ts")
	case runner.PrismaClient:
		return base == "migration.sql"
	}
	return settings.Path != ""
}

// read returns what a file says. False if it is no migration.
func (c code) read(f File) (codeFile, bool) {
	base, text := path.Base(f.Path), string(f.Content)
	switch c.tool {
	case Rails, Ecto:
		match := stampedName.FindStringSubmatch(base)
		if match == nil {
			return codeFile{}, false
		}
		return codeFile{version: match[1], name: match[2]}, true
	case Django:
		match := djangoFile.FindStringSubmatch(f.Path)
		if match == nil || !strings.Contains(text, "Migration") {
			return codeFile{}, false
		}
		return codeFile{version: match[1] + "." + match[2], name: match[2]}, true
	case Alembic:
		return readAlembic(base, text)
	case TypeORM:
		return readTypeORM(text)
	case runner.PrismaClient:
		dir := path.Base(path.Dir(f.Path))
		return codeFile{version: dir, name: dir}, true
	case Knex, Sequelize:
		return codeFile{version: base, name: strings.TrimSuffix(base, path.Ext(base))}, true
	}
	return codeFile{version: f.Path, name: base}, true
}

func readAlembic(base, text string) (codeFile, bool) {
	match := alembicID.FindStringSubmatch(text)
	if match == nil {
		return codeFile{}, false
	}
	found := codeFile{version: match[1], name: strings.TrimPrefix(strings.TrimSuffix(base, ".py"), match[1]+"_")}
	if down := alembicDown.FindStringSubmatch(text); down != nil {
		for _, id := range pythonText.FindAllStringSubmatch(down[1], -1) {
			found.after = append(found.after, id[1])
		}
	}
	return found, true
}

// readTypeORM finds the name that the tool records: that of the class, unless the class says another.
func readTypeORM(text string) (codeFile, bool) {
	class := typeormClass.FindStringSubmatch(text)
	if class == nil {
		return codeFile{}, false
	}
	name := cmp.Or(class[1], class[2])
	if own := typeormName.FindStringSubmatch(text); own != nil {
		name = own[1]
	}
	return codeFile{version: name, name: name}, true
}

func (c code) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	for _, f := range filesBelow(settings, files) {
		if !CodeFile(settings, f.Path) {
			continue
		}
		found, ok := c.read(f)
		if !ok {
			if c.tool != Knex && c.tool != Sequelize {
				history.Findings = append(history.Findings, ignored(f.Path, "it does not look like a migration of "+c.tool))
			}
			continue
		}
		history.Migrations = append(history.Migrations, Migration{
			Version: found.version, Name: found.name, Up: &f, refused: badName(f), own: found.after,
		})
	}
	switch c.tool {
	case Rails, Ecto:
		history.order(c.compare)
	case Alembic:
		history.Migrations = afterWhatTheyNeed(history.Migrations)
		history.markDuplicates()
	case TypeORM: // the tool orders by the stamp at the end of the name
		slices.SortStableFunc(history.Migrations, func(a, b Migration) int { return cmp.Compare(classStamp(a.Version), classStamp(b.Version)) })
		history.markDuplicates()
	default:
		history.markDuplicates()
	}
	return history, nil
}

func classStamp(name string) uint64 {
	n, _ := strconv.ParseUint(name[max(0, len(name)-13):], 10, 64)
	return n
}

// before returns the versions that a migration says come before it.
func (m Migration) before() []string {
	after, _ := m.own.([]string)
	return after
}

// afterWhatTheyNeed orders migrations behind those that they name, and otherwise leaves them as they are. What is part of a
// circle comes last.
func afterWhatTheyNeed(all []Migration) []Migration {
	known, placed := map[string]bool{}, map[string]bool{}
	for _, m := range all {
		known[m.Version] = true
	}
	ordered := make([]Migration, 0, len(all))
	left := slices.Clone(all)
	for len(left) > 0 {
		var later []Migration
		for _, m := range left {
			if slices.ContainsFunc(m.before(), func(v string) bool { return known[v] && !placed[v] }) {
				later = append(later, m)
				continue
			}
			ordered, placed[m.Version] = append(ordered, m), true
		}
		if len(later) == len(left) {
			return append(ordered, left...)
		}
		left = later
	}
	return ordered
}

// codeTable is a tool's tracking table and what to read of it: one column of text, in the order of applying.
func (c code) codeTable() (standard, columns, order string) {
	switch c.tool {
	case Rails:
		return "schema_migrations", "version::text", "version COLLATE \"C\""
	case Ecto:
		return "schema_migrations", "version::text", "version"
	case Django:
		return "django_migrations", "app || '.' || name", "id"
	case Alembic:
		return "alembic_version", "version_num::text", "1"
	case Knex:
		return "knex_migrations", "name::text", "id"
	case Sequelize:
		return "SequelizeMeta", "name::text", "1"
	case TypeORM:
		return "migrations", "name::text", "id"
	case runner.PrismaClient:
		return "_prisma_migrations", "migration_name::text", "started_at"
	}
	return "", "", ""
}

func (c code) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	standard, column, order := c.codeTable()
	if standard == "" {
		return State{}, nil
	}
	setting := settings.Table
	if setting == "" && standard != strings.ToLower(standard) {
		setting = pgx.Identifier{standard}.Sanitize() // or else the name would be folded
	}
	table, err := findTable(ctx, conn, setting, standard)
	if err != nil {
		return State{}, err
	}
	query := `SELECT ` + column + ` FROM ` + table.quoted() + ` ORDER BY ` + order
	if c.tool == runner.PrismaClient {
		query = `SELECT ` + column + ` FROM ` + table.quoted() + ` WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY ` + order
	}
	state, err := readApplied(ctx, conn, table, query, scanVersion)
	for i, a := range state.Applied {
		if n, err := strconv.ParseUint(a.Version, 10, 64); err == nil && (c.tool == Rails || c.tool == Ecto) {
			state.Applied[i].Version = strconv.FormatUint(n, 10)
		}
	}
	return state, err
}

// complete fills in what the tracking table does not say, and leaves out what is not the repository's: alembic's names the newest
// of each branch alone, and Django's has the migrations of every installed library.
func (c code) complete(h *History, state State) State {
	switch c.tool {
	case Alembic:
		applied := state.Applied
		seen := map[string]bool{}
		for _, a := range applied {
			seen[a.Version] = true
		}
		for i := 0; i < len(applied); i++ {
			m, _ := h.find(applied[i].Version)
			for _, version := range m.before() {
				if _, known := h.find(version); known && !seen[version] {
					seen[version] = true
					applied = append(applied, Applied{Version: version})
				}
			}
		}
		state.Applied = applied
	case Django:
		apps := map[string]bool{}
		for _, m := range h.Migrations {
			app, _, _ := strings.Cut(m.Version, ".")
			apps[app] = true
		}
		state.Applied = slices.DeleteFunc(slices.Clone(state.Applied), func(a Applied) bool {
			app, _, _ := strings.Cut(a.Version, ".")
			return !apps[app]
		})
	}
	return state
}

// Reached compares what was pending with the tracking table after a run of the project's own command, and lists in the report
// what the table has by now as applied and the rest as pending.
func (h *History) Reached(plan Plan, now State, report *Report) {
	report.Pending, report.Applied = []Remaining{}, []Step{}
	applied := map[string]bool{}
	if own, ok := h.impl.(setTool); ok {
		if c, ok := own.dialect.(code); ok {
			now = c.complete(h, now)
		}
	}
	for _, a := range now.Applied {
		applied[a.Version] = true
	}
	if plan.Tool == runner.Command {
		return
	}
	for i, m := range plan.Pending {
		if !applied[m.Version] {
			report.Pending = append(report.Pending, Remaining{Version: m.Version, Name: m.Name, File: m.file()})
			continue
		}
		report.Applied = append(report.Applied, Step{
			Version: m.Version, Name: m.Name, File: m.file(), SHA: m.sha(), Index: i + 1, Total: len(plan.Pending), Done: true,
		})
		report.ToVersion = m.Version
	}
}
