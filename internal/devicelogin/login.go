package devicelogin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	mayfly "github.com/mayflydb/mayfly"
)

// Provider is who issues the ID token.
type Provider struct {
	Issuer, ClientID string
	Scopes           []string
}

// Prompts tell somebody what to do.
type Prompts struct {
	// Code is called with the page to open, and the code to enter there.
	Code func(page, code string)
	// Browse is called with the page to open on this machine.
	Browse func(page string)
}

// IDToken waits until somebody has signed in, and returns their ID token, and the nonce that it was asked for with; "" if there is none.
// The token is not checked here: whoever it is for has to.
func IDToken(ctx context.Context, p Provider, prompts Prompts) (token, nonce string, err error) {
	found, err := oidc.NewProvider(ctx, p.Issuer)
	if err != nil {
		return "", "", mayfly.Errorf(mayfly.CodeUnauthenticated, "%s does not say how to sign in: %w", p.Issuer, err)
	}
	config := &oauth2.Config{ClientID: p.ClientID, Endpoint: found.Endpoint(), Scopes: p.Scopes}
	if len(config.Scopes) == 0 {
		config.Scopes = []string{oidc.ScopeOpenID}
	}
	var given *oauth2.Token
	if config.Endpoint.DeviceAuthURL != "" {
		given, err = byCode(ctx, config, prompts)
	} else {
		nonce = oauth2.GenerateVerifier()
		given, err = byBrowser(ctx, config, nonce, prompts)
	}
	if err != nil {
		return "", "", refused(ctx, p.Issuer, err)
	}
	token, ok := given.Extra("id_token").(string)
	if !ok || token == "" {
		return "", "", mayfly.Errorf(mayfly.CodeUnauthenticated, "%s gave no ID token", p.Issuer).WithHint("the scopes must have openid")
	}
	return token, nonce, nil
}

// refused keeps what the provider said to one line, and tells who stopped.
func refused(ctx context.Context, issuer string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return mayfly.Errorf(mayfly.CodeCancelled, "stopped; nobody is signed in")
	}
	if ctx.Err() != nil {
		return mayfly.Errorf(mayfly.CodeTimeout, "nobody signed in in time").WithHint("try again")
	}
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) && answer.ErrorCode != "" {
		return mayfly.Errorf(mayfly.CodeUnauthenticated, "%s refused: %s %s", issuer, answer.ErrorCode, answer.ErrorDescription)
	}
	return mayfly.Errorf(mayfly.CodeUnauthenticated, "sign in with %s: %w", issuer, err)
}

func byCode(ctx context.Context, config *oauth2.Config, prompts Prompts) (*oauth2.Token, error) {
	device, err := config.DeviceAuth(ctx)
	if err != nil {
		return nil, err
	}
	page := device.VerificationURI
	if device.VerificationURIComplete != "" {
		page = device.VerificationURIComplete
	}
	prompts.Code(page, device.UserCode)
	return config.DeviceAccessToken(ctx, device)
}

// byBrowser takes the answer on a port of this machine. State and PKCE keep others from putting in or taking out a code.
func byBrowser(ctx context.Context, config *oauth2.Config, nonce string, prompts Prompts) (*oauth2.Token, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	config.RedirectURL = "http://" + listener.Addr().String() + "/"
	state, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	type outcome struct {
		code string
		err  error
	}
	answered := make(chan outcome, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/" || q.Get("state") != state {
			http.Error(w, "This is not what was asked for.", http.StatusBadRequest)
			return
		}
		o := outcome{code: q.Get("code")}
		if o.code == "" {
			o.err = &oauth2.RetrieveError{ErrorCode: q.Get("error"), ErrorDescription: q.Get("error_description")}
		}
		_, _ = fmt.Fprintln(w, "Go back to the terminal. This page can be closed.")
		select {
		case answered <- o:
		default:
		}
	})}
	go func() { _ = server.Serve(listener) }()
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(stop) // the page is to be shown
	}()
	prompts.Browse(config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
	select {
	case o := <-answered:
		if o.err != nil {
			return nil, o.err
		}
		return config.Exchange(ctx, o.code, oauth2.VerifierOption(verifier))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
