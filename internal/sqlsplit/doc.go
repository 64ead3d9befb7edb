// Package sqlsplit cuts SQL text into statements as PostgreSQL's own lexer and psql do, to say which statement of a file
// failed, on which line, and to refuse what a server could not understand.
package sqlsplit
