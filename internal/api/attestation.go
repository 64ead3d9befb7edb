package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/sanitize/proof"
)

func (a *API) attestation(c echo.Context) error {
	t, err := a.template(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	if len(t.Attestation) == 0 {
		return mayfly.Errorf(mayfly.CodeNotFound, "template %s has no attestation", t.ID).WithHint("it is made when a build succeeds")
	}
	return c.JSONBlob(http.StatusOK, t.Attestation)
}

func (a *API) attestationKey(c echo.Context) error {
	text, err := proof.EncodeKey(a.AttestationKey)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, client.AttestationKey{KeyID: proof.KeyID(a.AttestationKey), Algorithm: "ed25519", PublicKey: text})
}

func (a *API) rescanTemplate(c echo.Context) error {
	t, err := a.template(c, auth.ScopeTemplatesWrite)
	if err != nil {
		return err
	}
	outcome, err := a.Templates.Rescan(c.Request().Context(), t.ID)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(outcome)
	if err != nil {
		return fmt.Errorf("encode the scan of template %s: %w", t.ID, err)
	}
	return c.JSON(http.StatusOK, client.Rescan{Clean: len(outcome.Surviving()) == 0, Summary: outcome.Summary(), Outcome: encoded})
}
