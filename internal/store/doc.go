// Package store keeps Mayfly's state in Postgres: previews with what should be and what is, their timelines, templates,
// the inbox of deliveries, and what was told to the forge. Its own schema is in schema/ (numbered SQL files, applied by
// tern at start); it has nothing to do with the top-level migrations package, which is about the customers' repositories.
//
// Everything that must happen together happens in one transaction, including the jobs that a change causes (Enqueuer).
// Every change of a preview, a template or a step is announced on the channel "mayfly", so that waiting needs no polling
// (Watch).
package store
