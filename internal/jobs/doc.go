// Package jobs is the queue: which kinds of work there are, how long each may take, how it is retried, and which of it is
// periodic. It runs on River, whose tables live beside Mayfly's own in the state database, so that a change and the work it causes are
// one transaction. The work itself is elsewhere (Handlers).
package jobs
