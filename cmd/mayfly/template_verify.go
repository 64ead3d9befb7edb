package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
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
	out       format
}

// verified is the answer as JSON.
type verified struct {
	KeyID string `json:"key_id"`
	// KeyFrom is "file" or, if nobody brought the key, "server".
	KeyFrom   string           `json:"key_from"`
	Statement *proof.Statement `json:"statement"`
	Rescan    *client.Rescan   `json:"rescan,omitempty"`
}

func newTemplateVerifyCommand(s streams, conn *connection) *cobra.Command {
	var v verification
	cmd := &cobra.Command{
		Use: "verify [ID]", Short: "Check a template's attestation, and print what it says",
		Long: "Check who signed a template's attestation, and print what happened to each column and what the scan for surviving originals found.\n" +
			"Without --key the server's own word is taken for the key: keep a copy of it (GET /api/v1/attestation-key), and check against that.\n" +
			"--rescan lets the server scan a clone of the template again, with the fingerprints that it keeps of the originals.",
		Example: "  mayfly template verify t4k2… --key mayfly.pub\n  mayfly template verify t4k2… --rescan\n  mayfly template verify --file attestation.json --key mayfly.pub",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.out.check(); err != nil {
				return err
			}
			switch {
			case (len(args) == 1) == (v.file != ""):
				return usage("give the ID of a template, or --file")
			case v.file != "" && v.key == "":
				return usage("--file needs --key: there is no server that could give it")
			case v.file != "" && v.rescan:
				return usage("--rescan is done by the server, on a template of its own: give its ID")
			}
			return v.run(cmd.Context(), s, conn, args)
		},
	}
	cmd.Flags().StringVar(&v.key, "key", "", "file with the public key that must have signed it, in PEM or base64")
	cmd.Flags().StringVar(&v.file, "file", "", "check an attestation in a file, without a server")
	cmd.Flags().BoolVar(&v.rescan, "rescan", false, "also scan a clone of the template again")
	addFormat(cmd, &v.out)
	return cmd
}

func (v *verification) run(ctx context.Context, s streams, conn *connection, args []string) error {
	answer := verified{KeyFrom: "file"}
	var c *client.Client
	var envelope []byte
	var err error
	if v.file != "" {
		if envelope, err = os.ReadFile(v.file); err != nil {
			return mayfly.Errorf(mayfly.CodeInvalid, "the attestation cannot be read: %w", err)
		}
	} else {
		if c, err = conn.client(); err != nil {
			return err
		}
		if envelope, err = fetchAttestation(ctx, c, args[0]); err != nil {
			return err
		}
	}
	public, err := v.publicKey(ctx, c)
	if err != nil {
		return err
	}
	if v.key == "" {
		answer.KeyFrom = "server"
	}
	answer.KeyID = proof.KeyID(public)
	if answer.Statement, err = proof.Verify(envelope, public); err != nil {
		return err
	}
	if len(args) == 1 && answer.Statement.Template != args[0] {
		return mayfly.Errorf(mayfly.CodeVerificationFailed, "the attestation is of another template: %s", answer.Statement.Template)
	}
	if v.rescan {
		if answer.Rescan, err = c.RescanTemplate(ctx, args[0]); err != nil {
			return err
		}
	}
	if err := v.print(s.out, &answer); err != nil {
		return err
	}
	if answer.Rescan != nil && !answer.Rescan.Clean {
		return mayfly.Errorf(mayfly.CodeVerificationFailed, "values of masked columns survive in the template: %s", answer.Rescan.Summary)
	}
	return nil
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

func (v *verification) print(w io.Writer, answer *verified) error {
	if v.out == "json" {
		return printJSON(w, answer)
	}
	from := "the key that was given"
	if answer.KeyFrom == "server" {
		from = "the key that the server gives; to be sure of it, bring your own copy with --key"
	}
	fmt.Fprintf(w, "The signature is good: key %s, %s.\n\n", answer.KeyID, from)
	if err := templates.WriteStatement(w, answer.Statement); err != nil {
		return err
	}
	if answer.Rescan != nil {
		word := "clean"
		if !answer.Rescan.Clean {
			word = "NOT CLEAN"
		}
		fmt.Fprintf(w, "\nScanned again just now: %s. %s.\n", word, answer.Rescan.Summary)
	}
	return nil
}
