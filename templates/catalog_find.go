package templates

import "regexp"

const whatEmail = "an email address"

var connectionPassword = regexp.MustCompile(`(?i)\bpassword\s*=\s*('(?:[^'\\]|\\.)+'|[^\s'";$%:?{|][^\s'";|]*)`)
var connectionWord = regexp.MustCompile(`(?i)\b(?:host|hostaddr|port|dbname|user|service)\s*=\s*\S`)
var emailish = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`)

// findPersonal finds what is personal or secret in a text of the catalog.
func findPersonal(text string) []passage {
	var out []passage
	for _, m := range emailish.FindAllStringIndex(text, -1) {
		out = append(out, passage{m[0], m[1], whatEmail})
	}
	return append(out, connectionPasswords(text)...)
}

// connectionPasswords finds passwords in connection strings of libpq: host=db user=x password=y.
func connectionPasswords(text string) []passage {
	if !connectionWord.MatchString(text) {
		return nil
	}
	var out []passage
	for _, m := range connectionPassword.FindAllStringSubmatchIndex(text, -1) {
		out = append(out, passage{m[2], m[3], "a password"})
	}
	return out
}
