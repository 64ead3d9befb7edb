package gateway_test

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// scramClient is the client's side of SCRAM-SHA-256 (RFC 5802), for tests that speak the protocol by hand. Its gs2 flag is
// 'y', as that of a client is which is on TLS and could bind to the channel.
type scramClient struct {
	password, firstBare string
}

func (c *scramClient) first() []byte {
	c.firstBare = "n=,r=" + rand.Text()
	return []byte("y,," + c.firstBare)
}

func (c *scramClient) final(t *testing.T, challenge []byte) []byte {
	t.Helper()
	fields := map[string]string{}
	for _, field := range strings.Split(string(challenge), ",") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	if err != nil {
		t.Fatalf("SCRAM salt: %v", err)
	}
	iterations, err := strconv.Atoi(fields["i"])
	if err != nil {
		t.Fatalf("SCRAM iterations: %v", err)
	}
	salted, err := pbkdf2.Key(sha256.New, c.password, salt, iterations, sha256.Size)
	if err != nil {
		t.Fatalf("SCRAM key: %v", err)
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	withoutProof := fmt.Sprintf("c=%s,r=%s", base64.StdEncoding.EncodeToString([]byte("y,,")), fields["r"])
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	proof := mac(stored[:], c.firstBare+","+string(challenge)+","+withoutProof)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	return []byte(withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof))
}
