package config

import (
	"errors"
	"fmt"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// fileRunner is how a project's own migration command runs.
type fileRunner struct {
	Image   string            `yaml:"image"`
	Command commandLine       `yaml:"command"`
	User    string            `yaml:"user"`
	Dir     string            `yaml:"dir"`
	Link    map[string]string `yaml:"link"`
	Env     map[string]string `yaml:"env"`
	// Secrets are variables whose values are in files: name by path.
	Secrets map[string]string `yaml:"secrets"`
	Network *fileNetwork      `yaml:"network"`
	Memory  Bytes             `yaml:"memory"`
	CPUs    float64           `yaml:"cpus"`
	Pids    int64             `yaml:"pids"`
	Disk    Bytes             `yaml:"disk"`
	Output  Bytes             `yaml:"output"`
	Tmp     Bytes             `yaml:"tmp"`
}

type fileNetwork struct {
	Allow []string `yaml:"allow"`
}

// commandLine is a list of arguments, or one text for the image's shell.
type commandLine []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (c *commandLine) UnmarshalYAML(decode func(any) error) error {
	var list []string
	if err := decode(&list); err == nil {
		*c = list
		return nil
	}
	var text string
	if err := decode(&text); err != nil || strings.TrimSpace(text) == "" {
		return errors.New("a command is a list of arguments, or one text for the shell")
	}
	*c = commandLine{"/bin/sh", "-c", text}
	return nil
}

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	allowedHost  = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)
	userName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)
)

// ownVariables are those by which the command finds the preview. Another value would lead it elsewhere.
func ownVariables() []string {
	return []string{"DATABASE_URL", "PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD"}
}

// resolveRunner checks what belongs to migrations that are code, and the path that only the others need.
func (m *fileMigrations) resolveRunner(dir, tool string) (mayfly.RunnerSettings, error) {
	var none mayfly.RunnerSettings
	code := slices.Contains(mayfly.RunnerTools(), tool)
	switch {
	case m.Runner == nil && code:
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.image is missing: the migrations of %s are code, which runs in an image of the project", tool).
			WithHint("migrations: {tool: %s, runner: {image: registry.example.com/shop:main}}", tool)
	case m.Runner == nil:
		return none, nil
	case !code && tool != mayfly.MigrationToolAuto:
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner belongs to tools whose migrations are code, and not to %q", tool).
			WithHint("those are %s", strings.Join(mayfly.RunnerTools(), ", "))
	case m.Runner.Image == "":
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.image is missing").WithHint("an image that has what the project's command needs")
	case tool == "command" && len(m.Runner.Command) == 0:
		return none, mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.command is missing").WithHint("write it as a list, such as [bin/migrate, up]")
	}
	return m.Runner.resolve(dir)
}

func (r *fileRunner) resolve(dir string) (mayfly.RunnerSettings, error) {
	out := mayfly.RunnerSettings{
		Image: r.Image, Command: r.Command, User: r.User, Dir: r.Dir, Link: r.Link, Env: r.Env, MemoryBytes: int64(r.Memory), CPUs: r.CPUs, Pids: r.Pids,
		DiskBytes: int64(r.Disk), OutputBytes: int64(r.Output), TmpBytes: int64(r.Tmp),
	}
	if err := r.checkPlaces(); err != nil {
		return out, err
	}
	for _, names := range []map[string]string{r.Env, r.Secrets} {
		for name := range names {
			if !variableName.MatchString(name) || slices.Contains(ownVariables(), name) {
				return out, mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.env: %q is no variable that can be set", name).
					WithHint("the variables by which the preview is found are set by Mayfly")
			}
		}
	}
	for name, file := range r.Secrets {
		value, err := readSecret(inDir(dir, file))
		if err != nil {
			return out, fmt.Errorf("migrations.runner.secrets.%s: %w", name, err)
		}
		if out.Secrets == nil {
			out.Secrets = map[string]string{}
		}
		out.Secrets[name] = value
	}
	if r.Network != nil {
		for _, host := range r.Network.Allow {
			if err := checkHost(host); err != nil {
				return out, err
			}
		}
		out.Allow = r.Network.Allow
	}
	return out, r.checkLimits()
}

func (r *fileRunner) checkPlaces() error {
	if r.User != "" && !userName.MatchString(r.User) {
		return mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.user %q is no user", r.User).WithHint("a name or number of the image, such as 1000:1000")
	}
	if clean := path.Clean(r.Dir); r.Dir != "" && (clean != r.Dir || !path.IsAbs(clean) || slices.ContainsFunc(
		[]string{"/", "/tmp", "/proc", "/sys", "/dev", "/etc", "/usr", "/bin", "/lib", "/run", "/var", "/var/run", "/mayfly"},
		func(taken string) bool {
			return clean == taken || taken != "/" && taken != "/var" && taken != "/usr" && strings.HasPrefix(clean, taken+"/")
		})) {
		return mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.dir %q is not a directory for a checkout", r.Dir).WithHint("an absolute path such as /app; what the image has there is hidden")
	}
	for name, target := range r.Link {
		if path.Clean(name) != name || path.IsAbs(name) || name == "." || name == ".." || strings.HasPrefix(name, "../") || !path.IsAbs(target) {
			return mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.link: %q to %q is no link from the checkout into the image", name, target).
				WithHint("write it as node_modules: /app/node_modules")
		}
	}
	return nil
}

func checkHost(entry string) error {
	host, port, err := net.SplitHostPort(entry)
	number, portErr := strconv.Atoi(port)
	if err != nil || portErr != nil || number < 1 || number > 65535 || net.ParseIP(host) != nil || !allowedHost.MatchString(host) {
		return mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner.network.allow: %q is not host:port", entry).
			WithHint("write it as rubygems.org:443, or *.example.com:443; addresses cannot be allowed")
	}
	return nil
}

// The least with which a runner makes sense.
const (
	leastRunnerMemory = 64 << 20
	leastRunnerPids   = 32
)

func (r *fileRunner) checkLimits() error {
	if r.Memory != 0 && r.Memory < leastRunnerMemory || r.Pids < 0 || r.Pids != 0 && r.Pids < leastRunnerPids || r.CPUs < 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "migrations.runner: the limits are too low for any command").
			WithHint("at least 64MiB of memory and %d processes", leastRunnerPids)
	}
	return nil
}
