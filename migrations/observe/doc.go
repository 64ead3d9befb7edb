// Package observe finds out what each statement of a migration did: which locks it took and how long they were held, what it
// rewrote, scanned, wrote and cost.
//
// It asks in the migration's own session and transaction: between two statements of a text that is sent as one query, Query
// puts a probe, a statement that reads pg_locks, the counters of the transaction and the sizes of what is locked. That costs no round
// trip and changes no transaction, and it is complete, since PostgreSQL keeps the locks on relations until the transaction
// ends. A statement that may not run in a transaction block is watched from a second session instead (Watch), which
// sees what lasts for some milliseconds; what its kind is documented to take is added.
//
// Nothing in here fails a migration: what cannot be observed is left out.
package observe
