package provisioner

import (
	"context"
	"time"

	"github.com/mayflydb/mayfly/internal/forge"
)

// PolicyForge is what policies and commands need of GitHub.
type PolicyForge interface {
	RepositoryByID(ctx context.Context, id int64) (forge.Repository, error)
	File(ctx context.Context, repositoryID int64, sha, name string, limit int) (content []byte, ok bool, err error)
	ChangedFiles(ctx context.Context, repositoryID int64, number int) (paths []string, complete bool, err error)
	CommitParents(ctx context.Context, repositoryID int64, sha string) ([]string, error)
	MayWrite(ctx context.Context, repositoryID int64, login string, userID int64) (bool, error)
	React(ctx context.Context, repositoryID, commentID int64, reaction forge.Reaction) error
	Self(ctx context.Context) (string, error)
}

// DeliveryLog is the forge's log of the deliveries that it made, or tried to make.
type DeliveryLog interface {
	IsApp() bool
	RepositoryHook(ctx context.Context, repositoryID int64, address string) (hook forge.Hook, ok bool, err error)
	Deliveries(ctx context.Context, hook forge.Hook, since time.Time) ([]forge.LoggedDelivery, error)
	Redeliver(ctx context.Context, hook forge.Hook, id int64) error
}
