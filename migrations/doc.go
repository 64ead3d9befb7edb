// Package migrations finds, classifies and applies the migrations of an application's repository on a preview, and
// reports what happened. It has nothing to do with the schema of Mayfly's own state database, which internal/store
// keeps.
//
// The flow is Detect (which tool it is, where the settings say "auto"), Parse (files of one commit to a History),
// ReadState (what the database already has), History.Compare (the Plan: the status of every migration, and what is
// pending) and Apply (the Report). Detect, Parse and Compare are pure; the other two take one connection, logged in as the
// application's role.
//
// Each migration tool is one implementation of the tool interface, found by its name in native. golang-migrate, which
// keeps one version number, is one by itself. The others keep a row for every migration: each is a dialect (its file names and
// notation, its tracking table, its rules about gaps and edits, its transactions and its lock), and setTool does the
// rest. A tool is followed exactly, so that the project's own command agrees afterwards that nothing is left to do.
package migrations
