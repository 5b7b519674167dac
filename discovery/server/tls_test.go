package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/server"
)

// certify writes a certificate of its own for 127.0.0.1, and its key.
func certify(t *testing.T, serial int64, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "discovery"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, want, want, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// A certificate that is renewed serves at once; one that is spoiled doesn't.
func TestHTTPS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	trusted := x509.NewCertPool()
	trusted.AddCert(certify(t, 1, certFile, keyFile))
	s := newService(t, server.Options{CertFile: certFile, KeyFile: keyFile})
	base, stop := s.serve()
	defer stop()
	base = strings.Replace(base, "http://", "https://", 1)
	ask := func(path string) (string, int64) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		resp, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	url, serial := ask("/new?size=1")
	path, ok := strings.CutPrefix(url, base)
	if !ok || serial != 1 {
		t.Errorf("%s, certificate %d", url, serial)
	}
	trusted.AddCert(certify(t, 2, certFile, keyFile))
	if _, serial = ask("/health"); serial != 2 {
		t.Errorf("after it was renewed: certificate %d", serial)
	}
	if err := os.WriteFile(certFile, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.join(path, 1)
	if body, serial := ask(path + "?wait=true&recursive=true&waitIndex=2"); serial != 2 || !strings.Contains(body, "n1=") {
		t.Errorf("after it was spoiled: certificate %d, %s", serial, body)
	}
}

func TestHTTPSNeedsBothFiles(t *testing.T) {
	s := newService(t, server.Options{})
	for _, tc := range []struct{ name, cert, key, says string }{
		{"no key", "/c", "", "belong together"},
		{"no certificate", "", "/k", "belong together"},
		{"no such files", "/nonexistent/c", "/nonexistent/k", "--cert-file /nonexistent/c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := server.New(server.Options{Store: s.store, CertFile: tc.cert, KeyFile: tc.key}); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v", err)
			}
		})
	}
}
