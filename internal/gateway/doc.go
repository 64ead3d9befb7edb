// Package gateway is the one Postgres endpoint through which every preview is reached.
//
// A connection goes through five stages, one file each:
//
//	startup.go   TLS and GSS requests, direct TLS, cancel requests, the startup packet (bounded in bytes and in time)
//	route.go     which preview is meant (SNI or database name) and who may not log in
//	connect.go   wake, wait, dial, the backend's first answer; retried while the preview comes up
//	relay.go     authentication is relayed until the first ReadyForQuery, then bytes are copied both ways
//	cancel.go    cancel keys: the gateway hands out its own, because those of two backends may be equal
//
// Passwords are checked by Postgres itself; the gateway never sees one in a form it could use (SCRAM). Because the backend
// speaks no TLS, it offers no channel binding: clients with channel_binding=require are refused by their own library.
//
// Cancel keys live in the memory of the process that handed them out. With several replicas behind one address a cancel
// request that reaches another replica has no effect; give such a balancer client-address affinity.
package gateway
