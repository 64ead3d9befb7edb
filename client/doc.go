// Package client is the Go client of Mayfly's API, and the API's wire types: what the server writes is what the client
// reads. The command line is built on it.
package client
