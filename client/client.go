package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// Client talks to one Mayfly server. It is safe for concurrent use. Errors that the server answers are *mayfly.Error
// with the server's code and hint, and for a request that is not valid the fields that are not; mayfly.ErrorCode tells them apart.
//
// A request that the server refuses because it is busy (429 and 503 with Retry-After) is made again after the time that it names, as
// long as ctx allows, if nothing can have been done twice by that.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New makes a client for the server at address ("https://mayfly.example.com"), authenticating with token. httpClient may
// be nil.
func New(address, token string, httpClient *http.Client) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a server's address", address).WithHint("use something like https://mayfly.example.com")
	}
	if httpClient == nil {
		httpClient = &http.Client{}
	}
	return &Client{base: strings.TrimRight(address, "/") + "/api/v1", token: token, http: httpClient}, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any, opts ...Option) (*http.Response, error) {
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var encoded []byte
	if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	header := http.Header{"Authorization": {"Bearer " + c.token}}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	for _, opt := range opts {
		opt(header)
	}
	for busy := 0; ; busy++ {
		response, err := c.requestOnce(ctx, method, address, header, encoded)
		if err != nil {
			return nil, err
		}
		if response.StatusCode < http.StatusBadRequest {
			return response, nil
		}
		pause, again := retryAfter(response, method, header)
		err = refusal(response)
		_ = response.Body.Close()
		if !again || busy == maximalBusy || !sleep(ctx, pause) {
			return nil, err
		}
	}
}

func (c *Client) requestOnce(ctx context.Context, method, address string, header http.Header, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body == nil {
		request.Body = http.NoBody
	}
	request.Header = header.Clone()
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return response, nil
}

// errCut is the cause of errors that another try may mend: the server cannot be reached, or the connection broke.
var errCut = errors.New("the connection broke")

func (c *Client) unreachable(ctx context.Context, err error) error {
	var refused *mayfly.Error // by the transport that the caller brought
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &mayfly.Error{Code: mayfly.CodeCancelled, Message: "cancelled", Err: ctx.Err()}
	case ctx.Err() != nil:
		return &mayfly.Error{Code: mayfly.CodeTimeout, Message: "the server did not answer in time", Err: ctx.Err()}
	case errors.As(err, &refused):
		return refused
	}
	return (&mayfly.Error{Code: mayfly.CodeInternal, Message: "the server cannot be reached: " + err.Error(), Err: errors.Join(errCut, err)}).
		WithHint("is mayfly serve running, and is --server (or MAYFLY_SERVER) its address?")
}

func refusal(response *http.Response) error {
	const longest = 1 << 20
	raw, err := io.ReadAll(io.LimitReader(response.Body, longest))
	var p Problem
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Code == "" {
		switch response.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout: // a proxy before a server that is restarted
			return mayfly.Errorf(mayfly.CodeInternal, "the server cannot be reached: its proxy answered %s: %w", response.Status, errCut)
		}
		return mayfly.Errorf(mayfly.CodeInternal, "the server answered %s without saying why", response.Status).
			WithHint("is something else than mayfly at this address?")
	}
	return &mayfly.Error{Code: mayfly.Code(p.Code), Message: p.Detail, Hint: p.Hint, Fields: p.Errors}
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	_, err := c.do(ctx, method, path, query, body, into)
	return err
}

// do makes a request, decodes its answer and returns the answer's header, which is never nil.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, into any, opts ...Option) (http.Header, error) {
	response, err := c.request(ctx, method, path, query, body, opts...)
	if err != nil {
		return http.Header{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusNotModified {
		return response.Header, ErrNotModified
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		if ctx.Err() != nil {
			return response.Header, c.unreachable(ctx, err)
		}
		return response.Header, fmt.Errorf("read the server's answer: %w", err)
	}
	return response.Header, nil
}
