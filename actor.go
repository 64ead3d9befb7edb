package mayfly

import "context"

// Actor is who asked for something: the subject of a token, somebody on the forge, or a part of the service itself.
type Actor struct {
	// Subject names them: "alice", "github:alice", "system:expire".
	Subject string
	// TokenID is the token they used, "" if none.
	TokenID string
	// Address is the network address that the request came from, "" if it is not known.
	Address string
}

type actorKey struct{}

// WithActor returns a context that remembers who asked for what is done in it.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns who asked; {Subject: "system"} if nobody said.
func ActorOf(ctx context.Context) Actor {
	if actor, ok := ctx.Value(actorKey{}).(Actor); ok {
		return actor
	}
	return Actor{Subject: "system"}
}
