package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mayflydb/mayfly"

// rule forbids imports. Packages of this module are written relative to its root, "." being the root package itself, and
// standard library and foreign packages by their full path. A pattern that ends in "/..." means the package and everything
// below it.
type rule struct {
	name   string
	in     []string // packages the rule speaks about
	except []string // those of them that it does not
	forbid []string // what they may not import; "..." is everything of this module, "foreign" everything of other modules
	allow  []string // what they may import all the same
	tests  bool     // whether the rule holds for test files too
	reason string
}

func rules() []rule {
	stages := []string{"webhooks/...", "templates/...", "sanitize/...", "migrations/...", "provisioner"}
	drivers := []string{"provisioner/docker/...", "provisioner/cow/..."}
	testSupport := []string{"internal/pgtest", "internal/auth/authtest", "internal/forge/forgetest", "provisioner/driver/drivertest", "provisioner/driver/memory"}
	programs := []string{"cmd/...", "bench/...", "examples/..."}

	return []rule{
		{
			name: "the vocabulary stands alone", in: []string{"."}, tests: true,
			forbid: []string{"...", "foreign"},
			reason: "everything imports the root package, so whatever it imported would be everywhere",
		},
		{
			name: "nothing imports a program", in: []string{"..."}, except: programs, tests: true,
			forbid: programs,
			reason: "wiring is at the top; what others need of it belongs in a package",
		},
		{
			name: "one package talks to Docker", in: []string{"..."}, except: []string{"provisioner/docker"}, tests: true,
			forbid: []string{"github.com/docker/docker/...", "github.com/docker/go-connections/...", "github.com/moby/moby/..."},
			reason: "the next engine is Kubernetes: everybody else speaks driver.Engine",
		},
		{
			name: "the driver interfaces stand on the vocabulary", in: []string{"provisioner/driver"},
			forbid: []string{"...", "foreign"}, allow: []string{"."},
			reason: "a driver for another platform must not drag this one in",
		},
		{
			name: "drivers know only their interface", in: drivers,
			forbid: []string{"..."}, allow: append([]string{".", "provisioner/driver"}, drivers...),
			reason: "a driver moves bytes and processes; what they are for is above it",
		},
		{
			name: "drivers do not know each other", in: []string{"provisioner/docker/..."},
			forbid: []string{"provisioner/cow/..."},
			reason: "any engine must go with any volumes",
		},
		{
			name: "drivers do not know each other, the other way round", in: []string{"provisioner/cow/..."},
			forbid: []string{"provisioner/docker/..."},
			reason: "any engine must go with any volumes",
		},
		{
			name: "who uses an engine does not choose it", in: []string{"..."},
			except: slices.Concat(programs, drivers, testSupport),
			forbid: drivers,
			reason: "only the wiring in cmd decides which drivers run; the rest takes the interfaces",
		},
		{
			name: "webhooks stores and acknowledges", in: []string{"webhooks/..."},
			forbid: stages, allow: []string{"webhooks/..."},
			reason: "a webhook is a hint, never a command: no stage may be called from its handler",
		},
		{
			name: "templates knows only sanitize", in: []string{"templates/..."},
			forbid: stages, allow: []string{"templates/...", "sanitize/..."},
			reason: "stages are joined by the data that flows through them",
		},
		{
			name: "sanitize knows no other stage", in: []string{"sanitize/..."},
			forbid: stages, allow: []string{"sanitize/..."},
			reason: "what may leave production must be judged by reading this package alone",
		},
		{
			name: "migrations knows no other stage", in: []string{"migrations/..."},
			forbid: stages, allow: []string{"migrations/..."},
			reason: "stages are joined by the data that flows through them",
		},
		{
			name: "provisioner knows templates and migrations", in: []string{"provisioner"},
			forbid: stages, allow: []string{"provisioner", "templates/...", "migrations/..."},
			reason: "a preview is a template's clone with migrations; masking and deliveries are over by then",
		},
		{
			name: "plumbing does not know the stages",
			in:   []string{"internal/..."}, except: append([]string{"internal/api", "internal/dashboard"}, testSupport...),
			forbid: stages,
			reason: "imports point downward; only the HTTP faces show what the stages do",
		},
		{
			name: "the client is light", in: []string{"client"},
			forbid: []string{"...", "foreign"}, allow: []string{"."},
			reason: "other people's programs import it, and would import all that it imports",
		},
		{
			name: "test support stays in tests", in: []string{"..."},
			except: slices.Concat(testSupport, programs),
			forbid: append([]string{"testing", "testing/..."}, testSupport...),
			reason: "fakes and fixtures must not be linked into the service",
		},
		{
			name: "the service has no test support", in: []string{"cmd/mayfly/..."},
			forbid: append([]string{"testing", "testing/..."}, testSupport...),
			reason: "fakes and fixtures must not be linked into the service",
		},
		{
			name: "one package knows the queue", in: []string{"..."}, except: []string{"internal/jobs"},
			forbid: []string{"github.com/riverqueue/river/..."},
			reason: "kinds, retries and timeouts are decided in one place",
		},
		{
			name: "one package knows GitHub's client", in: []string{"..."}, except: []string{"internal/forge/..."},
			forbid: []string{"github.com/google/go-github/..."},
			reason: "the next forge is another implementation, not another branch in every stage",
		},
		{
			name: "HTTP framework at the HTTP faces", in: []string{"..."},
			except: []string{"internal/api", "internal/dashboard", "cmd/..."},
			forbid: []string{"github.com/labstack/echo/..."},
			reason: "handlers elsewhere are net/http and can be mounted anywhere",
		},
		{
			name: "flags in the program", in: []string{"..."}, except: programs,
			forbid: []string{"github.com/spf13/cobra/...", "flag"},
			reason: "a package is configured by its arguments",
		},
		{
			name: "log/slog is the logger", in: []string{"..."}, except: programs,
			forbid: []string{"log"},
			reason: "one structured logger, injected",
		},
	}
}

