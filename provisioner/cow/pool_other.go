//go:build !linux

package cow

import (
	"context"
	"runtime"

	"github.com/mayflydb/mayfly"
)

func unsupported() error {
	return mayfly.Errorf(mayfly.CodeInvalid, "the pool needs Linux: this is %s", runtime.GOOS).
		WithHint("run the service in its container (docker compose up) and use this program as its client")
}

func open(context.Context, Options) (*Pool, error) { return nil, unsupported() }

func probe(context.Context, Options) (Description, error) { return Description{}, unsupported() }
