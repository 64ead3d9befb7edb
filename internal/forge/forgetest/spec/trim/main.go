// Command trim makes the descriptions that the fake GitHub checks calls against: of GitHub's OpenAPI description the operations in
// operations.txt with the components they use, and of its GraphQL schema the types that lead to files. Run it in the directory spec:
//
//	npm pack @octokit/openapi @octokit/graphql-schema
//	tar xzf octokit-openapi-*.tgz package/generated/api.github.com.json package/package.json
//	tar xzf octokit-graphql-schema-*.tgz package/schema.graphql
//	go run ./trim package && rm -r package octokit-*.tgz
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: trim <the unpacked npm packages>")
		os.Exit(2) //nolint:forbidigo // this is main
	}
	if err := errors.Join(trimREST(os.Args[1]), trimGraphQL(os.Args[1])); err != nil {
		fmt.Fprintln(os.Stderr, "trim:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// operations reads which operations to keep.
func operations() (map[string]bool, error) {
	text, err := os.ReadFile("operations.txt")
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keep[line] = true
		}
	}
	return keep, nil
}

type object = map[string]any

func trimREST(from string) error {
	keep, err := operations()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(from, "generated", "api.github.com.json"))
	if err != nil {
		return err
	}
	var document struct {
		OpenAPI    string            `json:"openapi"`
		Info       object            `json:"info"`
		Paths      map[string]object `json:"paths"`
		Components map[string]object `json:"components"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		return err
	}
	paths := map[string]object{}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			o, ok := operation.(object)
			id, _ := o["operationId"].(string)
			if !ok || !keep[id] {
				continue
			}
			delete(keep, id)
			if paths[path] == nil {
				paths[path] = object{}
			}
			paths[path][method] = o
		}
	}
	for id := range keep {
		return fmt.Errorf("there is no operation %s", id)
	}
	components := map[string]object{}
	follow(paths, document.Components, components)
	if err := correct(components); err != nil {
		return err
	}
	out, err := json.Marshal(strip(object{
		"openapi": document.OpenAPI, "info": object{"title": "GitHub v3 REST API, the part that Mayfly uses", "version": document.Info["version"]},
		"paths": paths, "components": components,
	}))
	if err != nil {
		return err
	}
	return compress("api.github.com.json.gz", out)
}

// follow puts into kept all components that v refers to.
func follow(v any, all, kept map[string]object) {
	switch v := v.(type) {
	case map[string]object:
		for _, member := range v {
			follow(member, all, kept)
		}
	case object:
		if ref, ok := v["$ref"].(string); ok {
			kind, name, _ := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
			if kind == "examples" {
				return
			}
			if kept[kind] == nil {
				kept[kind] = object{}
			}
			if _, known := kept[kind][name]; !known {
				kept[kind][name] = all[kind][name]
				follow(all[kind][name], all, kept)
			}
		}
		for _, member := range v {
			follow(member, all, kept)
		}
	case []any:
		for _, member := range v {
			follow(member, all, kept)
		}
	}
}

// correct mends where GitHub's description is known not to be what GitHub does: the repository of a pull request's head is null when
// that fork was deleted (so are the published webhook payloads).
func correct(components map[string]object) error {
	v := any(components["schemas"])
	for _, name := range []string{"pull-request", "properties", "head", "properties", "repo"} {
		o, ok := v.(object)
		if !ok || o[name] == nil {
			return fmt.Errorf("the description of pull requests has changed: no %s", name)
		}
		if name == "repo" {
			o[name] = object{"nullable": true, "allOf": []any{o[name]}}
		}
		v = o[name]
	}
	return nil
}

// strip leaves out what is for people.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]object:
		out := object{}
		for name, member := range v {
			out[name] = strip(member)
		}
		return out
	case object:
		out := object{}
		for name, member := range v {
			_, text := member.(string)
			if text && (name == "description" || name == "summary") || name == "examples" || name == "externalDocs" || strings.HasPrefix(name, "x-") {
				if name != "description" {
					continue
				}
				member = "" // responses must have one
			}
			if name == "example" || name == "discriminator" { // examples are for people; of /user the discriminator is never sent
				continue
			}
			out[name] = strip(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, member := range v {
			out[i] = strip(member)
		}
		return out
	}
	return v
}

// kept are the fields of the GraphQL schema that are kept, by type.
var kept = map[string][]string{ //nolint:gochecknoglobals // a constant
	"Query":      {"id", "node", "rateLimit"},
	"RateLimit":  {"cost", "remaining", "resetAt", "limit"},
	"Node":       {"id"},
	"Repository": {"id", "nameWithOwner", "object"},
	"GitObject":  {"oid", "id"},
	"Commit":     {"oid", "id"},
	"Tag":        {"oid", "id"},
	"Tree":       {"oid", "id", "entries"},
	"TreeEntry":  {"mode", "name", "oid", "object", "path", "size", "type"},
	"Blob":       {"oid", "id", "byteSize", "isBinary", "isTruncated", "text"},
}

func trimGraphQL(from string) error {
	raw, err := os.ReadFile(filepath.Join(from, "schema.graphql"))
	if err != nil {
		return err
	}
	document, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: string(raw)})
	if err != nil {
		return err
	}
	trimmed := &ast.SchemaDocument{}
	for _, definition := range document.Definitions {
		fields := kept[definition.Name]
		scalar := slices.Contains([]string{"GitObjectID", "DateTime", "URI"}, definition.Name)
		if fields == nil && !scalar {
			continue
		}
		definition.Fields = slices.DeleteFunc(definition.Fields, func(f *ast.FieldDefinition) bool { return !slices.Contains(fields, f.Name) })
		definition.Interfaces = slices.DeleteFunc(definition.Interfaces, func(name string) bool { return kept[name] == nil })
		definition.Description, definition.Directives = "", nil
		for _, field := range definition.Fields {
			field.Description, field.Directives = "", nil
			for _, argument := range field.Arguments {
				argument.Description, argument.Directives = "", nil
			}
		}
		trimmed.Definitions = append(trimmed.Definitions, definition)
	}
	var out bytes.Buffer
	formatter.NewFormatter(&out).FormatSchemaDocument(trimmed)
	return os.WriteFile("schema.graphql", out.Bytes(), 0o644)
}

func compress(name string, content []byte) error {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, out.Bytes(), 0o644)
}
