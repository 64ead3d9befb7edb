package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// PayloadType is the type of what is signed.
const PayloadType = "application/vnd.mayfly.template+json"

// Envelope is a signed statement in the form of DSSE 1.0 (Dead Simple Signing Envelope, secure-systems-lab/dsse).
type Envelope struct {
	PayloadType string      `json:"payloadType"` //nolint:tagliatelle // as DSSE has it
	Payload     string      `json:"payload"`     // base64
	Signatures  []Signature `json:"signatures"`
}

// Signature is one signature of an envelope, by Ed25519.
type Signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

// Signer signs statements. Its key is the installation's.
type Signer struct{ key ed25519.PrivateKey }

// NewSigner returns a Signer.
func NewSigner(key ed25519.PrivateKey) *Signer { return &Signer{key} }

// Public returns the key that checks what the Signer signs.
func (s *Signer) Public() ed25519.PublicKey {
	return ed25519.PublicKey(s.key[ed25519.SeedSize:]) // the second half (RFC 8032)
}

// KeyID names a public key: the beginning of its SHA-256.
func KeyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// Sign signs a statement and returns the envelope as JSON.
func (s *Signer) Sign(statement *Statement) ([]byte, error) {
	payload, err := json.Marshal(statement)
	if err != nil {
		return nil, fmt.Errorf("encode the attestation: %w", err)
	}
	envelope := Envelope{
		PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []Signature{{KeyID(s.Public()), base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, signedBytes(PayloadType, payload)))}},
	}
	out, err := json.Marshal(envelope)
	if err != nil {
		return nil, fmt.Errorf("encode the attestation: %w", err)
	}
	return out, nil
}

// signedBytes is what is signed: DSSE's pre-authentication encoding.
func signedBytes(payloadType string, payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload)), payload...)
}

// Verify checks that the owner of the key signed the envelope, and returns the statement. The error of an envelope that
// it did not sign has the code mayfly.CodeVerificationFailed.
func Verify(envelope []byte, public ed25519.PublicKey) (*Statement, error) {
	statement, e, payload, err := open(envelope)
	if err != nil {
		return nil, err
	}
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.DecodeString(s.Sig)
		if err == nil && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, signedBytes(e.PayloadType, payload), sig) {
			return statement, nil
		}
	}
	return nil, mayfly.Errorf(mayfly.CodeVerificationFailed, "the attestation is not signed by the key %s", KeyID(public)).
		WithHint("the attestation was changed, or it is of another installation")
}

// Read returns what an envelope says, without a check of who says so.
func Read(envelope []byte) (*Statement, error) {
	statement, _, _, err := open(envelope)
	return statement, err
}

func open(envelope []byte) (*Statement, *Envelope, []byte, error) {
	damaged := func(err error) error {
		return mayfly.Errorf(mayfly.CodeVerificationFailed, "this is no attestation of a template: %w", err)
	}
	var e Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return nil, nil, nil, damaged(err)
	}
	if e.PayloadType != PayloadType {
		return nil, nil, nil, damaged(errors.New("it is of another type"))
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return nil, nil, nil, damaged(err)
	}
	var s Statement
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, nil, nil, damaged(err)
	}
	if s.Version != StatementVersion {
		return nil, nil, nil, damaged(fmt.Errorf("its version is %d, and %d is known", s.Version, StatementVersion))
	}
	return &s, &e, payload, nil
}

// EncodeKey returns a public key in PEM.
func EncodeKey(public ed25519.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode the public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// ParseKey reads a public key in PEM, or its 32 bytes in base64.
func ParseKey(text string) (ed25519.PublicKey, error) {
	invalid := mayfly.Errorf(mayfly.CodeInvalid, "this is no public key for Ed25519").WithHint("give the PEM that the server's /api/v1/attestation-key has")
	if block, _ := pem.Decode([]byte(text)); block != nil {
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if public, ok := parsed.(ed25519.PublicKey); err == nil && ok {
			return public, nil
		}
		return nil, invalid
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, invalid
	}
	return ed25519.PublicKey(raw), nil
}

// KeyIDs returns the names of the keys that an envelope says it is signed by.
func KeyIDs(envelope []byte) []string {
	var e Envelope
	if json.Unmarshal(envelope, &e) != nil {
		return nil
	}
	var ids []string
	for _, s := range e.Signatures {
		ids = append(ids, s.KeyID)
	}
	return ids
}
