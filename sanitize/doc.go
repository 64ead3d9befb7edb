// Package sanitize turns production rows into rows that a preview may see, while they stream by.
//
// Rules (a YAML file) say what happens to each column. Plan binds them to the tables of a source and fails closed: a
// column that nobody classified, a rule that matches nothing, or a transformer that cannot fit its column is an error,
// never a guess. A TableMasker makes Writers, which read the text format of COPY, mask the columns that the rules name
// and write COPY text again.
//
// Every transformer is deterministic under a secret key: equal values of one domain get equal results, in every table
// and in every build, so that joins and foreign keys still hold. docs/sanitize.md is the reference for people.
package sanitize
