package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// plainToTLS is how Go's HTTP server answers who speaks no TLS where it does.
const plainToTLS = "Client sent an HTTP request to an HTTPS server"

// alerts are what fleetd's TLS says of a client's certificate, by TLS' own words.
var alerts = []struct{ word, means, remedy string }{
	{
		"certificate required", "fleetd asks for a certificate, and got none",
		"Show one that its api_cafile has signed: --cert-file FILE --key-file FILE.",
	},
	{
		"unknown certificate authority", "fleetd doesn't know who signed the certificate that it was shown",
		"Show one that its api_cafile has signed (--cert-file, --key-file), or have that file name your CA too.",
	},
	{
		"expired certificate", "fleetd refuses the certificate that it was shown: it has expired, or isn't valid yet",
		"Renew the certificate (--cert-file); if it is valid, look at that host's clock.",
	},
	{
		"bad certificate", "fleetd refuses the certificate that it was shown",
		"It must be one for clients (extended key usage clientAuth), signed by fleetd's api_cafile; fleetd's log says more (journalctl -u fleet).",
	},
}

// explainTLS says what to do about an error of TLS'.
func (e *UnreachableError) explainTLS(err error) {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		plain   tls.RecordHeaderError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &remote) && remote.Op == "remote error":
		for _, a := range alerts {
			if strings.Contains(remote.Err.Error(), a.word) {
				e.Err, e.Remedy = errors.New(a.means), a.remedy
				return
			}
		}
	case errors.As(err, &unknown):
		e.Err = errors.New("nobody that this host trusts has signed fleetd's certificate")
		e.Remedy = "Name the CA that has: --ca-file FILE."
	case errors.As(err, &name):
		e.Remedy = "fleetd's certificate (api_certfile) must be for the name or address in --endpoint: use that name, or have one made for this."
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.Err = fmt.Errorf("fleetd's certificate is valid from %s to %s, and now it is %s",
			invalid.Cert.NotBefore.Format(time.RFC3339), invalid.Cert.NotAfter.Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
		e.Remedy = "Put a newer one in its place (api_certfile in that host's fleet.conf): no restart is needed."
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Err = errors.New("no TLS is spoken there")
		e.Remedy = "Write http:// (who can connect then needs no certificate), or set api_certfile and api_keyfile in that host's fleet.conf."
	}
}

// dialTLS connects, and shakes hands.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.opts.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.opts.TLS != nil {
		cfg = c.opts.TLS.Clone()
	}
	if len(cfg.Certificates) > 0 && cfg.GetClientCertificate == nil {
		// Also where it won't do: then the other side says why.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cfg.Certificates[0], nil }
	}
	if cfg.ServerName == "" {
		if cfg.ServerName, _, err = net.SplitHostPort(address); err != nil {
			conn.Close()
			return nil, err
		}
	}
	secure := &hearing{Conn: tls.Client(conn, cfg)}
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// hearing is a connection that tells who writes why the other side refuses it: in
// TLS 1.3 that comes when a client is at its first request already, whose writing
// fails then in ways that say nothing.
type hearing struct {
	*tls.Conn
	refused atomic.Pointer[net.OpError]
}

// Read is net.Conn's.
func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if said := new(net.OpError); errors.As(err, &said) && said.Op == "remote error" {
		h.refused.Store(said)
	}
	return n, err
}

// Write is net.Conn's.
func (h *hearing) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	if said := h.refused.Load(); err != nil && said != nil {
		return n, said
	}
	return n, err
}
