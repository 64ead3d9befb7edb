package migrations

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	mayfly "github.com/mayflydb/mayfly"
)

// liquibaseDepth is how deep changelogs may include each other.
const liquibaseDepth = 16

// liquibaseLog reads a tree of changelogs.
type liquibaseLog struct {
	files    map[string]File
	settings mayfly.MigrationSettings
	history  *History
	// included are the paths of all changelogs read so far.
	included []string
	// searched is the directory, with "/" at its end, to which an include without relativeToChangelogFile is relative; "" if
	// none has told.
	searched string
}

// root finds the first changelog: the path of the settings, or a usual name in it. "" is for no files at all.
func (l *liquibaseLog) root() (string, error) {
	dir := path.Clean(strings.Trim(l.settings.Path, "/"))
	if _, ok := l.files[dir]; ok {
		return dir, nil
	}
	below := false
	for p := range l.files {
		below = below || dir == "." || strings.HasPrefix(p, dir+"/")
	}
	if !below {
		return "", nil
	}
	for _, name := range []string{"db.changelog-master", "db.changelog-root", "changelog-master", "changelog-root", "changelog", "db.changelog", "master", "root"} {
		for _, extension := range []string{".yaml", ".yml", ".xml", ".sql"} {
			if p := path.Join(dir, name+extension); l.files[p].Path != "" {
				return p, nil
			}
		}
	}
	return "", invalid("set migrations.path to the changelog that production is updated with", "%s: there is no db.changelog-master.yaml, .xml or .sql in it", dir)
}

// liquibaseInclude is an include or includeAll.
type liquibaseInclude struct {
	line     int
	target   string
	all      bool
	relative bool
}

func (l *liquibaseLog) include(file string, depth int) error {
	if depth > liquibaseDepth || slices.Contains(l.included, file) && !strings.HasSuffix(file, ".sql") {
		return invalid("take the include out", "%s includes itself, or changelogs are nested more than %d deep", file, liquibaseDepth)
	}
	f, ok := l.files[file]
	if !ok {
		return invalid("Liquibase stops there, too", "the changelog %s does not exist", file)
	}
	l.included = append(l.included, file)
	var includes []liquibaseInclude
	var err error
	switch path.Ext(file) {
	case ".sql":
		return l.formatted(f)
	case ".yaml", ".yml":
		includes, err = liquibaseYAML(f)
	case ".xml":
		includes, err = liquibaseXML(f)
	default:
		return invalid("have Liquibase run by a runner command", "%s: changelogs of this kind are not run natively", file)
	}
	if err != nil {
		return err
	}
	for _, i := range includes {
		if err := l.follow(f, i, depth); err != nil {
			return err
		}
	}
	return nil
}

// follow reads what an include names.
func (l *liquibaseLog) follow(from File, i liquibaseInclude, depth int) error {
	if i.all {
		return l.followAll(from, i, depth)
	}
	target, ok := l.resolve(from.Path, i, func(p string) bool { return l.files[p].Path != "" })
	if !ok {
		return invalid("Liquibase stops there, too", "%s: there is no file %q", at(from.Path, i.line), excerpt(i.target, 200))
	}
	return l.include(target, depth+1)
}

func (l *liquibaseLog) followAll(from File, i liquibaseInclude, depth int) error {
	below := func(dir string) []string {
		var list []string
		for p := range l.files {
			if strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") {
				list = append(list, p)
			}
		}
		slices.Sort(list)
		return list
	}
	dir, ok := l.resolve(from.Path, i, func(p string) bool { return len(below(p)) > 0 })
	if !ok {
		return invalid("Liquibase stops there, too", "%s: there is nothing in %q", at(from.Path, i.line), excerpt(i.target, 200))
	}
	for _, p := range below(dir) {
		switch path.Ext(p) {
		case ".sql", ".yaml", ".yml", ".xml", ".json":
			if p == from.Path {
				continue
			}
			if err := l.include(p, depth+1); err != nil {
				return err
			}
		default:
			l.history.Findings = append(l.history.Findings, ignored(p, "it is not a changelog"))
		}
	}
	return nil
}

// resolve finds the path in the repository. Without relativeToChangelogFile it is relative to a directory that the command
// searches: some directory above the changelog.
func (l *liquibaseLog) resolve(from string, i liquibaseInclude, exists func(string) bool) (string, bool) {
	target := strings.TrimPrefix(strings.TrimPrefix(i.target, "classpath:"), "/")
	if i.relative {
		p := path.Join(path.Dir(from), target)
		return p, exists(p)
	}
	for dir := path.Dir(from); ; dir = path.Dir(dir) {
		p := path.Join(dir, target)
		if exists(p) {
			l.searched = strings.TrimPrefix(dir+"/", "./")
			return p, true
		}
		if dir == "." || dir == "/" {
			return "", false
		}
	}
}

