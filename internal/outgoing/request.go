package outgoing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"text/template"

	mayfly "github.com/mayflydb/mayfly"
)

// Request is a templated HTTP request.
type Request struct {
	method  string
	url     *template.Template
	headers map[string]*template.Template
	body    *template.Template // nil: none
	isJSON  bool
}

// RequestText is a Request as it is written down. Templates are those of text/template with the functions json (a JSON value, quoted),
// urlquery and urlpath; what is missing is an error.
type RequestText struct {
	Method, URL string
	Headers     map[string]string
	Body        string
}

// ParseRequest reads a request. CodeInvalid for one whose host is not fixed, or that is not https: what is sent is a password.
func ParseRequest(text RequestText) (*Request, error) {
	r := &Request{method: text.Method, headers: map[string]*template.Template{}}
	switch text.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "method %q is none of POST, PUT, PATCH and DELETE", text.Method)
	}
	if err := checkHost(text.URL); err != nil {
		return nil, err
	}
	var err error
	if r.url, err = parse("url", text.URL); err != nil {
		return nil, err
	}
	for name, value := range text.Headers {
		if r.headers[name], err = parse("header "+name, value); err != nil {
			return nil, err
		}
		r.isJSON = r.isJSON || strings.EqualFold(name, "Content-Type") && strings.HasPrefix(value, "application/json")
	}
	if text.Body != "" {
		if r.body, err = parse("body", text.Body); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// checkHost wants scheme and host to be there as they are, so that no value can change them.
func checkHost(text string) error {
	scheme, rest, ok := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	if !ok || host == "" || strings.ContainsAny(host, "{}@?#\\ ") {
		return mayfly.Errorf(mayfly.CodeInvalid, "the url's host is not fixed").WithHint("write https://host/ and then what is to be filled in")
	}
	if scheme != "https" && (scheme != "http" || !loopback(host)) {
		return mayfly.Errorf(mayfly.CodeInvalid, "the url is not https: what is sent there is a password")
	}
	return nil
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func parse(name, text string) (*template.Template, error) {
	functions := template.FuncMap{
		"json": func(v any) (string, error) {
			encoded, err := json.Marshal(v)
			return string(encoded), err
		},
		"urlquery": func(v any) string { return url.QueryEscape(fmt.Sprint(v)) },
		"urlpath":  func(v any) string { return url.PathEscape(fmt.Sprint(v)) },
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%w", err)
	}
	return t, nil
}

// made is a request with everything filled in.
type made struct {
	method, url string
	headers     map[string]string
	body        []byte
}

// fill makes the request. Errors have no value in them.
func (r *Request) fill(v Values) (*made, error) {
	open := v
	open.Connection, open.Secrets = nil, nil
	out := &made{method: r.method, headers: map[string]string{}}
	var err error
	if out.url, err = execute(r.url, open); err != nil {
		return nil, err
	}
	if err := checkHost(out.url); err != nil {
		return nil, err
	}
	for name, t := range r.headers {
		if out.headers[name], err = execute(t, v); err != nil {
			return nil, err
		}
	}
	if r.body == nil {
		return out, nil
	}
	body, err := execute(r.body, v)
	if err != nil {
		return nil, err
	}
	if out.body = []byte(body); r.isJSON && !json.Valid(out.body) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the body is not JSON once it is filled in").WithHint("write values as {{json .Preview.Name}}, without quotes around them")
	}
	return out, nil
}

// execute fills in a template. What goes wrong in one can have a value in it, which is left out.
func execute(t *template.Template, v Values) (string, error) {
	var out bytes.Buffer
	if err := t.Execute(&out, v); err != nil {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "the template of the %s cannot be filled in", t.Name()).
			WithHint("docs/outgoing.md lists what there is; addresses may not have credentials in them")
	}
	return out.String(), nil
}
