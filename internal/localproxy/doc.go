// Package localproxy opens a port on this machine for tools that cannot do TLS: what comes in is passed on to the gateway, encrypted.
package localproxy
