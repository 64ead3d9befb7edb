// Package subset selects rows of a database so that no row that is taken refers to one that is not.
//
// It knows nothing of SQL. A Graph is told of every row by an id, and of the row's keys and references as hashes; it joins them
// by sorting, marks rows through files of numbers, and can then list the rows that were selected. Memory is a few bits per row and a
// fixed buffer for sorting; everything else is in files that have no name, so that nothing is left of them when the process ends in
// whatever way. docs/adr/0007-subsets.md says why it is done here and not in the source.
package subset
