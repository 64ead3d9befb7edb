// Package proof shows that no value of a masked column survives in a template, and puts its name to it.
//
// While rows stream by, an Observer keeps a keyed fingerprint of every original value of the masked columns in a file
// beside the template (Recorder). The finished template is then read from end to end (Scanner): rows, statistics, the
// whole catalog, large objects, and after the clean stop the raw files; a value whose fingerprint is that of an original
// is a hit. What was looked at and what was found goes into a Statement that is signed (Sign, Verify).
//
// A clear value is only ever in memory: in the row that passes, and in a small sample for the search of raw files.
// docs/adr/0006-proof-by-fingerprints.md says what can be proved, with which error rates, and why so.
package proof
