// Package archtest holds the tests of the code's structure: which package may import which, and that every package says
// what it is. The rules and their reasons are the table in archtest_test.go; ARCHITECTURE.md draws the same picture.
package archtest
