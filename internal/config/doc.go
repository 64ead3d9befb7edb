// Package config reads the server's configuration: one YAML file, strictly parsed (an unknown key is an error with its line),
// with every secret in a file or an environment variable of its own and never in the YAML.
package config
