// Package api is the HTTP face of Mayfly: the resources under /api/v1, the webhook endpoint, health and metrics. One
// table of routes (routes.go) says for each what it needs, takes and gives; the router, the authorisation and the OpenAPI
// document are all made from it, so that they cannot drift apart.
package api
