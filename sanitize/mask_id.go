package sanitize

import "github.com/mayflydb/mayfly/sanitize/checkdigit"

func nationalIDKind() kind {
	return checkedKind("national_id", "a valid number of the same scheme: social security, tax and identity numbers",
		[]param{{name: "scheme", kind: paramChoice, values: checkdigit.Schemes(), required: true, summary: "whose number it is; what does not fit the scheme is replaced as by fpe"}},
		func(a *arguments) checkdigit.Form { return checkdigit.National(a.text("scheme")) })
}