// listed is what `go list -json` says about a package, as far as it is used here.
type listed struct {
	ImportPath   string
	Name         string
	Doc          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	GoFiles      []string
}

// rel is the package's path in the notation of the rules.
func rel(importPath string) string {
	switch {
	case importPath == module:
		return "."
	case strings.HasPrefix(importPath, module+"/"):
		return strings.TrimPrefix(importPath, module+"/")
	default:
		return importPath
	}
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// foreign reports whether a package comes from another module: only their paths begin with a host name.
func foreign(importPath string) bool {
	host, _, _ := strings.Cut(importPath, "/")
	return strings.Contains(host, ".") && !ours(importPath)
}

func matches(importPath string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		switch {
		case pattern == "...":
			return ours(importPath)
		case pattern == "foreign":
			return foreign(importPath)
		case strings.HasSuffix(pattern, "/..."):
			base := strings.TrimSuffix(pattern, "/...")
			return rel(importPath) == base || strings.HasPrefix(rel(importPath), base+"/")
		default:
			return rel(importPath) == pattern
		}
	})
}

// violations are the imports of p that r forbids.
func (r rule) violations(p listed) []string {
	if !matches(p.ImportPath, r.in) || matches(p.ImportPath, r.except) {
		return nil
	}
	imports := slices.Clone(p.Imports)
	if r.tests {
		imports = slices.Concat(imports, p.TestImports, p.XTestImports)
	}
	slices.Sort(imports)
	var found []string
	for _, imported := range slices.Compact(imports) {
		// An external test imports the package it tests.
		if imported != p.ImportPath && matches(imported, r.forbid) && !matches(imported, r.allow) {
			found = append(found, imported)
		}
	}
	return found
}

// readSources makes the cache of test results depend on the sources: it records the directories that a test reads itself,
// but not what a command reads for it.
func readSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(_ string, entry fs.DirEntry, err error) error {
		// Other packages' tests may make and remove files while this walks.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if entry != nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the sources: %v", err)
	}
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	readSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports,GoFiles", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p) //nolint:musttag // go list's keys are the names of the fields
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("decode what go list says: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 5 {
		t.Fatalf("go list found only %d packages of %s", len(packages), module)
	}
	return packages
}

func TestImportsPointDownward(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range packages {
				for _, imported := range r.violations(p) {
					t.Errorf("%s imports %s, which it must not: %s", rel(p.ImportPath), rel(imported), r.reason)
				}
			}
		})
	}
}

