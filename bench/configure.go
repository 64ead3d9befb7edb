package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// databaseOwner owns the databases of the source.
const databaseOwner = "bench"

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
		"size.yaml": sizeRules, "keep.yaml": keepRules, "mask.yaml": maskRules,
	}
	var poolGiB float64 = 8
	for _, size := range b.sizes {
		poolGiB += 2 * size.gib
	}
	poolGiB += 8 * b.shop // a template of each project, the one that replaces it, and what a build needs for a while
	var y strings.Builder
	fmt.Fprintf(&y, "listen: %s\ndata_dir: %s\npool: {size: %.0fGiB}\n", s.address, serviceDir, poolGiB)
	fmt.Fprintf(&y, "rate_limits: {token: -1}\n") // the measurements ask faster than people
	fmt.Fprintf(&y, "gateway: {listen: \"127.0.0.1:%d\"}\n", gateway)
	fmt.Fprintf(&y, "github: {base_url: %q, webhook_secret_file: webhook.secret, token_file: github.token}\nprojects:\n", s.github.URL())
	for i, project := range b.sizeProjects() {
		extra := ""
		if i == 0 {
			extra = fmt.Sprintf("    repository: %s\n    migrations: {tool: golang-migrate, path: %s}\n", repositoryName, migrationsPath)
		}
		b.project(&y, files, project, project, "size.yaml", extra)
	}
	const one = "    keep_templates: 1\n"
	b.project(&y, files, keptProject, shopDatabase, "keep.yaml", one)
	b.project(&y, files, maskedProject, shopDatabase, "mask.yaml", one)
	archive, err := b.archivePath()
	if err != nil {
		return err
	}
	b.archiveProject(&y, archiveProject, archive, "keep.yaml")
	b.archiveProject(&y, maskedArchiveProject, archive, "mask.yaml")
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

func (b *bench) archiveProject(y *strings.Builder, name, path, rules string) {
	fmt.Fprintf(y, "  - name: %s\n    source: {archive: %s}\n    rules: %s\n    masking_key_file: masking.key\n    keep_templates: 1\n", name, path, rules)
	fmt.Fprintf(y, "    postgres: {major: %d, database: app, owner: %s}\n", b.major, databaseOwner)
}

// sizeRules take everything of pgbench's tables as it is.
const sizeRules = `version: 1
defaults:
  - {match: "public.pgbench_*.*", mask: keep}
`
