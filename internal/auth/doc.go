// Package auth says who may do what: access tokens (JWT, EdDSA) with scopes and an expiry, and the sealing of
// credentials at rest. Its keys are files below data_dir/keys, made at the first start.
package auth
