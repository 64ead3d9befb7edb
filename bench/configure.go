package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The projects besides those of the sizes, and the databases that they come from.
const (
	maskedProject  = "masked"
	archiveProject = "archive"
	databaseOwner  = "bench"
)

// migrationsPath is where the repository has its migrations.
const migrationsPath = "db/migrations"

// configure writes the configuration, the rules and the secrets.
func (b *bench) configure(s *service) error {
	api, err := freePort()
	if err != nil {
		return err
	}
	gateway, err := freePort()
	if err != nil {
		return err
	}
	s.address = fmt.Sprintf("127.0.0.1:%d", api)
	s.secret = []byte(rand.Text())
	files := map[string]string{
		"masking.key": rand.Text() + rand.Text(), "webhook.secret": string(s.secret), "github.token": s.forge,
		"keep.yaml": keepRules, "mask.yaml": maskRules,
	}
	var poolGiB float64 = 8
	for _, size := range b.sizes {
		poolGiB += 2 * size.gib
	}
	poolGiB += 4 * b.sizes[0].gib
	var y strings.Builder
	fmt.Fprintf(&y, "listen: %s\ndata_dir: %s\npool: {size: %.0fGiB}\n", s.address, serviceDir, poolGiB)
	fmt.Fprintf(&y, "gateway: {listen: \"127.0.0.1:%d\"}\n", gateway)
	fmt.Fprintf(&y, "github: {base_url: %q, webhook_secret_file: webhook.secret, token_file: github.token}\nprojects:\n", s.github.URL())
	for i, project := range b.sizeProjects() {
		extra := ""
		if i == 0 {
			extra = fmt.Sprintf("    repository: %s\n    migrations: {tool: golang-migrate, path: %s}\n", repositoryName, migrationsPath)
		}
		b.project(&y, files, project, project, "keep.yaml", extra)
	}
	b.project(&y, files, maskedProject, maskedProject, "mask.yaml", "")
	archive, err := b.archivePath()
	if err != nil {
		return err
	}
	b.archiveProject(&y, archive)
	files["mayfly.yaml"] = y.String()
	var failures []error
	for name, content := range files {
		failures = append(failures, os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600))
	}
	return errors.Join(failures...)
}

func (b *bench) project(y *strings.Builder, files map[string]string, name, database, rules, extra string) {
	files[name+".dsn"] = b.source.dsn(database)
	fmt.Fprintf(y, "  - name: %s\n    source: {dsn_file: %s.dsn}\n    rules: %s\n    masking_key_file: masking.key\n", name, name, rules)
	fmt.Fprintf(y, "    postgres: {major: %d, database: app, owner: %s}\n    previews: {idle_after: never}\n%s", b.major, databaseOwner, extra)
}

func (b *bench) archiveProject(y *strings.Builder, path string) {
	fmt.Fprintf(y, "  - name: %s\n    source: {archive: %s}\n    rules: keep.yaml\n    masking_key_file: masking.key\n", archiveProject, path)
	fmt.Fprintf(y, "    postgres: {major: %d, database: app, owner: %s}\n", b.major, databaseOwner)
}

// keepRules take everything of pgbench's tables as it is.
const keepRules = `version: 1
defaults:
  - {match: "public.pgbench_*.*", mask: keep}
`

// maskRules mask what a shop would: names, addresses, free text.
const maskRules = `version: 1
tables:
  public.customers:
    columns:
      email: {mask: email, domain: customer_email}
      first_name: {mask: person_name, part: first}
      last_name: {mask: person_name, part: last}
      phone: {mask: phone, country: keep}
      street: street_address
      note: redact
  public.orders:
    columns:
      contact_email: {mask: email, domain: customer_email}
      status: keep
defaults:
  - {match: "public.*.created_at", mask: keep}
types:
  key: keep
  numeric: keep
`
