package client

import "embed"

// Source is the text of the files that declare what the API takes and gives. Their comments are the descriptions of the API's reference:
// there is one place that says what a field means.
//
//go:embed types.go people.go exchange.go
var Source embed.FS
