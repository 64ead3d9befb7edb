package templates

import "strings"

// textAttestation writes what proves that the template is sanitized. The HTML page has it in the block "attestation".
func textAttestation(*strings.Builder, *page) {}