// TestRulesBite makes sure that a rule that is never broken is not one that cannot be.
func TestRulesBite(t *testing.T) {
	t.Parallel()
	cases := []struct {
		importer, imported string
		test, allowed      bool
	}{
		{importer: ".", imported: "github.com/jackc/pgx/v5"},
		{importer: ".", imported: module + "/internal/cluster", test: true},
		{importer: ".", imported: "net/http", allowed: true},
		{importer: "internal/api", imported: module + "/cmd/mayfly"},
		{importer: "provisioner", imported: "github.com/docker/docker/client"},
		{importer: "internal/pgtest", imported: "github.com/docker/docker/api/types"},
		{importer: "provisioner/docker", imported: "github.com/docker/docker/client", allowed: true},
		{importer: "provisioner", imported: module + "/provisioner/docker"},
		{importer: "cmd/mayfly", imported: module + "/provisioner/docker", allowed: true},
		{importer: "provisioner/cow", imported: module + "/provisioner/docker"},
		{importer: "provisioner/docker", imported: module + "/internal/store"},
		{importer: "provisioner/driver", imported: module + "/provisioner/cow"},
		{importer: "webhooks", imported: module + "/provisioner"},
		{importer: "provisioner", imported: module + "/templates", allowed: true},
		{importer: "provisioner", imported: module + "/sanitize"},
		{importer: "templates/archive", imported: module + "/sanitize", allowed: true},
		{importer: "templates", imported: module + "/migrations"},
		{importer: "internal/store", imported: module + "/provisioner"},
		{importer: "internal/store", imported: module + "/provisioner/driver", allowed: true},
		{importer: "internal/api", imported: module + "/provisioner", allowed: true},
		{importer: "client", imported: module + "/internal/api"},
		{importer: "internal/gateway", imported: module + "/internal/pgtest"},
		{importer: "internal/gateway", imported: module + "/internal/pgtest", test: true, allowed: true},
		{importer: "cmd/mayfly", imported: module + "/internal/forge/forgetest"},
		{importer: "provisioner", imported: "github.com/riverqueue/river"},
	}
	for _, c := range cases {
		importPath := path.Join(module, c.importer)
		p := listed{ImportPath: importPath, Imports: []string{c.imported}}
		if c.test {
			p = listed{ImportPath: importPath, XTestImports: []string{importPath, c.imported}}
		}
		var broken []string
		for _, r := range rules() {
			if len(r.violations(p)) > 0 {
				broken = append(broken, r.name)
			}
		}
		if allowed := len(broken) == 0; allowed != c.allowed {
			t.Errorf("%s importing %s (in a test: %v): allowed is %v, want %v; rules broken: %q",
				c.importer, rel(c.imported), c.test, allowed, c.allowed, broken)
		}
	}
}

func TestEveryRuleHasAReason(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, r := range rules() {
		if r.reason == "" || len(r.in) == 0 || len(r.forbid) == 0 {
			t.Errorf("rule %q lacks a reason, a subject or a prohibition", r.name)
		}
		if names[r.name] {
			t.Errorf("two rules are called %q", r.name)
		}
		names[r.name] = true
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		want := fmt.Sprintf("Package %s ", p.Name)
		if p.Name == "main" {
			want = fmt.Sprintf("Command %s ", path.Base(p.ImportPath))
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("the doc comment of %s must begin with %q, not %q", rel(p.ImportPath), want, p.Doc)
		}
	}
}

func TestPackagesAreNamedAfterTheirSubject(t *testing.T) {
	t.Parallel()
	empty := []string{"util", "utils", "common", "shared", "model", "models", "helper", "helpers", "misc", "types", "base", "lib"}
	for _, p := range listPackages(t) {
		if slices.Contains(empty, p.Name) {
			t.Errorf("%s: the name %q says nothing about what is in it", rel(p.ImportPath), p.Name)
		}
		if strings.ToLower(p.Name) != p.Name || strings.Contains(p.Name, "_") {
			t.Errorf("%s: package names are lower case and one word, not %q", rel(p.ImportPath), p.Name)
		}
	}
}
