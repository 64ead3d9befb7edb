package mayfly

import (
	"strings"
	"time"
)

// Project is one application: a repository, its production source, its masking rules and its migration settings.
// Projects come from the server's configuration file; a repository can narrow, but never widen, what is set here.
type Project struct {
	// Name is the first part of every preview's name: lower case, digits and '-', at most 30 bytes.
	Name string
	// Repository is "owner/name" on the forge, or "" for a project without pull requests (sandboxes only).
	Repository string
	// RepositoryID is the repository's id, for those who want to say it; 0 means the id that Repository had when it was first seen.
	RepositoryID int64
	Source       Source
	// RulesFile is the absolute path of the project's sanitize.yaml.
	RulesFile  string
	Postgres   PostgresSettings
	Migrations MigrationSettings
	Previews   PreviewSettings
	Templates  TemplateSettings
	// KeepTemplates is how many ready templates are kept besides those in use. At least 1.
	KeepTemplates int
}

// TemplateSettings say when templates are built, and what is done to them on the way.
type TemplateSettings struct {
	// Schedule is a cron expression of five fields, "" for builds on request only. TimeZone is the name of its time zone, "" for UTC.
	Schedule, TimeZone string
	// Jitter is how much later than its schedule a build may begin: a moment is drawn, so that not everything begins at once.
	Jitter time.Duration
	// MaxAge is how old the newest template may be before people are warned. 0 means never.
	MaxAge time.Duration
	// DiskEstimate is how many bytes a template takes in the pool, for those who know better than the estimate. 0 means to estimate.
	DiskEstimate int64
	Hooks        HookSettings
	// RefuseFindings is the least severity of a finding with which a template is not promoted: "error", "warning", "info", or
	// "none" for never. "" means "error".
	RefuseFindings string
	Policy         TemplatePolicy
}

// HookSettings name files of SQL that run in a template while it is built, as its owner, each in a transaction of its own.
type HookSettings struct {
	// AfterLoad run when the rows are there and the indexes are not; AfterMasking when everything is there, before the template is
	// verified. Absolute paths. Rows are masked at both times.
	AfterLoad, AfterMasking []string
	// StatementTimeout cuts a statement that hangs. 0 means 10 minutes.
	StatementTimeout time.Duration
}

// Source is where production data comes from. Exactly one of DSN and Archive is set.
type Source struct {
	// DSN is the connection string of a live server, a read replica preferred. A secret: never logged.
	DSN string
	// MaxConnections is how many connections to a live server a build holds at most. 0 means one per worker.
	MaxConnections int
	// RateLimit is how many bytes a second all connections to a live server together read at most. 0 means unbounded.
	RateLimit int64
	// StatementTimeout ends a statement on a live server, reading one table being the longest. 0 means 6 hours.
	StatementTimeout time.Duration
	// LockTimeout ends waiting for a lock on a live server. 0 means a minute.
	LockTimeout time.Duration
	// Archive is the path or URL of a dump of any kind: file, https, s3 or gs; a pattern in its last element means the newest match.
	Archive string
	// Checksum is what an Archive of one file must have, "sha256:…" or "sha512:…"; "" means what lies beside it, if anything.
	Checksum string
	// HeaderFile is the absolute path of a file with headers that are sent with HTTPS requests for an Archive, or "".
	HeaderFile string
	// Database is which database of an Archive that holds several (a pg_dumpall script, a base backup) is meant; "" means
	// the one called PostgresSettings.Database, or the only one.
	Database string
	// WAL is the path of a directory with archived WAL segments that are replayed onto a base backup, or "".
	WAL string
	// RecoverTo is the moment that a base backup is brought to; nil means the end of its WAL.
	RecoverTo *time.Time
}

// Describe names the source for people and logs without any secret: "live" or "archive <path>".
func (s Source) Describe() string {
	if s.Archive != "" {
		if address, _, ok := strings.Cut(s.Archive, "?"); ok && strings.Contains(address, "://") {
			return "archive " + address // the query may be a signature
		}
		return "archive " + s.Archive
	}
	return "live"
}

// PostgresSettings say what runs in templates and previews.
type PostgresSettings struct {
	// Major is the PostgreSQL major version: 13, 15, 17 or 18 (any that an image exists for).
	Major int
	// Image is an image reference, or "" for the automatic choice (postgres:<major>, else mayfly-postgres:<major>).
	Image string
	// Database is the name of the one application database in the template, as the application knows it.
	Database string
	// Owner is the role that owns the database and everything in it, and that clients log in as.
	Owner string
}

// MigrationToolAuto has the migration tool found out from the files of the repository and the tables of the template.
const MigrationToolAuto = "auto"

// MigrationTools lists the migration tools that Mayfly applies natively, by their names in the configuration.
func MigrationTools() []string {
	return []string{
		"golang-migrate", "goose", "dbmate", "flyway", "prisma", "drizzle", "sqlx", "diesel", "supabase", "atlas", "liquibase", "sqitch", "sql",
	}
}

