// Package signin lets people in: by GitHub's device flow, or with an ID token of an OpenID Connect provider. What they may do follows from
// what they may do in the projects' repositories, or from a claim of the provider, and is asked again regularly. Somebody who signed in has
// a session: access tokens of an hour, and a refresh token that is replaced each time it is used.
package signin
