// Package forgetest is a fake GitHub: an HTTP server with the part of the REST API that internal/forge uses, answering
// from real Git repositories on disk. Tests use it, and so does the demo. Repositories and pull requests are made and
// changed through Go; every object, comment and status is read and written through HTTP, in GitHub's shapes.
//
// It needs the git program (2.30 or newer).
package forgetest
