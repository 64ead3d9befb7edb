// Package authtest is an OpenID Connect provider for tests: discovery, keys that can be rotated, and tokens with any claims,
// shaped like those of GitHub Actions.
package authtest
