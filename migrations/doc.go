// Package migrations finds, classifies and applies the migrations of an application's repository on a preview, and
// reports what happened. It has nothing to do with the schema of Mayfly's own state database, which internal/store
// keeps.
//
// The flow is Parse (files of one commit to a History), ReadState (what the database already has), History.Pending
// (the Plan) and Apply (the Report). The first and the third are pure; the other two take one connection, logged in as
// the application's role.
//
// Each migration tool is one implementation of the tool interface. golang-migrate is the one there is: its file names,
// its tracking table, its advisory lock and its order are followed exactly, so that the project's own tool agrees
// afterwards that nothing is left to do.
package migrations
