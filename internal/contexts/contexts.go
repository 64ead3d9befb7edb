package contexts

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"

	mayfly "github.com/mayflydb/mayfly"
)

// Context is one server as a person works with it.
type Context struct {
	Name   string `yaml:"name" json:"name"`
	Server string `yaml:"server" json:"server"`
	// Project is the one that is meant if none is named; "" for none.
	Project string `yaml:"project,omitempty" json:"project,omitempty"`
	// TokenFile is a file with an access token that somebody else keeps up to date; "" if the token is kept here, by `mayfly login`.
	TokenFile string `yaml:"token_file,omitempty" json:"token_file,omitempty"`
}

// File is what config.yaml holds.
type File struct {
	Current  string    `yaml:"current,omitempty" json:"current,omitempty"`
	Contexts []Context `yaml:"contexts,omitempty" json:"contexts"`
}

// Dir is a directory with config.yaml and tokens/. Its methods may be called by several processes at once.
type Dir string

// Default is $XDG_CONFIG_HOME/mayfly, or ~/.config/mayfly (XDG Base Directory Specification).
func Default(getenv func(string) string) Dir {
	base := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) { // the specification: a relative one is to be ignored
		base = filepath.Join(getenv("HOME"), ".config")
	}
	return Dir(filepath.Join(base, "mayfly"))
}

func (d Dir) path() string { return filepath.Join(string(d), "config.yaml") }

// Load reads the file; one that is not there is empty.
func (d Dir) Load() (*File, error) {
	f := &File{}
	raw, err := os.ReadFile(d.path())
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = yaml.UnmarshalWithOptions(raw, f, yaml.Strict())
	}
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "read %s: %w", d.path(), err).WithHint("mend the file, or remove it and log in again")
	}
	for _, c := range f.Contexts {
		if err := ValidateName(c.Name); err != nil { // it becomes part of a path
			return nil, err
		}
	}
	return f, nil
}

// Update changes the file: no other process changes it meanwhile, and a crash leaves the old one or the new one.
func (d Dir) Update(change func(*File) error) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	f, err := d.Load()
	if err != nil {
		return err
	}
	if err := change(f); err != nil {
		return err
	}
	raw, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode contexts: %w", err)
	}
	return replace(d.path(), raw)
}

// lock waits for other processes that change something.
func (d Dir) lock() (unlock func(), err error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "make the directory of contexts: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(string(d), ".lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "lock the contexts: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(mayfly.Errorf(mayfly.CodeInvalid, "lock the contexts: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// replace writes a file that only its owner can read, whole or not at all.
func replace(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "write %s: %w", path, err)
	}
	return nil
}

// Find returns the context with that name.
func (f *File) Find(name string) (Context, bool) {
	i := slices.IndexFunc(f.Contexts, func(c Context) bool { return c.Name == name })
	if i < 0 {
		return Context{}, false
	}
	return f.Contexts[i], true
}

// OfServer returns the context for a server: the current one if it is that, else the first.
func (f *File) OfServer(server string) (Context, bool) {
	if c, ok := f.Find(f.Current); ok && c.Server == server {
		return c, true
	}
	i := slices.IndexFunc(f.Contexts, func(c Context) bool { return c.Server == server })
	if i < 0 {
		return Context{}, false
	}
	return f.Contexts[i], true
}

// Put adds a context, or replaces the one of that name.
func (f *File) Put(c Context) {
	f.Contexts = slices.DeleteFunc(f.Contexts, func(other Context) bool { return other.Name == c.Name })
	f.Contexts = append(f.Contexts, c)
	slices.SortFunc(f.Contexts, func(a, b Context) int { return strings.Compare(a.Name, b.Name) })
}

// Missing is the error about a context that there is not.
func (f *File) Missing(name string) error {
	err := mayfly.Errorf(mayfly.CodeNotFound, "there is no context %q", name)
	if len(f.Contexts) == 0 {
		return err.WithHint("make one with: mayfly login SERVER")
	}
	names := make([]string, len(f.Contexts))
	for i, c := range f.Contexts {
		names[i] = c.Name
	}
	return err.WithHint("there are: %s", strings.Join(names, ", "))
}

// ValidateName returns an *mayfly.Error with CodeInvalid unless name can be a context's, and a file's.
func ValidateName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString(name) {
		return mayfly.Errorf(mayfly.CodeInvalid, "%q cannot be the name of a context", name).WithHint("use letters, digits, '.', '-' and '_'")
	}
	return nil
}

// Address makes a server's address comparable, and adds https:// where a person leaves it out.
func Address(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "%q is not a server's address", text).WithHint("use something like https://mayfly.example.com")
	}
	u.Host = strings.ToLower(u.Host)
	return strings.TrimRight(u.String(), "/"), nil
}

// NameFor is a name for a server's context: its host, and its port if it has one.
func NameFor(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "default"
	}
	name := strings.Trim(regexp.MustCompile(`[^A-Za-z0-9._-]+`).ReplaceAllString(u.Host, "-"), "-._")
	return name[:min(len(name), 64)]
}
