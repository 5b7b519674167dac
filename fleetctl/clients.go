package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/fleet-project/fleet/api"
)

// clients holds the connection to fleetd, once it was needed.
type clients struct{ api *api.Client }

// client gives the connection to fleetd. The tunnel comes first: a host that does
// not answer is not a fleetd that doesn't.
func (c *cli) client(ctx context.Context) (*api.Client, error) {
	if c.clients.api != nil {
		return c.clients.api, nil
	}
	opts := api.ClientOptions{
		Endpoint: c.flags.endpoint, Timeout: seconds(c.flags.requestTimeout), UserAgent: "fleetctl/" + version,
	}
	var err error
	if opts.TLS, err = c.tlsConfig(); err != nil {
		return nil, err
	}
	if c.flags.tunnel != "" {
		if _, err := c.openTunnel(ctx); err != nil {
			return nil, err
		}
		opts.Dial, opts.Via, opts.MaxConnections = c.dialThroughTunnel, c.flags.tunnel, tunnelConnections
	}
	if c.flags.debug {
		c.errorf("fleetd at %s", c.flags.endpoint)
	}
	c.clients.api, err = api.NewClient(opts)
	if err != nil {
		return nil, usagef("--%v", err)
	}
	return c.clients.api, nil
}

func (c *cli) tlsConfig() (*tls.Config, error) {
	f := c.flags
	if f.caFile == "" && f.certFile == "" && f.keyFile == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.caFile != "" {
		text, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, failf("--ca-file: %v", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, failf("--ca-file %s: holds no certificate in PEM", f.caFile)
		}
	}
	if f.certFile != "" || f.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
		if err != nil {
			return nil, failf("--cert-file and --key-file: %v", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// close ends all connections.
func (c *cli) close() {
	if c.clients.api != nil {
		c.clients.api.Close()
	}
	c.tunnel.close()
}
