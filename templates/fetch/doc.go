// Package fetch brings the files that templates are built from to this machine: it finds the newest of a series, downloads
// from S3-compatible storage, Google Cloud Storage and HTTPS, resumes what was interrupted, and verifies checksums before
// anybody reads a byte. Files that are here already are used where they are.
package fetch
