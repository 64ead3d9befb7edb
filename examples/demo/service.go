package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/mayflydb/mayfly/client"
)

// configuration is the service's mayfly.yaml. docs/configuration.md explains every key.
const configuration = `# Written by the demo.
listen: {{.Listen}}
data_dir: {{.Data}}
{{- if .State}}
database_url: {{.State}}
{{- end}}
pool: {size: 8GiB}
gateway:
  listen: {{.Gateway}}
  external_host: 127.0.0.1
  external_port: {{.GatewayPort}}
github:
  base_url: {{.GitHub}}
  comment_interval: 1s
  token_file: {{.Secrets}}/github.token
  webhook_secret_file: {{.Secrets}}/webhook.secret
projects:
  - name: shop
    repository: ` + repository + `
    source: {dsn_file: {{.Secrets}}/production.dsn}
    rules: {{.Secrets}}/sanitize.yaml
    masking_key_file: {{.Secrets}}/masking.key
    postgres: {major: {{.Major}}, database: shop, owner: shop_owner}
    migrations: {tool: golang-migrate, path: ` + migrationsDir + `}
    previews: {ttl: 12h, idle_after: 10m}
`

type settings struct {
	Listen, Data, State, Gateway, GitHub, Secrets string
	GatewayPort, Major                            int
}

// composeSecrets is where the service's container finds the demo's files.
const composeSecrets = "/demo"

// config is the directory with the service's configuration and secrets.
func (d *demo) config() string { return filepath.Join(d.Dir, "config") }

// writeSecrets makes everything secret but the source's connection string, which is known once production runs.
func (d *demo) writeSecrets() error {
	rules, err := files.ReadFile("sanitize.yaml")
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return errors.Join(
		os.Mkdir(d.config(), 0o700),
		os.WriteFile(filepath.Join(d.config(), "sanitize.yaml"), rules, 0o600),
		writeSecret(filepath.Join(d.config(), "masking.key"), base64.StdEncoding.EncodeToString(key)),
		writeSecret(filepath.Join(d.config(), "webhook.secret"), rand.Text()),
		writeSecret(filepath.Join(d.config(), "github.token"), "ghp_"+rand.Text()),
	)
}

// hostAddress is where the service reaches this machine: the loopback, or the engine's bridge from inside a container.
func (d *demo) hostAddress(ctx context.Context) (listen, seen string, err error) {
	if !d.InCompose {
		return "127.0.0.1", "127.0.0.1", nil
	}
	if runtime.GOOS != "linux" { // the engine is in a virtual machine, which forwards this name
		return "127.0.0.1", "host.docker.internal", nil
	}
	// The engine knows the address, and tells containers only.
	found, err := docker(ctx, nil, "run", "--rm", "--label", demoLabel+"="+d.ID, "--add-host", "gateway:host-gateway",
		"--entrypoint", "getent", d.Image, "hosts", "gateway")
	if err != nil {
		return "", "", fmt.Errorf("find the address of this machine as containers see it: %w", err)
	}
	gateway, _, _ := strings.Cut(found, " ")
	if net.ParseIP(gateway) == nil {
		return "", "", fmt.Errorf("the engine says that this machine is at %q", found)
	}
	return gateway, gateway, nil
}

func (d *demo) writeConfiguration(source, github string, ports []int) error {
	s := settings{
		Listen: fmt.Sprintf("127.0.0.1:%d", ports[0]), Gateway: fmt.Sprintf("127.0.0.1:%d", ports[1]), GatewayPort: ports[1],
		Data: d.Data, GitHub: github, Secrets: d.config(), Major: d.options.major,
	}
	if d.InCompose {
		s.Listen, s.Gateway, s.Secrets, s.State = ":8080", ":6432", composeSecrets, "postgres://mayfly@state:5432/mayfly"
	}
	parsed, err := template.New("mayfly.yaml").Parse(configuration)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := parsed.Execute(&out, s); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(d.config(), "mayfly.yaml"), []byte(out.String()), 0o600),
		writeSecret(filepath.Join(d.config(), "production.dsn"), d.production.dsn(source)),
	)
}

// startService starts the service and waits until it is ready.
func (d *demo) startService(ctx context.Context, ports []int) error {
	var err error
	if d.InCompose {
		err = d.composeUp(ctx, ports)
	} else {
		err = d.spawn(&d.ServicePID, "service", d.options.mayfly, "serve", "--config", filepath.Join(d.config(), "mayfly.yaml"))
	}
	if err != nil {
		return err
	}
	if err := poll(ctx, 2*time.Minute, func() (bool, error) { return d.ready(ctx) }); err != nil {
		return fmt.Errorf("the service does not become ready: %w", err)
	}
	return d.login(ctx)
}

