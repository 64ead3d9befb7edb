// Package reportpage shows the report of a preview's migrations to people: as one HTML page that needs nothing else, and as Markdown.
// What it shows comes of a pull request and of a database; all of it is escaped.
package reportpage