// RunnerTools lists the migration tools whose migrations are code: they run as the project's own command, in a container of the
// project's own image.
func RunnerTools() []string {
	return []string{"rails", "django", "alembic", "ecto", "knex", "typeorm", "sequelize", "prisma-client", "command"}
}

// RunnerSettings say how a project's own migration command runs. They come from the server's configuration alone.
type RunnerSettings struct {
	// Image has the project's dependencies. It need not have the project's code: that comes from the pull request.
	Image string
	// Command is the command; nil means the tool's usual one.
	Command []string
	// User runs it; "" means the image's own.
	User string
	// Dir is where the checkout is put; "" means a directory of Mayfly's own.
	Dir string
	// Link are symbolic links to make in the checkout, to what the image has: name by absolute target.
	Link map[string]string
	// Env are further variables. Secrets are as well, but for that they come from files and are hidden in what the command prints.
	Env, Secrets map[string]string
	// Allow are the hosts that may be reached by HTTPS, "host:port"; none by default.
	Allow []string
	// The limits. 0 means the default: 2 GiB, 2 CPUs, 512 processes, 2 GiB of disk, 16 MiB of output, 256 MiB of /tmp.
	MemoryBytes int64
	CPUs        float64
	Pids        int64
	DiskBytes   int64
	OutputBytes int64
	TmpBytes    int64
}

// MigrationSettings say where a repository keeps its migrations and how they are applied.
type MigrationSettings struct {
	// Tool is one of MigrationTools or RunnerTools, MigrationToolAuto to find it out from the files and the tracking table, or "" for no migrations.
	Tool string
	// Path is the directory in the repository, for example "db/migrations".
	Path string
	// Table is the tracking table; "" means the tool's default.
	Table string
	// Placeholders are what Flyway replaces ${name} with in its scripts.
	Placeholders map[string]string
	// Contexts and Labels are what Liquibase runs with: the active contexts, and an expression of labels. Empty means everything.
	Contexts []string
	Labels   string
	// Timeout bounds all pending migrations of one run together. 0 means an hour.
	Timeout time.Duration
	// StatementTimeout cuts a statement that hangs. 0 means the server's default.
	StatementTimeout time.Duration
	// LockTimeout cuts a statement that waits for a lock. 0 means the server's default.
	LockTimeout time.Duration
	// AlwaysRebuild rebuilds a preview from its template for every new commit, also where the new migrations only extend
	// the applied ones.
	AlwaysRebuild bool
	// Seed are SQL files or directories of the repository that are executed once, after the migrations.
	Seed []string
	// NoRehearsal leaves out the rehearsal of the pull request's down migrations.
	NoRehearsal bool
	// Load has the migrations run once more on a clone with others at work; its zero value does not.
	Load MigrationLoad
	// Runner is how the project's own command runs, for RunnerTools.
	Runner RunnerSettings
}

// MigrationLoad is how many sessions read and write each table that the migrations work on, on a clone of its own.
type MigrationLoad struct{ Readers, Writers int }

// PreviewSettings limit what previews of a project may use.
type PreviewSettings struct {
	// TTL is how long a sandbox lives unless extended. 0 means 7 days.
	TTL time.Duration
	// PullRequestTTL bounds a pull request's preview while its pull request is open. 0 means unbounded.
	PullRequestTTL time.Duration
	// IdleAfter is how long a preview may have no connection before it is suspended. 0 means 30 minutes; < 0 never.
	IdleAfter time.Duration
	// MemoryBytes, CPUs, Pids and ShmBytes bound the container. 0 means the server's default.
	MemoryBytes int64
	CPUs        float64
	Pids        int64
	ShmBytes    int64
	// DiskBytes is how much a preview may write on top of its template. 0 means the server's default.
	DiskBytes int64
	// MaxPreviews bounds the live previews of this project. 0 means unbounded.
	MaxPreviews int
	// MaxSnapshots bounds the snapshots of this project, the origins of branches not counted. 0 means 20.
	MaxSnapshots int
	// SizeClasses are the server's size classes that previews of this project may have. nil means those that exceed none of the limits
	// above.
	SizeClasses []string
	// PullRequests says which pull requests get a preview.
	PullRequests PullRequestPolicy
}

// TemplatePolicy says what becomes of kinds of objects that a preview cannot use as production does.
type TemplatePolicy struct {
	// Publications: PolicyDrop ("" too), or PolicyKeep for applications whose migrations alter them.
	Publications string
	// ForeignTables: PolicyReplace ("" too) puts an ordinary, empty table in the place of each; PolicyDrop leaves them out, with
	// what depends on them.
	ForeignTables string
}

// What a TemplatePolicy may say.
const (
	PolicyDrop    = "drop"
	PolicyKeep    = "keep"
	PolicyReplace = "replace"
)
