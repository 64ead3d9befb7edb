package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/localproxy"
)

// proxied is what -o json says of a proxy before it begins.
type proxied struct {
	Address string `json:"address"`
	client.Credentials
}

func newProxyCommand(s *shell) *cobra.Command {
	var login access
	var port int
	var authorities string
	cmd := &cobra.Command{
		Use: "proxy NAME", Short: "Open a local port to a preview, for tools that cannot do TLS", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Long: "Open a port on this machine (on 127.0.0.1, so for nobody else's) and pass what connects there on to the preview, encrypted. It prints\n" +
			"the connection string for tools without TLS, with the password, and goes on until Ctrl-C.",
		Example: "  mayfly proxy shop-pr-42\n  mayfly proxy shop-pr-42 --port 15432 -o json",
	}
	s.remote(cmd, "url json yaml table", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		config, err := proxyTLS(authorities)
		if err != nil {
			return nil, err
		}
		credentials, err := login.credentials(ctx, s, c, args[0])
		if err != nil {
			return nil, err
		}
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "listen on port %d: %w", port, err).WithHint("leave --port out for a free one")
		}
		proxy := &localproxy.Proxy{
			Gateway: net.JoinHostPort(credentials.Host, strconv.Itoa(credentials.Port)), TLS: config,
			Failed: func(err error) { s.note("a connection failed: %v", err) },
		}
		local := locally(credentials, listener.Addr())
		a := credentialsAnswer(&local.Credentials)
		a.value = local
		a.after = func() error {
			s.note("%s is at %s; Ctrl-C ends it", args[0], local.Address)
			if err := proxy.Serve(ctx, listener); err != nil {
				return err
			}
			s.note("the port is closed; %s goes on", args[0])
			return nil
		}
		return a, nil
	})
	cmd.Flags().IntVar(&port, "port", 0, "port to open; a free one if left out")
	cmd.Flags().StringVar(&authorities, "ca-file", "", "certificates that the gateway's must be signed with (PGSSLROOTCERT); without, it is encrypted but not checked")
	login.add(cmd)
	return cmd
}

// proxyTLS is how the gateway is talked to: as libpq does with sslmode=require, or verify-full if there are authorities.
func proxyTLS(file string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"postgresql"}}
	if file == "" {
		file = os.Getenv("PGSSLROOTCERT")
	}
	switch file {
	case "":
		config.InsecureSkipVerify = true
		return config, nil
	case "system":
		return config, nil
	}
	raw, err := os.ReadFile(file) //nolint:gosec // the user names the file
	config.RootCAs = x509.NewCertPool()
	if err == nil && !config.RootCAs.AppendCertsFromPEM(raw) {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "read --ca-file: %w", err)
	}
	return config, nil
}

// locally are the credentials for a local port.
func locally(c *client.Credentials, address net.Addr) proxied {
	local := *c
	local.SSLMode = "disable"
	if tcp, ok := address.(*net.TCPAddr); ok {
		local.Host, local.Port = "127.0.0.1", tcp.Port
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(local.User, local.Password), Host: net.JoinHostPort(local.Host, strconv.Itoa(local.Port)),
		Path: "/" + local.Database, RawQuery: "sslmode=disable",
	}
	local.URL = u.String()
	return proxied{Address: fmt.Sprintf("%s:%d", local.Host, local.Port), Credentials: local}
}
