package forgetest

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// description is the part of GitHub's OpenAPI description that Mayfly uses; spec/trim makes it.
//
//go:embed spec/api.github.com.json.gz
var description []byte

// graphQLSchema is the part of GitHub's GraphQL schema that Mayfly uses.
//
//go:embed spec/schema.graphql
var graphQLSchema string

// published is what GitHub publishes about its API, read once in a process.
var published = sync.OnceValues(func() (*spec, error) { //nolint:gochecknoglobals // a constant, made when it is needed
	unpacked, err := gzip.NewReader(bytes.NewReader(description))
	if err != nil {
		return nil, fmt.Errorf("unpack GitHub's description: %w", err)
	}
	raw, err := io.ReadAll(unpacked)
	if err != nil {
		return nil, fmt.Errorf("unpack GitHub's description: %w", err)
	}
	document, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		return nil, fmt.Errorf("read GitHub's description: %w", err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: graphQLSchema})
	if err != nil {
		return nil, fmt.Errorf("read GitHub's GraphQL schema: %w", err)
	}
	return &spec{document: document, graphQL: schema}, nil
})

type spec struct {
	document *openapi3.T
	graphQL  *ast.Schema
}

// operation is one operation of the description, for one request.
type operation struct {
	route  *routers.Route
	params map[string]string
}

// find returns the operation for a request. GitHub serves repositories under /repositories/{id} as well, which is where its own
// redirects of renamed ones lead; the description has them by name only, so they are looked up as if by name.
func (sp *spec) find(method, path string, repo *Repo) (*operation, error) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	if segments[0] == "repositories" && len(segments) > 1 {
		owner, name := "owner", "repo"
		if repo != nil {
			owner, name, _ = strings.Cut(repo.FullName(), "/")
		}
		segments = append([]string{"repos", owner, name}, segments[2:]...)
	}
	for template, item := range sp.document.Paths.Map() {
		op := item.GetOperation(method)
		if op == nil {
			continue
		}
		if params, ok := fits(strings.Split(strings.Trim(template, "/"), "/"), segments); ok {
			return &operation{route: &routers.Route{
				Spec: sp.document, Path: template, PathItem: item, Method: method, Operation: op,
				Server: &openapi3.Server{URL: "/"},
			}, params: params}, nil
		}
	}
	return nil, fmt.Errorf("GitHub's description has no %s %s (or spec/operations.txt leaves it out)", method, path)
}

// fits matches a path with a template. A file's path may have more segments than its placeholder.
func fits(template, segments []string) (map[string]string, bool) {
	params := map[string]string{}
	for i, want := range template {
		name, placeholder := strings.CutPrefix(want, "{")
		name = strings.TrimSuffix(name, "}")
		switch {
		case placeholder && name == "path" && i < len(segments):
			params[name] = strings.Join(segments[i:], "/")
			return params, true
		case i >= len(segments) || (!placeholder && want != segments[i]):
			return nil, false
		case placeholder:
			params[name] = segments[i]
		}
	}
	return params, len(template) == len(segments)
}

func (o *operation) input(r *http.Request, body []byte) *openapi3filter.RequestValidationInput {
	copied := r.Clone(r.Context())
	copied.Body = io.NopCloser(bytes.NewReader(body))
	if copied.Header.Get("Content-Type") == "" {
		copied.Header.Set("Content-Type", "application/json") // what GitHub takes a body for
	}
	return &openapi3filter.RequestValidationInput{
		Request: copied, PathParams: o.params, Route: o.route, QueryParams: r.URL.Query(),
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true,
		},
	}
}

// checkRequest validates path, query and body, and is stricter than the description: what it does not know is a slip.
func (o *operation) checkRequest(ctx context.Context, r *http.Request, body []byte) error {
	if err := openapi3filter.ValidateRequest(ctx, o.input(r, body)); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, parameters := range []openapi3.Parameters{o.route.PathItem.Parameters, o.route.Operation.Parameters} {
		for _, p := range parameters {
			known[p.Value.Name] = p.Value.In == "query"
		}
	}
	for name := range r.URL.Query() {
		if !known[name] {
			return fmt.Errorf("the query parameter %q is not in the description", name)
		}
	}
	if o.route.Operation.RequestBody == nil || len(body) == 0 {
		return nil
	}
	media := o.route.Operation.RequestBody.Value.Content.Get("application/json")
	var value any
	if media == nil || json.Unmarshal(body, &value) != nil {
		return errors.New("the body is not JSON")
	}
	return unknownMembers("", value, media.Schema.Value)
}

