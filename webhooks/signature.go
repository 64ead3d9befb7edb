package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// SignatureHeader is where GitHub puts the HMAC of the raw body (GitHub docs, "Validating webhook deliveries"). The
// older X-Hub-Signature, which is SHA-1, is never looked at.
const SignatureHeader = "X-Hub-Signature-256"

const signaturePrefix = "sha256="

// Sign returns the value of SignatureHeader for body under secret.
func Sign(secret, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return signaturePrefix + hex.EncodeToString(mac.Sum(nil))
}

// parseSignature returns the MAC that header holds, and false if it is not one.
func parseSignature(header string) ([]byte, bool) {
	digits, ok := strings.CutPrefix(header, signaturePrefix)
	if !ok || len(digits) != hex.EncodedLen(sha256.Size) {
		return nil, false
	}
	mac, err := hex.DecodeString(digits)
	return mac, err == nil
}

// verify reports whether mac is body's under one of secrets. Every secret is tried, and each comparison takes constant
// time, so that timing tells neither how much of a guess was right nor which secret is current.
func verify(secrets [][]byte, body, mac []byte) bool {
	ok := false
	for _, secret := range secrets {
		h := hmac.New(sha256.New, secret)
		h.Write(body)
		if hmac.Equal(h.Sum(nil), mac) {
			ok = true
		}
	}
	return ok
}
