// Package outgoing tells receivers outside about previews: signed webhooks, and calls that push a preview's URL to a host of
// preview deployments. What is to be told is in the state database, in the order in which it happened; here it is sent, again and
// again for a day if need be, one after the other for each preview and receiver. A receiver may get an event twice, never in the
// wrong order.
package outgoing
