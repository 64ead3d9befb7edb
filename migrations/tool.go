package migrations

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// The tools that are applied natively, as in MigrationSettings.Tool.
const (
	GolangMigrate = "golang-migrate"
	Goose         = "goose"
	Dbmate        = "dbmate"
	Flyway        = "flyway"
	Prisma        = "prisma"
	Drizzle       = "drizzle"
	SQLx          = "sqlx"
	Diesel        = "diesel"
	Supabase      = "supabase"
	Atlas         = "atlas"
	Liquibase     = "liquibase"
	Sqitch        = "sqitch"
	// PlainSQL is numbered SQL files without a tool.
	PlainSQL = "sql"
	// Auto finds the tool out from the files and the tracking table (Detect).
	Auto = mayfly.MigrationToolAuto
)

// tool is one migration tool's way of naming files, keeping track, ordering and executing. An implementation holds no
// state: what it needs later it puts into the History and the Plan.
type tool interface {
	// parse orders the files. Its errors are *mayfly.Error with CodeMigrationInvalid.
	parse(settings mayfly.MigrationSettings, files []File) (*History, error)
	// readState reads the tracking table without changing anything.
	readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error)
	// plan is pure. With an error it returns what is known all the same.
	plan(history *History, c Comparison) (Plan, error)
	// apply executes a plan that has something pending, filling in the report as it goes.
	apply(ctx context.Context, conn *pgx.Conn, plan Plan, opts ApplyOptions, report *Report) error
}

// Tools lists the names of the tools that are applied natively.
func Tools() []string { return mayfly.MigrationTools() }

// native returns the implementation of a tool by its name, or nil.
func native(name string) tool {
	switch name {
	case "":
		return noTool{}
	case GolangMigrate:
		return golangMigrate{}
	case Goose:
		return setTool{goose{}}
	case Dbmate:
		return setTool{dbmate{}}
	case SQLx:
		return setTool{sqlx{}}
	case Diesel:
		return setTool{diesel{}}
	case Supabase:
		return setTool{supabase{}}
	case Flyway:
		return setTool{flyway{}}
	case Prisma:
		return setTool{prisma{}}
	case Drizzle:
		return setTool{drizzle{}}
	case Atlas:
		return setTool{atlas{}}
	case Liquibase:
		return setTool{liquibase{}}
	case Sqitch:
		return setTool{sqitch{}}
	case PlainSQL:
		return setTool{plain{}}
	}
	return nil
}

// toolFor finds the implementation for the settings.
func toolFor(settings mayfly.MigrationSettings) (tool, error) {
	if impl := native(settings.Tool); impl != nil {
		return impl, nil
	}
	if impl := codeTool(settings.Tool); impl != nil {
		return impl, nil
	}
	if settings.Tool == Auto {
		return nil, mayfly.Errorf(mayfly.CodeMigrationInvalid, "the migration tool has not been found out yet").
			WithHint("set migrations.tool")
	}
	return nil, mayfly.Errorf(mayfly.CodeMigrationInvalid, "migration tool %q is not known", settings.Tool).
		WithHint("set migrations.tool to one of %s, or leave migrations.path out for a project without migrations", strings.Join(Tools(), ", "))
}

// Parse finds the migrations among the files of one commit. files may hold any files of the repository: those that are
// not directly in settings.Path are passed over. A directory that does not exist gives an empty history. What the tool
// would refuse gives an *mayfly.Error with CodeMigrationInvalid.
func Parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	impl, err := toolFor(settings)
	if err != nil {
		return nil, err
	}
	history, err := impl.parse(settings, files)
	if err != nil {
		return nil, err
	}
	history.Tool, history.settings, history.impl = settings.Tool, settings, impl
	return history, nil
}

// ReadState reads what the database already has. Connect as the application's role: where its tracking table is can
// depend on the role's search_path.
func ReadState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	impl, err := toolFor(settings)
	if err != nil {
		return State{}, err
	}
	return impl.readState(ctx, conn, settings)
}

// noTool is a project without migrations.
type noTool struct{}

func (noTool) parse(mayfly.MigrationSettings, []File) (*History, error) { return &History{}, nil }

func (noTool) readState(context.Context, *pgx.Conn, mayfly.MigrationSettings) (State, error) {
	return State{}, nil
}

func (noTool) plan(*History, Comparison) (Plan, error) { return Plan{impl: noTool{}}, nil }

func (noTool) apply(context.Context, *pgx.Conn, Plan, ApplyOptions, *Report) error { return nil }
