package config

// fileAuth is the section auth: who may do what, and how they say who they are.
type fileAuth struct {
	CIIssuers  []fileCIIssuer `yaml:"ci_issuers"`
	CITokenTTL Duration       `yaml:"ci_token_ttl"`
}