func (d *demo) ready(ctx context.Context) (bool, error) {
	if d.ServicePID != 0 && !d.alive(ctx, d.ServicePID) {
		return false, errors.New("it has ended")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL+"/readyz", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK, errors.New(response.Status)
}

// override gives the service's container the demo's files.
const override = `services:
  mayfly:
    volumes:
      - type: bind
        source: %s
        target: ` + composeSecrets + `
        read_only: true
`

func (d *demo) composeUp(ctx context.Context, ports []int) error {
	if err := os.WriteFile(d.overrideFile(), fmt.Appendf(nil, override, d.config()), 0o600); err != nil {
		return err
	}
	d.APIPublish, d.GatewayPublish = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	if err := d.save(); err != nil {
		return err
	}
	if err := d.composeRun(ctx, "up", "-d"); err != nil {
		return err
	}
	// Production is on another machine, so it joins by its name only, as far as the service can tell.
	_, err := docker(ctx, nil, "network", "connect", "--alias", "production", d.composeProject()+"_default", d.Production)
	return err
}

func (d *demo) overrideFile() string   { return filepath.Join(d.Dir, "compose.override.yml") }
func (d *demo) composeProject() string { return "mayfly-demo-" + d.ID }

// composeRun runs docker compose through the project's own script.
func (d *demo) composeRun(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, d.Compose, append([]string{"-f", d.overrideFile()}, args...)...)
	cmd.Env = append(os.Environ(),
		"COMPOSE_PROJECT_NAME="+d.composeProject(), "MAYFLY_CONFIG="+filepath.Join(d.config(), "mayfly.yaml"), "MAYFLY_DATA_DIR="+d.Data,
		"MAYFLY_IMAGE="+d.ServiceImage, "POSTGRES_IMAGE="+d.Image,
		"MAYFLY_API_PUBLISH="+d.APIPublish, "MAYFLY_GATEWAY_PUBLISH="+d.GatewayPublish)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker compose %s: %w\n%s", args[0], err, out)
	}
	return nil
}

func (d *demo) serviceContainer(ctx context.Context) (string, error) {
	return docker(ctx, nil, "ps", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+d.composeProject(),
		"--filter", "label=com.docker.compose.service=mayfly")
}

// login makes an access token where the service runs: that is where its keys are.
func (d *demo) login(ctx context.Context) error {
	arguments := []string{"token", "create", "--subject", "demo", "--scope", "admin", "--ttl", "2d", "--config"}
	var token string
	var err error
	if d.InCompose {
		var container string
		if container, err = d.serviceContainer(ctx); err != nil {
			return err
		}
		token, err = docker(ctx, nil, append(append([]string{"exec", container, "mayfly"}, arguments...), "/etc/mayfly/mayfly.yaml")...)
	} else {
		token, err = output(ctx, nil, d.options.mayfly, append(arguments, filepath.Join(d.config(), "mayfly.yaml"))...)
	}
	if err != nil {
		return err
	}
	d.token = token
	if err := writeSecret(filepath.Join(d.config(), "api.token"), token); err != nil {
		return err
	}
	d.api, err = client.New(d.URL, token, nil)
	return err
}

// mayfly runs the command line as a developer would, with its output on the screen.
func (d *demo) mayfly(ctx context.Context, args ...string) error {
	d.screen.command(append([]string{"mayfly"}, args...)...)
	cmd := exec.CommandContext(ctx, d.options.mayfly, args...)
	cmd.Env = d.environment()
	cmd.Stdout, cmd.Stderr = d.screen.w, d.screen.w
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mayfly %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// ask is mayfly for what a script would read.
func (d *demo) ask(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.options.mayfly, args...)
	cmd.Env = d.environment()
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			return "", fmt.Errorf("mayfly %s: %s", strings.Join(args, " "), strings.TrimSpace(string(failed.Stderr)))
		}
		return "", err
	}
	return strings.TrimRight(string(out), "\n"), nil
}

func (d *demo) environment() []string {
	return append(os.Environ(), "MAYFLY_SERVER="+d.URL, "MAYFLY_TOKEN="+d.token, "MAYFLY_PROJECT=shop", "PSQL_PAGER=", "PAGER=")
}

// serviceLog returns the end of the service's log.
func (d *demo) serviceLog(ctx context.Context) string {
	const lines = 25
	if d.InCompose {
		container, err := d.serviceContainer(ctx)
		if err != nil || container == "" {
			return ""
		}
		raw, _ := exec.CommandContext(ctx, "docker", "logs", "--tail", strconv.Itoa(lines), container).CombinedOutput()
		return string(raw)
	}
	raw, err := os.ReadFile(filepath.Join(d.Dir, "service.log"))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
