// Package webhooks receives deliveries from GitHub: it verifies the signature, hands the delivery to the inbox, and
// answers once the inbox has committed. There is no business logic here. A delivery is a hint that something about a
// pull request may have changed, never a command: whoever works on the inbox asks GitHub what is true now.
package webhooks
