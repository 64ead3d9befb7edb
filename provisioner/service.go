package provisioner

import (
	"context"
	"log/slog"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Engine is what the provisioner needs of an engine.
type Engine interface {
	driver.Engine
	driver.Inspector
}

// Forge is what the provisioner needs of GitHub; internal/forge implements it. Repositories are named by their id, which
// survives renames and transfers.
type Forge interface {
	PolicyForge

	Repository(ctx context.Context, fullName string) (forge.Repository, error)
	PullRequest(ctx context.Context, repositoryID int64, number int) (*forge.PullRequest, error)
	OpenPullRequests(ctx context.Context, repositoryID int64) ([]*forge.PullRequest, error)
	BranchHead(ctx context.Context, repositoryID int64, branch string) (sha string, err error)
	Files(ctx context.Context, repositoryID int64, sha, dir string) ([]forge.File, error)
	Announcer
}

// Announcer is how people on GitHub are told; internal/forge implements it.
type Announcer interface {
	// SetCheck, SetDeployment and UpsertComment return the id of what they made or changed, to be given to the next call.
	SetCheck(ctx context.Context, repositoryID int64, sha string, known int64, check forge.Check) (int64, error)
	SetDeployment(ctx context.Context, repositoryID, known int64, d forge.Deployment) (int64, error)
	UpsertComment(ctx context.Context, repositoryID int64, number int, known int64, marker, body string) (int64, error)
	RetireDeployments(ctx context.Context, repositoryID int64, environment string) error
}

// Sealer encrypts credentials at rest; context binds a ciphertext to the preview it belongs to.
type Sealer interface {
	Seal(plaintext, context []byte) []byte
	Open(sealed, context []byte) ([]byte, error)
}

// Connections is what the provisioner needs of the gateway.
type Connections interface {
	// Active returns how many clients are connected to the preview through this process.
	Active(previewID string) int
	// Disconnect ends the preview's client connections through this process.
	Disconnect(previewID string)
}

// Projects looks up what the server's configuration says.
type Projects interface {
	Project(name string) (mayfly.Project, bool)
	Projects() []mayfly.Project
}

// Options are what a Service is made of.
type Options struct {
	Store       *store.Store
	Watcher     *store.Watcher
	Engine      Engine
	Volumes     driver.Volumes
	Projects    Projects
	Forge       Forge // nil without pull requests
	Sealer      Sealer
	Connections Connections
	Clock       func() time.Time
	Logger      *slog.Logger
	// MaxPreviews bounds the live previews of the installation. 0 means unbounded.
	MaxPreviews int
	// Quotas bound what previews may use together.
	Quotas Quotas
	// ExternalURL is where people reach this service, for links in comments and statuses; "" for no links.
	ExternalURL string
	// CommentEvery is the least time between two edits of a pull request's comment; 0 for none. What is left out is told after it.
	CommentEvery time.Duration
	// WatchDisk makes Expire suspend previews that outgrow their disk limit, for pools that do not enforce it themselves.
	WatchDisk bool
	// SizeClasses are the limits that a preview can be made with, by name.
	SizeClasses map[string]mayfly.SizeClass
	// MigrationSlots is how many pull requests' migrations may run at the same time; fewer than there are workers. 0 means 6.
	MigrationSlots int
	// LooksPersonal, if set, guesses from a column's name and type what personal data it holds; "" for none.
	LooksPersonal func(column, typ string) (kind string)
	// Code runs migrations that are code of the project; nil for servers that cannot.
	Code *Code
	// Checkpoint, if set, is called between any two steps of creation and deletion with the name of the step that comes.
	// Tests use it to kill the process there.
	Checkpoint func(step string)
}

// Service makes, keeps and removes previews. Its methods may be called concurrently and from several processes.
type Service struct {
	Options

	slots     chan struct{} // one element for each pull request whose migrations run
	trialling chan struct{} // one element while a trial runs
	shots     chan struct{} // one element for each snapshot that is made

	archives archiveCache

	mu           sync.Mutex
	repositories map[string]knownRepository // by lower-case full name
	hooksAt      time.Time                  // when the webhooks of repositories were looked for
	knownHooks   []forge.Hook
}

type knownRepository struct {
	id     int64
	branch string // the default one
	at     time.Time
}

// New makes a Service.
func New(opts Options) *Service {
	if opts.Checkpoint == nil {
		opts.Checkpoint = func(string) {}
	}
	s := &Service{Options: opts, slots: make(chan struct{}, or(opts.MigrationSlots, 6)), trialling: make(chan struct{}, 1), shots: make(chan struct{}, maxShots), repositories: map[string]knownRepository{}}
	if opts.Store != nil {
		opts.Store.SetLimits(s.limitsOf)
	}
	return s
}

// defaults for what a project's configuration leaves at zero.
const (
	defaultTTL         = 7 * 24 * time.Hour
	defaultIdleAfter   = 30 * time.Minute
	defaultMemoryBytes = 1 << 30
	defaultCPUs        = 2
	defaultPids        = 256
	defaultDiskBytes   = 10 << 30
	// maxShots bounds the snapshots that one process makes at the same time.
	maxShots = 4
	// defaultMigrationTimeout bounds all migrations of one run together.
	defaultMigrationTimeout = time.Hour
)

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// step runs fn as an entry of the preview's timeline. A timeline that cannot be written does not stop the work.
func (s *Service) step(ctx context.Context, p *mayfly.Preview, name, detail string, fn func(context.Context) (string, error)) error {
	s.Checkpoint(name)
	id, recordErr := s.Store.BeginStep(ctx, p.ID, name, detail)
	started := s.Clock()
	detail, err := fn(ctx)
	errText := ""
	if err != nil {
		errText = mayfly.FailureOf(err).Message
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	s.Logger.Log(ctx, level, "preview step", "preview", p.Name, "step", name, "detail", detail, "took", s.Clock().Sub(started), "error", err)
	if recordErr == nil {
		// The entry is ended also when ctx was cancelled during the step.
		endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		recordErr = s.Store.EndStep(endCtx, id, detail, errText)
	}
	if recordErr != nil {
		s.Logger.WarnContext(ctx, "cannot record a step", "preview", p.Name, "step", name, "error", recordErr)
	}
	return err
}
