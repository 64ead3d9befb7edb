// Package backup writes what an installation cannot make again into one file, and puts it back: the state database, keys, the
// installation's id and the proofs of templates. Templates and previews are not in it: those are made again.
//
// The file is a tar, compressed with gzip. Its first entry, manifest.json, has the size and the SHA-256 of each other. It holds the keys
// that open the passwords of previews: whoever has the file has those.
package backup
