package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/mayflydb/mayfly/client"
)

type object = map[string]any

var pathParameter = regexp.MustCompile(`:([a-z]+)`)

// documenter makes the OpenAPI document.
type documenter struct {
	schemas      object
	descriptions descriptions
	examples     map[reflect.Type]any
}

// openAPI makes the OpenAPI 3.1 document from the table of routes. Its schemas are JSON Schema 2020-12, which is what 3.1
// uses, read off the Go types; what fields mean is in the comments of those.
func (a *API) openAPI() ([]byte, error) {
	d := &documenter{schemas: object{}, examples: map[reflect.Type]any{}}
	var err error
	if d.descriptions, err = readDescriptions(client.Source); err != nil {
		return nil, err
	}
	for _, example := range examples() {
		d.examples[reflect.TypeOf(example)] = example
	}
	paths := object{}
	for _, r := range a.routes() {
		path := "/api/v1" + pathParameter.ReplaceAllString(r.path, "{$1}")
		operations, ok := paths[path].(object)
		if !ok {
			operations = object{}
			paths[path] = operations
		}
		operations[strings.ToLower(r.method)] = d.operation(r)
	}
	d.schemaOf(&client.Problem{})
	d.schemaOf(&client.StepEvent{})
	document := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Mayfly", "version": a.Version,
			"description": "Preview databases for pull requests, and sandboxes on request. Errors are problem details (RFC 9457) with a stable code and a hint.",
		},
		"paths": paths,
		"components": object{
			"schemas": d.schemas,
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

func (d *documenter) operation(r route) object {
	responses := object{
		strconv.Itoa(r.status): d.answer(r),
		"default": object{
			"description": "an error", "content": object{"application/problem+json": d.content(&client.Problem{})},
		},
	}
	if r.etag {
		responses["304"] = object{"description": "nothing is new since the version that If-None-Match names"}
	}
	out := object{"operationId": r.id, "summary": r.summary, "description": needs(r), "responses": responses}
	if r.public {
		out["security"] = []any{}
	}
	if parameters := d.parameters(r); len(parameters) > 0 {
		out["parameters"] = parameters
	}
	if r.takes != nil {
		out["requestBody"] = object{"content": object{"application/json": d.content(r.takes)}}
	}
	return out
}

func (d *documenter) answer(r route) object {
	answer := object{"description": "what was asked for"}
	content := object{}
	if r.gives != nil {
		content = d.content(r.gives)
	}
	media := object{"application/json": content}
	switch {
	case r.events:
		// The data of an event is JSON; contentSchema is that of the event that has everything, the others are StepEvents.
		media = object{"text/event-stream": object{
			"schema":  object{"type": "string", "contentMediaType": "application/json", "contentSchema": content["schema"]},
			"example": exampleStream(r),
		}}
	case r.text:
		media = object{"text/plain": object{"schema": object{"type": "string"}, "example": "2026-03-02 09:12:44.031 UTC [1] LOG:  database system is ready to accept connections\n"}}
	case r.gives == nil:
		media = object{"application/json": object{"example": object{}}}
	}
	for name, example := range r.exports {
		media[name] = object{"example": example} // a schema would be that of one line
	}
	if r.html {
		media["text/html"] = object{}
	}
	answer["content"] = media
	headers := object{}
	if r.etag || r.conditional {
		headers["ETag"] = object{"description": "the version that is shown, for If-Match and If-None-Match", "schema": object{"type": "string"}}
	}
	if r.status == http.StatusCreated {
		headers["Location"] = object{"description": "where it is", "schema": object{"type": "string"}}
	}
	if len(headers) > 0 {
		answer["headers"] = headers
	}
	return answer
}

func exampleStream(r route) string {
	if strings.HasPrefix(r.path, "/templates") {
		return "id: 12\nevent: step\ndata: {\"step_id\":9,\"name\":\"copy\",…}\n\nid: 12\nevent: template\ndata: {…}\n\n: still here\n\n"
	}
	return "id: 12\nevent: step\ndata: {\"step_id\":9,\"name\":\"clone\",…}\n\nid: 12\nevent: preview\ndata: {…}\n\n: still here\n\n"
}

// content is a media type with its schema and an example.
func (d *documenter) content(v any) object {
	out := object{"schema": d.schemaOf(v)}
	if example, ok := d.examples[reflect.TypeOf(v)]; ok {
		out["example"] = example
	}
	return out
}

func (d *documenter) parameters(r route) []any {
	var parameters []any
	add := func(in, name, description string, required bool, schema object) {
		p := object{"name": name, "in": in, "schema": schema}
		if required {
			p["required"] = true
		}
		if description != "" {
			p["description"] = description
		}
		if example := exampleParameters()[name]; in == "path" && example != "" {
			p["example"] = example
		}
		parameters = append(parameters, p)
	}
	text := object{"type": "string"}
	for _, match := range pathParameter.FindAllStringSubmatch(r.path, -1) {
		add("path", match[1], "", true, text)
	}
	for _, q := range r.query {
		schema := schemaOfParameter(q)
		if q.name == "label" {
			schema = object{"type": "array", "items": text}
		}
		add("query", q.name, q.description, false, schema)
	}
	if r.once {
		add("header", headerIdempotencyKey, "a name for this request, such as a UUID: made again with it within 24 hours, it is answered and not done again", false, text)
	}
	if r.conditional {
		add("header", "If-Match", "the ETag of the version that it is about: if it is another one by now, nothing is done and the answer is 412", false, text)
	}
	if r.etag {
		add("header", "If-None-Match", "the ETag of a version that is known: if nothing is new, the answer is 304", false, text)
	}
	if r.events {
		add("header", "Last-Event-ID", "the id of the last event that was received: the steps after it are sent", false, text)
	}
	return parameters
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

// schemaOf adds the type's schema, and those it refers to, to the schemas and returns a reference to it.
func (d *documenter) schemaOf(v any) object {
	reflector := jsonschema.Reflector{AllowAdditionalProperties: true}
	root := reflector.Reflect(v)
	for name, schema := range root.Definitions {
		encoded, err := json.Marshal(schema)
		if err != nil {
			continue // cannot happen: the library made it
		}
		rewritten := object{}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(string(encoded), `"#/$defs/`, `"#/components/schemas/`)), &rewritten); err != nil {
			d.schemas[name] = json.RawMessage(encoded) // the schema that says yes or no to everything
			continue
		}
		if labels, ok := property(rewritten, "labels"); ok && name == "ChangePreview" { // which the library cannot read off a pointer
			labels["additionalProperties"] = object{"type": []any{"string", "null"}}
		}
		d.descriptions.describe(name, rewritten)
		d.schemas[name] = rewritten
	}
	return object{"$ref": "#/components/schemas/" + strings.TrimPrefix(root.Ref, "#/$defs/")}
}

func property(schema object, name string) (object, bool) {
	properties, ok := schema["properties"].(object)
	if !ok {
		return nil, false
	}
	one, ok := properties[name].(object)
	return one, ok
}
