// Package repoconfig reads .mayfly.yml, by which a repository narrows what the server's configuration says of its projects. It
// is read from the base of a pull request, so that nobody changes the rules for their own change.
package repoconfig
