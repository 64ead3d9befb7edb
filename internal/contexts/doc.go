// Package contexts keeps what the command line knows of servers: their addresses, which one is meant, and the tokens for them. It is
// a file and a directory of tokens below ~/.config/mayfly that only their owner can read.
package contexts
