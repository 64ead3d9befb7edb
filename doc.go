// Package mayfly holds the vocabulary that every other package shares: projects, sources, templates, previews,
// their states, and the errors that people and programs see.
//
// It imports the standard library only. Nothing in it does any work: cloning is in provisioner/cow, containers are in
// provisioner/docker, masking in sanitize, and so on (ARCHITECTURE.md has the map).
package mayfly
