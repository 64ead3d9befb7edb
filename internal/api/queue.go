package api

import (
	"context"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// addQueue says of those that are queued where they stand.
func (a *API) addQueue(ctx context.Context, previews ...*client.Preview) error {
	queued := false
	for _, p := range previews {
		queued = queued || p.State == string(mayfly.PreviewQueued)
	}
	if !queued {
		return nil
	}
	places, err := a.Store.QueuePlaces(ctx)
	if err != nil {
		return err
	}
	for _, p := range previews {
		if place, ok := places[p.ID]; ok {
			p.Queue = &client.Queue{Position: place.Position, Length: place.Length, Since: place.Since.UTC(), Reason: place.Why}
		}
	}
	return nil
}
