package api

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
)

// descriptions are the doc comments of Go types, and of their fields by the name in JSON: "Preview" and "Preview.state".
type descriptions map[string]string

// readDescriptions reads the comments of all types in the files.
func readDescriptions(source fs.FS) (descriptions, error) {
	names, err := fs.Glob(source, "*.go")
	if err != nil {
		return nil, fmt.Errorf("list the sources of the API's types: %w", err)
	}
	d := descriptions{}
	for _, name := range names {
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return nil, fmt.Errorf("read the API's types: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the API's types: %w", err)
		}
		for _, declared := range file.Decls {
			if general, ok := declared.(*ast.GenDecl); ok && general.Tok == token.TYPE {
				d.addTypes(general)
			}
		}
	}
	return d, nil
}

func (d descriptions) addTypes(general *ast.GenDecl) {
	for _, spec := range general.Specs {
		declared, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		d[declared.Name.Name] = sentence(general.Doc.Text())
		if structure, ok := declared.Type.(*ast.StructType); ok {
			for _, field := range structure.Fields.List {
				d.addField(declared.Name.Name, field)
			}
		}
	}
}

func (d descriptions) addField(of string, field *ast.Field) {
	text := sentence(field.Doc.Text())
	if text == "" {
		text = sentence(field.Comment.Text())
	}
	if field.Tag == nil || text == "" {
		return
	}
	tag, err := strconv.Unquote(field.Tag.Value)
	if err != nil {
		return
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	d[of+"."+name] = text
}

// sentence makes one line of a comment, without what is for the linter.
func sentence(comment string) string {
	comment, _, _ = strings.Cut(comment, "nolint:")
	return strings.Join(strings.Fields(comment), " ")
}

// describe adds the descriptions to a schema and its properties.
func (d descriptions) describe(name string, schema object) {
	if text := d[name]; text != "" {
		schema["description"] = text
	}
	properties, ok := schema["properties"].(object)
	if !ok {
		return
	}
	for property, of := range properties {
		one, ok := of.(object)
		if _, anything := of.(bool); anything { // the same as an empty schema, which can be described
			one, ok = object{}, true
			properties[property] = one
		}
		if text := d[name+"."+property]; ok && text != "" {
			one["description"] = text // beside a $ref too: JSON Schema 2020-12 allows that
		}
	}
}
