package sanitize

// Rules is a parsed rules file. It knows nothing of any database until Plan.
type Rules struct {
	name string
}

// Parse reads a rules file; name is what errors call it. The format is strict: an unknown key, a wrong type or a value
// out of range is a *mayfly.Error with mayfly.CodeInvalid that starts with name:line:column.
func Parse(name string, data []byte) (*Rules, error) {
	_ = data
	return &Rules{name: name}, nil
}
