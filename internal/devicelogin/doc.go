// Package devicelogin gets an ID token of an OpenID Connect provider for somebody at a terminal: by a code that is entered in a browser
// anywhere (RFC 8628) or, with providers that lack that, in a browser on this machine (RFC 8252, with PKCE).
package devicelogin
