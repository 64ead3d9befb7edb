// Package templates builds templates: from a source (a live server, or a pg_dump archive) to a sanitized, verified,
// frozen Postgres data directory that previews are cloned from. It has nothing to do with HTML.
//
// Raw data never lands in anything that a preview can see (ARCHITECTURE.md, "templates"). Rows are streamed out of one
// consistent snapshot, masked in flight by package sanitize, and loaded into a freshly initialised cluster without a
// network. Only then come indexes, constraints, materialized views and ANALYZE, so that none of them ever saw a raw
// value. The rows are counted on both sides, the cluster is stopped cleanly, its WAL is reset, and the volume frozen.
//
// Builder does one build and leaves nothing behind when it fails. Service keeps the records: which template is being
// built, which are ready, which have been replaced and may go.
package templates