const liquibaseOnlySQL = "changelogs that include files of formatted SQL are run natively; have Liquibase run by a runner command"

// Entries of a changelog in YAML, and anchors, of which a small file could make a large one.
var (
	liquibaseEntry  = regexp.MustCompile(`(?m)^\s*-\s*\w+\s*:`)
	liquibaseAnchor = regexp.MustCompile(`(?m)(^|[\s\[{,:-])[&*]\w`)
)

func liquibaseYAML(f File) ([]liquibaseInclude, error) {
	var log struct {
		Entries []map[string]any `yaml:"databaseChangeLog"` //nolint:tagliatelle // the tool's own
	}
	if liquibaseAnchor.Match(f.Content) {
		return nil, invalid("write the values where they are used", "%s: anchors and aliases are not read", f.Path)
	}
	if err := yaml.Unmarshal(f.Content, &log); err != nil {
		return nil, invalid("Liquibase refuses the file, too", "%s is not a changelog: %s", f.Path, excerpt(yaml.FormatError(err, false, false), 200))
	}
	places := liquibaseEntry.FindAllIndex(f.Content, -1)
	var includes []liquibaseInclude
	for n, entry := range log.Entries {
		line := 1
		if n < len(places) {
			line, _ = lineColumn(string(f.Content), places[n][1])
		}
		for kind, value := range entry {
			options, ok := value.(map[string]any)
			if kind != "include" && kind != "includeAll" || !ok {
				return nil, invalid(liquibaseOnlySQL, "%s: %q cannot be honoured", at(f.Path, line), excerpt(kind, 40))
			}
			texts := map[string]string{}
			for name, v := range options {
				texts[name] = fmt.Sprint(v)
			}
			i, err := liquibaseOptions(f, line, kind, texts)
			if err != nil {
				return nil, err
			}
			includes = append(includes, i)
		}
	}
	return includes, nil
}

func liquibaseXML(f File) ([]liquibaseInclude, error) {
	var includes []liquibaseInclude
	decoder := xml.NewDecoder(strings.NewReader(string(f.Content)))
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return includes, nil
		}
		if err != nil {
			return nil, invalid("Liquibase refuses the file, too", "%s is not a changelog: %v", f.Path, err)
		}
		switch t := token.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			depth++
			line, _ := decoder.InputPos()
			kind := t.Name.Local
			if depth == 1 && kind == "databaseChangeLog" {
				continue
			}
			if depth != 2 || kind != "include" && kind != "includeAll" {
				return nil, invalid(liquibaseOnlySQL, "%s: <%s> cannot be honoured", at(f.Path, line), excerpt(kind, 40))
			}
			options := map[string]string{}
			for _, a := range t.Attr {
				options[a.Name.Local] = a.Value
			}
			i, err := liquibaseOptions(f, line, kind, options)
			if err != nil {
				return nil, err
			}
			includes = append(includes, i)
		}
	}
}

func liquibaseOptions(f File, line int, kind string, options map[string]string) (liquibaseInclude, error) {
	i := liquibaseInclude{line: line, all: kind == "includeAll"}
	for name, value := range options {
		switch {
		case name == "file" && !i.all, name == "path" && i.all:
			i.target = value
		case name == "relativeToChangelogFile" && (value == "true" || value == "false"):
			i.relative = value == "true"
		case name == "errorIfMissingOrEmpty", name == "errorIfMissing":
		default:
			return i, invalid(liquibaseOnlySQL, "%s: %s of %s cannot be honoured", at(f.Path, line), excerpt(name, 40), kind)
		}
	}
	if i.target == "" {
		return i, invalid("Liquibase refuses the file, too", "%s: %s names nothing", at(f.Path, line), kind)
	}
	if strings.Contains("/"+i.target+"/", "/../") && !i.relative {
		return i, invalid("write the path below the searched directory", "%s: the path leads out of the directory", at(f.Path, line))
	}
	return i, nil
}

// expand fills in ${name} where the settings have a value. Others stay as they are, as the tool leaves them.
func (l *liquibaseLog) expand(text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	for name, value := range l.settings.Placeholders {
		text = strings.ReplaceAll(text, fmt.Sprintf("${%s}", name), strings.ReplaceAll(value, "\n", " "))
	}
	return text
}
