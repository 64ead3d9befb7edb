package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed reference.html
var referencePage string

// The document as the page needs it. It is read back from the JSON that is served, so that the page cannot say anything else.
type (
	documentJSON struct {
		Info struct {
			Version     string `json:"version"`
			Description string `json:"description"`
		} `json:"info"`
		Paths map[string]map[string]operationJSON `json:"paths"`
		// Components has the schemas of all types.
		Components struct {
			Schemas map[string]schemaJSON `json:"schemas"`
		} `json:"components"`
	}
	operationJSON struct {
		OperationID string `json:"operationId"` //nolint:tagliatelle // as OpenAPI has it
		Summary     string `json:"summary"`
		Description string `json:"description"`
		Parameters  []struct {
			Name        string     `json:"name"`
			In          string     `json:"in"`
			Description string     `json:"description"`
			Required    bool       `json:"required"`
			Schema      schemaJSON `json:"schema"`
			Example     string     `json:"example"`
		} `json:"parameters"`
		RequestBody contentJSON            `json:"requestBody"` //nolint:tagliatelle // as OpenAPI has it
		Responses   map[string]contentJSON `json:"responses"`
	}
	contentJSON struct {
		Content map[string]mediaJSON `json:"content"`
	}
	mediaJSON struct {
		Schema  schemaJSON      `json:"schema"`
		Example json.RawMessage `json:"example"`
	}
	schemaJSON struct {
		Ref         string                `json:"$ref"`
		Type        json.RawMessage       `json:"type"` // a name, or a list of names
		Description string                `json:"description"`
		Enum        []string              `json:"enum"`
		Items       *schemaJSON           `json:"items"`
		Content     *schemaJSON           `json:"contentSchema"` //nolint:tagliatelle // as JSON Schema has it
		Required    []string              `json:"required"`
		Properties  map[string]schemaJSON `json:"properties"`
	}
)

type referenceOperation struct {
	ID, Method, Path, Summary, Needs, Status, MediaType, Takes, TakesExample, Gives, GivesExample string
	Parameters                                                                                    []referenceField
}

type referenceField struct {
	Name, In, Kind, Ref, Description, Example string
	Required                                  bool
	Values                                    []string
}

type referenceGroup struct {
	Name       string
	Operations []referenceOperation
}

type referenceType struct {
	Name, Description string
	Fields            []referenceField
}

// reference renders the OpenAPI document as a page for people, which needs nothing from elsewhere and runs nothing. policy is the
// Content-Security-Policy that goes with it.
func reference(document []byte) (page []byte, policy string, err error) {
	var doc documentJSON
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, "", fmt.Errorf("read the OpenAPI document back: %w", err)
	}
	tmpl, err := template.New("reference").Parse(referencePage)
	if err != nil {
		return nil, "", fmt.Errorf("read the reference's template: %w", err)
	}
	operations := operationsOf(&doc)
	var out bytes.Buffer
	err = tmpl.Execute(&out, map[string]any{
		"Version": doc.Info.Version, "Description": doc.Info.Description, "Operations": operations, "Groups": groupsOf(operations), "Types": typesOf(&doc),
	})
	if err != nil {
		return nil, "", fmt.Errorf("write the reference: %w", err)
	}
	_, rest, _ := strings.Cut(out.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return out.Bytes(), policy, nil
}

func operationsOf(doc *documentJSON) []referenceOperation {
	var all []referenceOperation
	for path, methods := range doc.Paths {
		for method, o := range methods {
			one := referenceOperation{ID: o.OperationID, Method: strings.ToUpper(method), Path: path, Summary: o.Summary, Needs: strings.ReplaceAll(o.Description, "`", "")}
			for _, p := range o.Parameters {
				one.Parameters = append(one.Parameters, referenceField{
					Name: p.Name, In: p.In, Description: p.Description, Required: p.Required, Values: p.Schema.Enum, Example: p.Example,
				})
			}
			body := o.RequestBody.Content["application/json"]
			one.Takes, one.TakesExample = refName(body.Schema), pretty(body.Example)
			for status, answer := range o.Responses {
				if strings.HasPrefix(status, "2") {
					one.Status = status
					one.MediaType, one.Gives, one.GivesExample = mediaOf(answer.Content)
				}
			}
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b referenceOperation) int {
		return cmp.Or(cmp.Compare(groupOf(a), groupOf(b)), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return all
}

// mediaOf picks the media type that programs get.
func mediaOf(content map[string]mediaJSON) (mediaType, gives, example string) {
	for _, name := range []string{"application/json", "text/event-stream", "text/plain"} {
		if media, ok := content[name]; ok {
			return name, refName(media.Schema), pretty(media.Example)
		}
	}
	return "", "", ""
}

func groupOf(o referenceOperation) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(o.Path, "/api/v1/"), "/")
	return name
}

func groupsOf(operations []referenceOperation) []referenceGroup {
	var groups []referenceGroup
	for _, o := range operations {
		if name := groupOf(o); len(groups) == 0 || groups[len(groups)-1].Name != name {
			groups = append(groups, referenceGroup{Name: name})
		}
		last := &groups[len(groups)-1]
		last.Operations = append(last.Operations, o)
	}
	return groups
}

func typesOf(doc *documentJSON) []referenceType {
	var all []referenceType
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		schema := doc.Components.Schemas[name]
		one := referenceType{Name: name, Description: schema.Description}
		for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
			p := schema.Properties[field]
			kind, ref := kindOf(p)
			one.Fields = append(one.Fields, referenceField{
				Name: field, Kind: kind, Ref: ref, Description: p.Description, Values: p.Enum, Required: slices.Contains(schema.Required, field),
			})
		}
		all = append(all, one)
	}
	return all
}

// kindOf says what a value is: a kind, and the type that it is of, if that has a name.
func kindOf(s schemaJSON) (kind, ref string) {
	if name := refName(s); name != "" {
		return "", name
	}
	if s.Items != nil {
		kind, ref = kindOf(*s.Items)
		return "list of " + kind, ref
	}
	var one string
	if json.Unmarshal(s.Type, &one) == nil && one != "" {
		return one, ""
	}
	return "any", ""
}

func refName(s schemaJSON) string {
	if s.Content != nil {
		return refName(*s.Content)
	}
	return strings.TrimPrefix(s.Ref, "#/components/schemas/")
}

// pretty writes an example as people read it: a text as it is, everything else as indented JSON.
func pretty(example json.RawMessage) string {
	var text string
	if json.Unmarshal(example, &text) == nil {
		return text
	}
	var out bytes.Buffer
	if json.Indent(&out, example, "", "  ") != nil {
		return ""
	}
	return out.String()
}

func (a *API) serveReference(document []byte) error {
	page, policy, err := reference(document)
	if err != nil {
		return err
	}
	a.echo.GET("/api/v1/docs", func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		return c.HTMLBlob(http.StatusOK, page)
	})
	return nil
}
