// Command bench measures a real Mayfly: it loads databases into a source, starts the service as its own process on a
// fresh data directory, and times what people wait for, beside the obvious alternative where there is one. `make bench`
// runs it; docs/benchmarks.md says what each figure means.
package main
