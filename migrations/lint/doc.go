// Package lint says in plain words what a migration would do to a production that is in use, and how to do it more safely.
//
// A finding comes of what happened (which locks, rewrites and scans package observe saw, how long they took and on how much data), and only
// where nothing else can tell of the text. So a table that the same migrations created is no finding, and neither is an ALTER TABLE
// that PostgreSQL does without looking at the rows. How bad a finding is, is decided by the size of the table and by the time.
//
// A finding is waived in the file: "-- mayfly:ignore index-not-concurrent the table is empty in production" in front of the statement or
// behind it on its line, or "-- mayfly:ignore-file …" for the whole file. A waiver needs a reason.
package lint
