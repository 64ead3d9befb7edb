package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// https reads from a web server.
type https struct {
	base   *url.URL
	header http.Header
	client *http.Client
}

func newHTTPS(u *url.URL, header http.Header, client *http.Client) *https {
	if client == nil {
		client = http.DefaultClient
	}
	own := *client
	own.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("too many redirects")
		}
		if req.URL.Scheme != "https" {
			return mayfly.Errorf(mayfly.CodeSourceUnavailable, "the source's server redirects to an address without TLS")
		}
		if req.URL.Host != u.Host { // storage behind a redirect gets no credentials of its front
			for name := range header {
				req.Header.Del(name)
			}
		}
		return nil
	}
	return &https{base: u, header: header, client: &own}
}

func (h *https) close() { h.client.CloseIdleConnections() }

// location returns the URL of a key. The query, such as a signature, is that of the one file that the reference names.
func (h *https) location(key string) string {
	u := *h.base
	if key != strings.TrimPrefix(u.Path, "/") {
		u.RawQuery = ""
	}
	u.Path, u.RawPath, u.Fragment = "/"+key, "", ""
	return u.String()
}

func (h *https) do(ctx context.Context, method, key string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.location(key), nil)
	if err != nil {
		return nil, errors.New("the address cannot be requested")
	}
	for _, from := range []http.Header{h.header, header} {
		for name, values := range from {
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	req.Header.Set("Accept-Encoding", "identity") // the bytes as they are: ranges and checksums are of those
	resp, err := h.client.Do(req)
	if err != nil {
		var withURL *url.Error // its text has the query
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return resp, nil
	case http.StatusNotFound, http.StatusGone:
		err = errNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		err = errDenied
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		err = errChanged
	default:
		err = fmt.Errorf("the server answered %s", resp.Status)
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// stat asks by GET with a range of one byte: signed addresses are good for one method.
func (h *https) stat(ctx context.Context, key string) (object, error) {
	ctx, cancel := context.WithTimeout(ctx, stallTimeout)
	defer cancel()
	resp, err := h.do(ctx, http.MethodGet, key, http.Header{"Range": {"bytes=0-0"}})
	if err != nil && errors.Is(err, errChanged) { // an empty file has no first byte
		return object{key: key, size: 0}, nil
	}
	if err != nil {
		return object{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	o := object{key: key, size: resp.ContentLength}
	if _, total, ok := strings.Cut(resp.Header.Get("Content-Range"), "/"); ok && resp.StatusCode == http.StatusPartialContent {
		if o.size, err = strconv.ParseInt(total, 10, 64); err != nil {
			o.size = -1
		}
	}
	o.modified, _ = time.Parse(http.TimeFormat, resp.Header.Get("Last-Modified"))
	o.version = versionOf(resp)
	return o, nil
}

func versionOf(resp *http.Response) string {
	tag := resp.Header.Get("ETag")
	if strings.HasPrefix(tag, "W/") { // a weak one is not about bytes
		tag = ""
	}
	return cmp.Or(tag, resp.Header.Get("Last-Modified"))
}

func (h *https) list(context.Context, string) ([]object, error) {
	return nil, mayfly.Errorf(mayfly.CodeInvalid, "an https address must name one file: web servers have no listing").
		WithHint("name the file, or use s3:// or gs:// for patterns and directories")
}

func (h *https) read(ctx context.Context, o object, offset int64) (body, error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		header.Set("If-Range", o.version)
	}
	resp, err := h.do(ctx, http.MethodGet, o.key, header)
	if err != nil {
		return body{}, err
	}
	got := body{ReadCloser: resp.Body, from: offset}
	if resp.StatusCode == http.StatusOK { // everything: no ranges here, or another version
		got.from = 0
	}
	if o.version != "" && versionOf(resp) != o.version {
		return body{}, errors.Join(errChanged, resp.Body.Close())
	}
	return got, nil
}
