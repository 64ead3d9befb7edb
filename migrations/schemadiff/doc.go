// Package schemadiff says what a migration changed in a database's schema: it reads the catalog before and after, and
// compares object by object and property by property, not text by text.
//
// Take reads one Snapshot in one round trip; Compare is pure. A Diff marshals to JSON and renders itself as text in the
// manner of a unified diff and as Markdown. Objects are recognised by their identity in the catalog too, so that a renamed table is
// a renamed table and not one that went and one that came.
package schemadiff
