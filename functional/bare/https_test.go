package bare

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// certificate is one, with its key, for a host's name; it signs itself.
func certificate(t *testing.T, host string) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, want, want, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	write := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return write("CERTIFICATE", signed), write("PRIVATE KEY", private)
}

// withCertificate is what the guide tells to put into a drop-in.
const withCertificate = `[Service]
LoadCredential=cert.pem:/etc/ssl/discovery/cert.pem
LoadCredential=key.pem:/etc/ssl/discovery/key.pem
Environment="OPTIONS=--cert-file=%d/cert.pem --key-file=%d/key.pem"
`

// The packaged discovery service, on a host, speaks HTTPS; hosts that trust its
// certificate join by it, one that doesn't says so and waits.
func TestHTTPS(t *testing.T) {
	w := newWorld(t)
	cert, key := certificate(t, "discovery")
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting, err := w.plat.Layer(w.ctx, "trusting", []string{w.layer}, "sh", "-ec",
		`install -m 0644 "$1" "$ROOT/usr/local/share/ca-certificates/discovery.crt"; chroot "$ROOT" update-ca-certificates`, "sh", file)
	if err != nil {
		t.Fatal(err)
	}
	discovery, err := w.plat.Boot(w.ctx, platform.HostSpec{
		Name: "discovery", Layers: []string{w.layer, trusting}, Enable: []string{"fleet-discovery.service"},
		Files: map[string]platform.File{
			"/etc/default/fleet-discovery":                           {Content: "LISTEN=0.0.0.0:2381\n"},
			"/etc/systemd/system/fleet-discovery.service.d/tls.conf": {Content: withCertificate},
			"/etc/ssl/discovery/cert.pem":                            {Content: cert},
			"/etc/ssl/discovery/key.pem":                             {Content: key, Mode: 0o600},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	url := w.sh(discovery, "curl -sSf 'https://discovery:2381/new?size=2'")
	if !strings.HasPrefix(url, "https://discovery:2381/") {
		t.Fatalf("the URL is %q", url)
	}
	files := with(fmt.Sprintf(cloudConfig, url))
	hosts, err := w.plat.BootAll(w.ctx,
		platform.HostSpec{Name: "n1", Layers: []string{w.layer, trusting}, Files: files},
		platform.HostSpec{Name: "n2", Layers: []string{w.layer}, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	w.says(hosts[0], "etcd2", "1 of 2 joined; waiting for 1 more")
	w.says(hosts[1], "etcd2", "certificate signed by unknown authority", "trying again")
	if err := hosts[1].WriteFile(w.ctx, "/usr/local/share/ca-certificates/discovery.crt", platform.File{Content: cert}); err != nil {
		t.Fatal(err)
	}
	w.sh(hosts[1], "update-ca-certificates; systemctl restart etcd2")
	w.describes(w.awaitMachines(hosts[1], 2), hosts, "region=eu,role=web")
	w.members(hosts...)
	if out := w.sh(discovery, "curl -sSf "+url); !strings.Contains(out, "2 of 2 joined") || !strings.Contains(out, hosts[0].MachineID()) {
		t.Errorf("curl shows %s", out)
	}
}
