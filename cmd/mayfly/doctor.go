package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates"
	"github.com/mayflydb/mayfly/templates/archive"
	"github.com/mayflydb/mayfly/templates/fetch"
)

// finding is one line of what doctor says.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // "ok", "warning" or "error"
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

func newDoctorCommand(s *shell) *cobra.Command {
	var configPath string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what the service needs, with a fix for what is missing",
		Long: "Check the configuration, the engine, the images, the pool (what storage is chosen, why, and what it costs), the state database, the\n" +
			"clock, certificates, disk and limits, masking rules and keys; at GitHub the permissions and events of the App, and whether deliveries\n" +
			"arrive. It changes nothing. Exit code 1 if anything is an error; --quiet shows only what is not well.",
		Example: "  mayfly doctor --config /etc/mayfly/mayfly.yaml", Args: cobra.NoArgs,
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, _ []string) (*answer, error) {
		findings := diagnose(cmd.Context(), configPath)
		a := &answer{value: findings, table: func(w *screen) error { return s.printFindings(w, findings) }}
		if slices.ContainsFunc(findings, func(f finding) bool { return f.Status == "error" }) {
			a.problem = errors.New("something is wrong; see above")
		}
		return a, nil
	})
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "configuration file")
	return cmd
}

// printFindings prints what was found; with --quiet what is wrong alone.
func (s *shell) printFindings(w *screen, findings []finding) error {
	for _, f := range findings {
		if s.quiet && f.Status == "ok" {
			continue
		}
		fmt.Fprintf(w, "%s %-14s %s\n", w.paint(stateColour(f.Status), fmt.Sprintf("%-8s", f.Status)), f.Check, clean(f.Detail))
		if f.Fix != "" {
			fmt.Fprintf(w, "%-8s %-14s fix: %s\n", "", "", clean(f.Fix))
		}
	}
	return nil
}

func failed(check string, err error) finding {
	return finding{Check: check, Status: "error", Detail: err.Error(), Fix: mayfly.ErrorHint(err)}
}

func ok(check, format string, args ...any) finding {
	return finding{Check: check, Status: "ok", Detail: fmt.Sprintf(format, args...)}
}

func diagnose(ctx context.Context, configPath string) []finding {
	c, err := config.Load(configPath)
	if err != nil {
		return []finding{failed("configuration", err)}
	}
	findings := []finding{ok("configuration", "%s: projects: %d, data in %s", configPath, len(c.Projects()), c.DataDir)}
	if os.Geteuid() != 0 {
		findings = append(findings, finding{Check: "user", Status: "error", Detail: "not root: the pool cannot be mounted", Fix: "run as root, or in the service's container"})
	}
	findings = append(findings, diagnosePool(ctx, c)...)
	findings = append(findings, diagnoseEngine(ctx, c)...)
	findings = append(findings, diagnoseState(ctx, c)...)
	findings = append(findings, diagnoseCertificates(c)...)
	findings = append(findings, diagnoseDisk(c)...)
	findings = append(findings, diagnoseLimits(c)...)
	findings = append(findings, diagnosePsql())
	for _, p := range c.Projects() {
		findings = append(findings, diagnoseProject(ctx, c, p)...)
	}
	findings = append(findings, diagnoseAges(ctx, c)...)
	findings = append(findings, diagnosePing(ctx, c)...)
	return append(findings, diagnoseForge(ctx, c)...)
}

func diagnosePool(ctx context.Context, c *config.Config) []finding {
	d, err := cow.Probe(ctx, cow.Options{
		Dir: filepath.Join(c.DataDir, "pool"), Driver: c.Pool.Driver, SizeBytes: c.Pool.SizeBytes, ReserveBytes: c.Pool.ReserveBytes,
	})
	if err != nil {
		return []finding{failed("pool", err)}
	}
	findings := []finding{ok("pool", "%s in %s: %s", d.Driver, d.Dir, d.Why), ok("pool", "cost: %s", d.Cost)}
	for _, rejected := range d.Rejected {
		findings = append(findings, ok("pool", "not %s: %s", rejected.Driver, rejected.Why))
	}
	for _, warning := range d.Warnings {
		findings = append(findings, finding{Check: "pool", Status: "warning", Detail: warning})
	}
	return findings
}

func diagnoseEngine(ctx context.Context, c *config.Config) []finding {
	root, scratch, err := scratchRunDir(filepath.Join(c.DataDir, "run"))
	if err != nil {
		return []finding{failed("engine", err)}
	}
	defer func() { _ = os.RemoveAll(root) }()
	engine, err := docker.New(docker.Options{
		Host: c.Engine.Host, RunDir: scratch, Installation: "doctor",
		VolumePath: func(id string) (string, error) { return "", fmt.Errorf("volume %s: %w", id, driver.ErrNotFound) },
	})
	if err != nil {
		return []finding{failed("engine", err)}
	}
	defer func() { _ = engine.Close() }()
	info, err := engine.Probe(ctx)
	if err != nil {
		return []finding{failed("engine", err)}
	}
	findings := []finding{ok("engine", "%s %s (API %s) at %s", info.Name, info.Version, info.APIVersion, info.Endpoint)}
	seen := map[string]bool{}
	for _, p := range c.Projects() {
		key := fmt.Sprint(p.Postgres.Image, p.Postgres.Major)
		if seen[key] || p.Postgres.Major == 0 && p.Postgres.Image == "" {
			continue
		}
		seen[key] = true
		image, err := engine.Present(ctx, p.Postgres.Image, p.Postgres.Major)
		if errors.Is(err, driver.ErrNotFound) {
			findings = append(findings, finding{
				Check: "image", Status: "warning", Detail: err.Error(),
				Fix: "it is pulled when it is needed; where no registry can be reached: make images",
			})
			continue
		}
		if err != nil {
			findings = append(findings, failed("image", err))
			continue
		}
		findings = append(findings, ok("image", "PostgreSQL %d: %s", image.Major, image.Ref))
	}
	return findings
}