// unknownMembers finds members of objects that no variant of the schema has.
func unknownMembers(at string, value any, schema *openapi3.Schema) error {
	switch value := value.(type) {
	case object:
		properties := propertiesOf(schema)
		if len(properties) == 0 { // a free object
			return nil
		}
		for name, member := range value {
			property := properties[name]
			if property == nil {
				return fmt.Errorf("the member %q is not in the description", at+"/"+name)
			}
			if err := unknownMembers(at+"/"+name, member, property); err != nil {
				return err
			}
		}
	case []any:
		if schema.Items == nil {
			return nil
		}
		for _, member := range value {
			if err := unknownMembers(at+"[]", member, schema.Items.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

func propertiesOf(schema *openapi3.Schema) map[string]*openapi3.Schema {
	all := map[string]*openapi3.Schema{}
	for name, property := range schema.Properties {
		all[name] = property.Value
	}
	for _, variants := range []openapi3.SchemaRefs{schema.AllOf, schema.AnyOf, schema.OneOf} {
		for _, variant := range variants {
			for name, property := range propertiesOf(variant.Value) {
				if all[name] == nil || len(all[name].Properties) == 0 {
					all[name] = property
				}
			}
		}
	}
	return all
}

// complete returns the answer with what the description demands and the fake leaves out, and validates the result.
func (o *operation) complete(ctx context.Context, r *http.Request, request []byte, answer *httptest.ResponseRecorder) ([]byte, error) {
	body, status := answer.Body.Bytes(), answer.Code
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: o.input(r, request), Status: status, Header: answer.Header(),
		Options: &openapi3filter.Options{IncludeResponseStatus: status < 500},
	}
	response := o.route.Operation.Responses.Status(status)
	if response == nil && status >= 400 || status >= 500 {
		return body, nil // any operation may be refused or fail; the description lists that for some only
	}
	var media *openapi3.MediaType
	if response != nil && response.Value != nil {
		media = response.Value.Content.Get("application/json")
	}
	if media != nil && strings.HasPrefix(answer.Header().Get("Content-Type"), "application/json") {
		var value any
		if err := json.Unmarshal(body, &value); err != nil {
			return body, fmt.Errorf("the answer is not JSON: %w", err)
		}
		filled, err := json.Marshal(fill(value, media.Schema.Value, 0))
		if err != nil {
			return body, fmt.Errorf("complete the answer: %w", err)
		}
		body = filled
	}
	if strings.Contains(answer.Header().Get("Content-Type"), "raw") { // a file's content: the description has the JSON form only
		return body, nil
	}
	input.SetBodyBytes(body)
	return body, openapi3filter.ValidateResponse(ctx, input)
}

// maxDepth ends schemas that contain themselves.
const maxDepth = 12

// fill adds the required members that a value lacks.
func fill(value any, schema *openapi3.Schema, depth int) any {
	if depth > maxDepth {
		return value
	}
	switch value := value.(type) {
	case []any:
		if items := itemsOf(schema); items != nil {
			for i := range value {
				value[i] = fill(value[i], items, depth+1)
			}
		}
	case object:
		for _, part := range variantsOf(schema) {
			for name, property := range part.Properties {
				if member, ok := value[name]; ok {
					value[name] = fill(member, property.Value, depth+1)
				}
			}
			for _, name := range part.Required {
				if _, ok := value[name]; !ok && part.Properties[name] != nil {
					value[name] = placeholder(part.Properties[name].Value, depth+1)
				}
			}
		}
	}
	return value
}

func itemsOf(schema *openapi3.Schema) *openapi3.Schema {
	for _, part := range variantsOf(schema) {
		if part.Items != nil {
			return part.Items.Value
		}
	}
	return nil
}

// variantsOf returns the schema with all that it is made of; of alternatives the first.
func variantsOf(schema *openapi3.Schema) []*openapi3.Schema {
	all := []*openapi3.Schema{schema}
	for _, part := range schema.AllOf {
		all = append(all, variantsOf(part.Value)...)
	}
	for _, alternatives := range []openapi3.SchemaRefs{schema.AnyOf, schema.OneOf} {
		if len(alternatives) > 0 {
			all = append(all, variantsOf(alternatives[0].Value)...)
		}
	}
	return all
}

// placeholder is a value that the schema takes and that says nothing.
func placeholder(schema *openapi3.Schema, depth int) any {
	if schema.Nullable || depth > maxDepth {
		return nil
	}
	for _, part := range variantsOf(schema) {
		switch {
		case len(part.Enum) > 0:
			return part.Enum[0]
		case part.Type.Is("string"):
			return placeholderText(part)
		case part.Type.Is("integer"), part.Type.Is("number"):
			return max(0, value(part.Min))
		case part.Type.Is("boolean"):
			return false
		case part.Type.Is("array"):
			return []any{}
		case part.Type.Is("object"):
			return fill(object{}, schema, depth+1)
		}
	}
	return fill(object{}, schema, depth+1)
}

func value(v *float64) float64 {
	if v == nil {
		return 0
	}
	return *v
}

func placeholderText(schema *openapi3.Schema) string {
	switch schema.Format {
	case "date-time":
		return "2026-01-01T00:00:00Z"
	case "uri":
		return "https://api.github.com/"
	}
	return "none"
}
