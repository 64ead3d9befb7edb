package sanitize

// Transformer describes one transformer, for people.
type Transformer struct {
	Name    string      `json:"name"`
	Summary string      `json:"summary"`
	Params  []Parameter `json:"params,omitempty"`
	// Types are the kinds of column types it accepts.
	Types []string `json:"types"`
	// Keyed says that results depend on the key and the domain.
	Keyed bool `json:"keyed"`
	// Unique says that different values get different results, so that it may be used on unique columns.
	Unique bool `json:"unique"`
}

// Parameter describes one parameter of a transformer.
type Parameter struct {
	Name    string `json:"name"`
	Values  string `json:"values"`
	Default string `json:"default,omitempty"`
	Summary string `json:"summary"`
}

// Transformers describes all transformers, in the order of the documentation.
func Transformers() []Transformer { return nil }
