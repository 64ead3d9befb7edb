package provisioner

import (
	"context"
	"errors"
	"io"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Logs writes the last lines of what a preview's Postgres wrote to w and, with follow, goes on until ctx ends or that Postgres stops.
// No secret of Mayfly's is in it; statements that failed, of whoever made them, are. CodeConflict if there is no instance to read from.
func (s *Service) Logs(ctx context.Context, p *mayfly.Preview, lines int, follow bool, w io.Writer) error {
	var err error
	follower, can := s.Engine.(driver.LogFollower)
	switch {
	case p.ObservedGeneration == 0:
		err = driver.ErrNotFound
	case follow && !can:
		return mayfly.Errorf(mayfly.CodeConflict, "this engine cannot follow a log").WithHint("read it without follow")
	case follow:
		err = follower.FollowLogs(ctx, p.Instance(), lines, w)
	default:
		var text []byte
		if text, err = s.Engine.Logs(ctx, p.Instance(), lines); err == nil {
			_, err = w.Write(text)
		}
	}
	if errors.Is(err, driver.ErrNotFound) {
		return mayfly.Errorf(mayfly.CodeConflict, "preview %s has no Postgres yet, or none any more", p.Name).WithHint("it is %s: mayfly get %s", p.State, p.Name)
	}
	return err
}
