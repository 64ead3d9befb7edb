// Package archive reads the custom format of pg_dump (`pg_dump -Fc`): the header, the table of contents, and the data
// of each table, at any position and from several goroutines at once.
//
// It is written after src/bin/pg_dump/pg_backup_archiver.c and pg_backup_custom.c of PostgreSQL and understands the
// versions 1.12 (PostgreSQL 9.0) to 1.16 (PostgreSQL 17 and 18). Reading the format here, and not through pg_restore,
// gives one statement per object (so that each can be run as the right role, or left out and reported), table data in
// parallel without a second process, and errors that say which object is broken. Nothing is ever written to disk.
package archive
