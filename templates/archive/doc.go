// Package archive reads what pg_dump writes, without a server: the custom, directory and tar formats and scripts, each also
// compressed as a whole. An Archive is a table of contents and the data of each table, at any position and from
// several goroutines at once where the file permits.
//
// The formats are those of src/bin/pg_dump/pg_backup_archiver.c, pg_backup_custom.c, pg_backup_directory.c and
// pg_backup_tar.c of PostgreSQL, in the versions 1.12 (PostgreSQL 9.0) to 1.16 (PostgreSQL 17 and 18); scripts are cut into
// statements as psql does. Reading them here, and not through pg_restore, gives one statement per object (so that each
// can be run as the right role, or left out and reported), table data in parallel without a second process, and errors
// that say which object is broken. Nothing is ever written to disk.
//
// What only looks like such a dump, or cannot be read without a server, is recognised by Detect and NeedsRestore.
package archive
