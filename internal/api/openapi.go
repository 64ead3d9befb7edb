package api

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/mayflydb/mayfly/client"
)

type object = map[string]any

var pathParameter = regexp.MustCompile(`:([a-z]+)`)

// openAPI makes the OpenAPI 3.1 document from the table of routes. Its schemas are JSON Schema 2020-12, which is what 3.1
// uses, read off the Go types.
func (a *API) openAPI() ([]byte, error) {
	schemas := object{}
	paths := object{}
	for _, r := range a.routes() {
		path := "/api/v1" + pathParameter.ReplaceAllString(r.path, "{$1}")
		operations, ok := paths[path].(object)
		if !ok {
			operations = object{}
			paths[path] = operations
		}
		operations[strings.ToLower(r.method)] = operation(r, schemas)
	}
	schemaOf(&client.Problem{}, schemas)
	document := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Mayfly", "version": a.Version,
			"description": "Preview databases for pull requests, and sandboxes on request. Errors are problem details (RFC 9457) with a stable code and a hint.",
		},
		"paths": paths,
		"components": object{
			"schemas": schemas,
			"securitySchemes": object{
				"token": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "made with: mayfly token create"},
			},
		},
		"security": []any{object{"token": []string{}}},
	}
	encoded, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return encoded, nil
}

func operation(r route, schemas object) object {
	var parameters []any
	for _, match := range pathParameter.FindAllStringSubmatch(r.path, -1) {
		parameters = append(parameters, object{"name": match[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, q := range r.query {
		parameters = append(parameters, object{"name": q.name, "in": "query", "description": q.description, "schema": schemaOfParameter(q)})
	}
	answer := object{"description": "what was asked for"}
	mediaType := "application/json"
	if r.events {
		mediaType = "text/event-stream"
	}
	content := object{}
	if r.gives != nil {
		content["schema"] = schemaOf(r.gives, schemas)
	}
	media := object{mediaType: content}
	if r.html {
		media["text/html"] = object{}
	}
	answer["content"] = media
	out := object{
		"operationId": r.id, "summary": r.summary, "description": needs(r),
		"responses": object{
			strconv.Itoa(r.status): answer,
			"default": object{
				"description": "an error",
				"content":     object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}},
			},
		},
	}
	if r.public {
		out["security"] = []any{}
	}
	if len(parameters) > 0 {
		out["parameters"] = parameters
	}
	if r.takes != nil {
		out["requestBody"] = object{"content": object{"application/json": object{"schema": schemaOf(r.takes, schemas)}}}
	}
	return out
}

func needs(r route) string {
	if r.public {
		return "Needs no token."
	}
	return "Needs the scope `" + string(r.scope) + "`."
}

func schemaOfParameter(p parameter) object {
	schema := object{"type": "string"}
	if p.values != nil {
		schema["enum"] = p.values
	}
	return schema
}

// schemaOf adds the type's schema, and those it refers to, to schemas and returns a reference to it.
func schemaOf(v any, schemas object) object {
	reflector := jsonschema.Reflector{AllowAdditionalProperties: true}
	root := reflector.Reflect(v)
	for name, schema := range root.Definitions {
		encoded, err := json.Marshal(schema)
		if err != nil {
			continue // cannot happen: the library made it
		}
		rewritten := strings.ReplaceAll(string(encoded), `"#/$defs/`, `"#/components/schemas/`)
		schemas[name] = json.RawMessage(rewritten)
	}
	return object{"$ref": "#/components/schemas/" + strings.TrimPrefix(root.Ref, "#/$defs/")}
}
