package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates"
)

// verification is what `template verify` is asked for, and its answer.
type verification struct {
	key, file string
	rescan    bool
}

// verified is the answer as JSON.
type verified struct {
	KeyID string `json:"key_id"`
	// KeyFrom is "file" or, if nobody brought the key, "server".
	KeyFrom   string           `json:"key_from"`
	Statement *proof.Statement `json:"statement"`
	Rescan    *client.Rescan   `json:"rescan,omitempty"`
}

func newTemplateVerifyCommand(s *shell) *cobra.Command {
	var v verification
	cmd := &cobra.Command{
		Use: "verify [ID]", Short: "Check a template's attestation, and print what it says",
		Long: "Check who signed a template's attestation, and print what happened to each column and what the scan for surviving originals found.\n" +
			"Without --key the server's own word is taken for the key: keep a copy of it (GET /api/v1/attestation-key), and check against that.\n" +
			"--rescan lets the server scan a clone of the template again, with the fingerprints that it keeps of the originals.",
		Example: "  mayfly template verify t4k2… --key mayfly.pub\n  mayfly template verify t4k2… --rescan\n  mayfly template verify --file attestation.json --key mayfly.pub",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: s.completeTemplate,
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, args []string) (*answer, error) {
		switch {
		case (len(args) == 1) == (v.file != ""):
			return nil, usage("give the ID of a template, or --file")
		case v.file != "" && v.key == "":
			return nil, usage("--file needs --key: there is no server that could give it")
		case v.file != "" && v.rescan:
			return nil, usage("--rescan is done by the server, on a template of its own: give its ID")
		}
		return v.run(cmd.Context(), s.conn, args)
	})
	cmd.Flags().StringVar(&v.key, "key", "", "file with the public key that must have signed it, in PEM or base64")
	cmd.Flags().StringVar(&v.file, "file", "", "check an attestation in a file, without a server")
	cmd.Flags().BoolVar(&v.rescan, "rescan", false, "also scan a clone of the template again")
	return cmd
}

func (v *verification) run(ctx context.Context, conn *connection, args []string) (*answer, error) {
	result := verified{KeyFrom: "file"}
	var c *client.Client
	var envelope []byte
	var err error
	if v.file != "" {
		if envelope, err = os.ReadFile(v.file); err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "the attestation cannot be read: %w", err)
		}
	} else {
		if c, err = conn.client(); err != nil {
			return nil, err
		}
		if envelope, err = fetchAttestation(ctx, c, args[0]); err != nil {
			return nil, err
		}
	}
	public, err := v.publicKey(ctx, c)
	if err != nil {
		return nil, err
	}
	if v.key == "" {
		result.KeyFrom = "server"
	}
	result.KeyID = proof.KeyID(public)
	if result.Statement, err = proof.Verify(envelope, public); err != nil {
		return nil, err
	}
	if len(args) == 1 && result.Statement.Template != args[0] {
		return nil, mayfly.Errorf(mayfly.CodeVerificationFailed, "the attestation is of another template: %s", result.Statement.Template)
	}
	if v.rescan {
		if result.Rescan, err = c.RescanTemplate(ctx, args[0]); err != nil {
			return nil, err
		}
	}
	a := &answer{value: result, table: result.print}
	if result.Rescan != nil && !result.Rescan.Clean {
		a.problem = mayfly.Errorf(mayfly.CodeVerificationFailed, "values of masked columns survive in the template: %s", result.Rescan.Summary)
	}
	return a, nil
}

// fetchAttestation returns an attestation as it was signed.
func fetchAttestation(ctx context.Context, c *client.Client, id string) ([]byte, error) {
	attestation, err := c.Attestation(ctx, id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(attestation) // what is signed is within it, in base64
}

// publicKey returns the key that was brought, or else the server's.
func (v *verification) publicKey(ctx context.Context, c *client.Client) (ed25519.PublicKey, error) {
	if v.key == "" {
		key, err := c.AttestationKey(ctx)
		if err != nil {
			return nil, err
		}
		return proof.ParseKey(key.PublicKey)
	}
	text, err := os.ReadFile(v.key)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the key cannot be read: %w", err)
	}
	return proof.ParseKey(string(text))
}

func (v *verified) print(w *screen) error {
	from := "the key that was given"
	if v.KeyFrom == "server" {
		from = "the key that the server gives; to be sure of it, bring your own copy with --key"
	}
	fmt.Fprintf(w, "The signature is good: key %s, %s.\n\n", v.KeyID, from)
	if err := templates.WriteStatement(w, v.Statement); err != nil {
		return err
	}
	if v.Rescan != nil {
		word := "clean"
		if !v.Rescan.Clean {
			word = "NOT CLEAN"
		}
		fmt.Fprintf(w, "\nScanned again just now: %s. %s.\n", word, v.Rescan.Summary)
	}
	return nil
}