// scratchRunDir makes a directory in place of the engine's own, which must not come into being here. Its path is at least as long: a
// path that is too long for a socket is something to find out.
func scratchRunDir(runDir string) (root, dir string, err error) {
	if root, err = os.MkdirTemp("/tmp", "mf-doctor-"); err != nil { // TMPDIR may be too long itself
		return "", "", fmt.Errorf("make a scratch directory: %w", err)
	}
	return root, filepath.Join(root, strings.Repeat("x", max(1, len(runDir)-len(root)-1))), nil
}

// diagnoseState looks whether the state database answers; one that is embedded is not started for that.
func diagnoseState(ctx context.Context, c *config.Config) []finding {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	kind := "external"
	if c.DatabaseURL == "" {
		kind = "embedded: a container with its data in " + filepath.Join(c.DataDir, "state")
	}
	state, done, err := stateForReading(c)
	if errors.Is(err, os.ErrNotExist) {
		return []finding{ok("state", "%s; it is made at the first start", kind)}
	}
	if err != nil {
		return []finding{failed("state", err)}
	}
	defer done()
	conn, err := pgx.ConnectConfig(ctx, state.ConnConfig)
	if err != nil {
		if c.DatabaseURL == "" {
			return []finding{{Check: "state", Status: "warning", Detail: kind + "; it does not answer", Fix: "start the service: mayfly serve"}}
		}
		return []finding{failed("state", mayfly.Errorf(mayfly.CodeStateUnavailable, "the state database does not answer").WithHint("check the URL in database_url_file"))}
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var serverVersion string
	if err := conn.QueryRow(ctx, "show server_version").Scan(&serverVersion); err != nil {
		return []finding{failed("state", err)}
	}
	return []finding{ok("state", "%s: PostgreSQL %s", kind, serverVersion), diagnoseClock(ctx, conn)}
}

func diagnosePsql() finding {
	path, err := exec.LookPath("psql")
	if err != nil {
		return finding{Check: "psql", Status: "warning", Detail: "not installed: mayfly psql needs it, the service does not", Fix: "apt-get install postgresql-client"}
	}
	return ok("psql", "%s", path)
}

func diagnoseProject(ctx context.Context, c *config.Config, p mayfly.Project) []finding {
	check := "project " + p.Name
	var findings []finding
	raw, err := os.ReadFile(p.RulesFile)
	if err == nil {
		_, err = sanitize.Parse(p.RulesFile, raw)
	}
	if err != nil {
		findings = append(findings, failed(check, err))
	} else {
		findings = append(findings, ok(check, "rules: %s", p.RulesFile))
	}
	if _, err := c.MaskingKey(p.Name); err != nil {
		findings = append(findings, failed(check, err))
	} else {
		findings = append(findings, ok(check, "masking key is there"))
	}
	findings = append(findings, diagnoseSource(ctx, p))
	findings = append(findings, diagnoseTemplateSettings(p)...)
	return findings
}

// diagnoseSource connects to a live source, or reads the table of contents of an archive. Neither is changed.
func diagnoseSource(ctx context.Context, p mayfly.Project) finding {
	check := "project " + p.Name
	if p.Source.Archive != "" {
		return diagnoseDump(ctx, check, p.Source)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// pgx's errors may quote the connection string: they are not shown.
	conn, err := pgx.Connect(ctx, p.Source.DSN)
	if err != nil {
		return failed(check, mayfly.Errorf(mayfly.CodeSourceUnavailable, "source: it does not answer, or does not accept the credentials").
			WithHint("try the connection string with psql from this machine"))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var serverVersion string
	var replica bool
	if err := conn.QueryRow(ctx, "select current_setting('server_version'), pg_is_in_recovery()").Scan(&serverVersion, &replica); err != nil {
		return failed(check, mayfly.Errorf(mayfly.CodeSourceUnavailable, "source: its version cannot be read"))
	}
	if !replica {
		return finding{
			Check: check, Status: "warning", Detail: "source: PostgreSQL " + serverVersion + ", a primary",
			Fix: "a read replica is better: a build reads every table once",
		}
	}
	return ok(check, "source: PostgreSQL %s, a replica", serverVersion)
}

// diagnoseDump looks whether a dump is there, and what it is if it is on this machine.
func diagnoseDump(ctx context.Context, check string, source mayfly.Source) finding {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	header, err := templates.ReadHeader(source.HeaderFile)
	if err != nil {
		return failed(check, err)
	}
	file, err := fetch.Find(ctx, fetch.Reference{Location: source.Archive, Header: header}, nil)
	if err != nil {
		return failed(check, err)
	}
	detail := "source: " + file.Name
	if !file.Modified.IsZero() {
		detail += " of " + file.Modified.UTC().Format(time.RFC3339)
	}
	if file.Bytes > 0 {
		detail += ", " + bytesText(file.Bytes)
	}
	if file.Path == "" {
		return ok(check, "%s, can be reached", detail)
	}
	format, compression, err := archive.Detect(file.Path)
	if err != nil {
		return failed(check, err)
	}
	if compression != archive.CompressionNone {
		detail += fmt.Sprintf(", compressed with %s", compression)
	}
	return ok(check, "%s, format: %s", detail, format)
}
