package proof

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func TestAttestation(t *testing.T) {
	t.Parallel()
	public, private, _ := ed25519.GenerateKey(nil)
	other, _, _ := ed25519.GenerateKey(nil)
	signed, err := NewSigner(private).Sign(&Statement{Version: StatementVersion, Template: "t1", Rows: 12})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Verify(signed, public)
	if err != nil || s.Template != "t1" || s.Rows != 12 {
		t.Fatalf("the attestation reads as %+v, %v", s, err)
	}
	if _, err := Verify(signed, other); mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed {
		t.Errorf("another key verifies it: %v", err)
	}
	var e Envelope
	if err := json.Unmarshal(signed, &e); err != nil {
		t.Fatal(err)
	}
	payload, _ := base64.StdEncoding.DecodeString(e.Payload)
	for name, change := range map[string]func(e *Envelope){
		"payload": func(e *Envelope) {
			e.Payload = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(payload), "12", "13", 1)))
		},
		"no signature": func(e *Envelope) { e.Signatures = nil },
		"signature": func(e *Envelope) {
			e.Signatures = []Signature{{e.Signatures[0].KeyID, "AAAA" + e.Signatures[0].Sig[4:]}}
		},
		"type": func(e *Envelope) { e.PayloadType = "text/plain" },
	} {
		changed := e
		change(&changed)
		raw, _ := json.Marshal(changed)
		if _, err := Verify(raw, public); mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed {
			t.Errorf("%s: a changed attestation is accepted: %v", name, err)
		}
	}
	text, err := EncodeKey(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{text, base64.StdEncoding.EncodeToString(public)} {
		if key, err := ParseKey(form); err != nil || !key.Equal(public) {
			t.Errorf("the key %q reads as %v, %v", form, key, err)
		}
	}
	if _, err := ParseKey("nonsense"); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
		t.Errorf("nonsense is a key: %v", err)
	}
}

func TestFingerprintsAreOfTheirKeyAndFile(t *testing.T) {
	t.Parallel()
	o := recorded(t, "Quirina.Zebulon@planted.example")
	again, err := Open(o.path, testKey())
	if err != nil || again.SHA256 != o.SHA256 || len(again.Columns) != 1 || again.Prints != 1 {
		t.Fatalf("the file reads as %+v, %v", again, err)
	}
	if _, err := Open(o.path, []byte("another key of more than 16 bytes")); err == nil {
		t.Error("another key opens the file")
	}
}

func TestTheStatementSaysWhatIsNotProved(t *testing.T) {
	t.Parallel()
	covered := func(class Class) *Masked {
		c := Column{Schema: "public", Table: "notes", Class: class, Values: 10, Provable: 9, Unchanged: 7, UnchangedProvable: 6}
		return Covering("public", "notes", c.ColumnPlan, 10, &c, &Scanner{}).Masked
	}
	if m := covered(ClassPassages); m.Provable != 3 || m.Note == "" || m.Note != m.Unproved() {
		t.Errorf("of 9 texts 6 came out of a scrubber as they were, and the statement says: %+v", m)
	}
	if m := covered(ClassRows); m.Note != trueValues || m.Unproved() == "" {
		t.Errorf("values that went to other rows: %+v", m)
	}
	if m := covered(ClassOwn); m.Provable != 9 || m.Unproved() != "" || m.Note != notProvable {
		t.Errorf("a column that can be proved: %+v", m)
	}
}
