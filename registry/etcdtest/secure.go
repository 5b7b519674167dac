package etcdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// CA signs certificates for a test.
type CA struct {
	// File holds its own certificate.
	File string

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes one.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	c := &CA{dir: t.TempDir()}
	c.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.key = newKey(t)
	c.File, _ = c.sign(t, name, c.cert, c.key)
	return c
}

// Issue makes a certificate and its key for a host's name or address, or for
// nobody in particular (""), valid for a while or, if that is negative, no more.
// It gives the files, which are called by name.
func (c *CA) Issue(t testing.TB, name, host string, valid time.Duration) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: host}, NotAfter: time.Now().Add(valid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else if host != "" {
		template.DNSNames = []string{host}
	}
	return c.sign(t, name, template, newKey(t))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *CA) sign(t testing.TB, name string, template *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	t.Helper()
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert.Raw == nil { // its own
		if c.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(kind string, b []byte) string {
		path := filepath.Join(c.dir, name+"."+kind+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("CERTIFICATE", der), write("PRIVATE KEY", keyDER)
}

// NewSecure starts a server for one test that speaks TLS at the URL it gives,
// with the certificate; with clients, only who has a certificate of that CA is
// let in.
func NewSecure(t testing.TB, certFile, keyFile string, clients *CA) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := newConfig(dir)
	cfg.ListenClientUrls = mustURLs(t, "https://"+address)
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ClientTLSInfo = transport.TLSInfo{CertFile: certFile, KeyFile: keyFile}
	if clients != nil {
		cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = clients.File, true
	}
	etcd, err := launch(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	return "https://" + address
}

func mustURLs(t testing.TB, s string) []url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return []url.URL{*u}
}

// NewWithAuth starts a server for one test on which only users are let in: root
// with the password "root", and fleet with "secret", who may read and write
// under the prefix alone. Tokens last a second or two.
func NewWithAuth(t testing.TB, prefix string) *Server {
	t.Helper()
	s := New(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.client.RoleAdd(within(t), "fleet")
	must(err)
	_, err = s.client.RoleGrantPermission(within(t), "fleet", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	for _, user := range [][3]string{{"root", "root", "root"}, {"fleet", "secret", "fleet"}} {
		_, err = s.client.UserAdd(within(t), user[0], user[1])
		must(err)
		_, err = s.client.UserGrantRole(within(t), user[0], user[2])
		must(err)
	}
	_, err = s.client.AuthEnable(within(t))
	must(err)
	s.client.Close()
	s.client, err = clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Username: "root", Password: "root", Logger: zap.NewNop()})
	must(err)
	return s
}

// SetPassword changes a user's password.
func (s *Server) SetPassword(t testing.TB, user, password string) {
	t.Helper()
	if _, err := s.client.UserChangePassword(within(t), user, password); err != nil {
		t.Fatal(err)
	}
}

// Proposals counts what etcd has written to its log.
func (s *Server) Proposals() uint64 { return s.etcd.Server.AppliedIndex() }
