package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/registry/etcdtest"
)

// tcpNode is a node whose API is served on a TCP port, and the port's address.
func tcpNode(t *testing.T, conf string) (n *node, said *book, address string) {
	t.Helper()
	n, said = aNode(t, conf)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.listeners = []net.Listener{l}
	ctx, end := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := n.server.Serve(ctx, n.tls.over(l)); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { end(); serving.Wait() })
	return n, said, l.Addr().String()
}

// knock asks the API; "" is that it answered. Else it is said why not, as fleetctl
// would say it.
func knock(t *testing.T, endpoint string, cfg *tls.Config) string {
	t.Helper()
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.Clone(), DisableKeepAlives: true}}
	if resp, err := bare.Get(endpoint + "/nowhere"); err == nil { // for which etcd isn't asked
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			return ""
		}
	}
	c, err := api.NewClient(api.ClientOptions{Endpoint: endpoint, TLS: cfg, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Machines(t.Context())
	return fmt.Sprint(err)
}

// showing is a client that trusts a CA and shows a certificate, if any.
func showing(t *testing.T, ca *etcdtest.CA, cert, key string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AppendCertsFromPEM(pem)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

func TestAPIOverTLS(t *testing.T) {
	ca, other := etcdtest.NewCA(t, "ca"), etcdtest.NewCA(t, "other")
	cert, key := ca.Issue(t, "server", "127.0.0.1", time.Hour)
	conf := fmt.Sprintf("api_certfile=%s\napi_keyfile=%s\napi_cafile=%s\n", cert, key, ca.File)
	n, said, at := tcpNode(t, conf)
	_, _, open := tcpNode(t, fmt.Sprintf("api_certfile=%s\napi_keyfile=%s\n", cert, key))
	_, _, plain := tcpNode(t, "")
	good, goodKey := ca.Issue(t, "client", "client", time.Hour)
	old, oldKey := ca.Issue(t, "old", "client", -time.Hour)
	strange, strangeKey := other.Issue(t, "strange", "client", time.Hour)

	tests := []struct {
		name, endpoint string
		tls            *tls.Config
		want           []string // none: let in
	}{
		{name: "its certificate", endpoint: "https://" + at, tls: showing(t, ca, good, goodKey)},
		{name: "none", endpoint: "https://" + at, tls: showing(t, ca, "", ""), want: []string{"asks for a certificate", "--cert-file"}},
		{name: "another CA's", endpoint: "https://" + at, tls: showing(t, ca, strange, strangeKey), want: []string{"doesn't know who signed", "api_cafile"}},
		{name: "an expired one", endpoint: "https://" + at, tls: showing(t, ca, old, oldKey), want: []string{"has expired", "Renew"}},
		{name: "one that no CA signed, for fleetd itself", endpoint: "https://" + at, tls: showingOwn(t, ca), want: []string{"doesn't know who signed"}},
		{name: "an unknown CA of fleetd's", endpoint: "https://" + at, tls: showing(t, other, good, goodKey), want: []string{"nobody that this host trusts", "--ca-file"}},
		{name: "another name", endpoint: "https://localhost" + at[strings.LastIndex(at, ":"):], tls: showing(t, ca, good, goodKey), want: []string{"api_certfile) must be for the name"}},
		{name: "no TLS", endpoint: "http://" + at, want: []string{"TLS is spoken there", "https://"}},
		{name: "TLS without certificates of clients", endpoint: "https://" + open, tls: showing(t, ca, "", "")},
		{name: "TLS to a plain port", endpoint: "https://" + plain, tls: showing(t, ca, good, goodKey), want: []string{"no TLS is spoken there", "http://"}},
		{name: "plain to a plain port", endpoint: "http://" + plain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := knock(t, tt.endpoint, tt.tls)
			if len(tt.want) == 0 && got != "" {
				t.Fatalf("refused: %s", got)
			}
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("it says nothing of %q: %s", w, got)
				}
			}
		})
	}
	said.await(t, "client didn't provide a certificate")
	if err := n.answers(t.Context()); err != nil {
		t.Errorf("fleetd does not reach itself: %v", err)
	}
}

// showingOwn shows a certificate such as fleetd makes for itself.
func showingOwn(t *testing.T, ca *etcdtest.CA) *tls.Config {
	t.Helper()
	own, err := ownCertificate()
	if err != nil {
		t.Fatal(err)
	}
	cfg := showing(t, ca, "", "")
	cfg.Certificates = []tls.Certificate{*own}
	return cfg
}

// Who is refused hears why, however much it has to say.
func TestRefusedClientHearsWhy(t *testing.T) {
	ca := etcdtest.NewCA(t, "ca")
	cert, key := ca.Issue(t, "server", "127.0.0.1", time.Hour)
	_, _, at := tcpNode(t, fmt.Sprintf("api_certfile=%s\napi_keyfile=%s\napi_cafile=%s\n", cert, key, ca.File))
	c, err := api.NewClient(api.ClientOptions{Endpoint: "https://" + at, TLS: showing(t, ca, "", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 50 {
		_, err := c.SetUnit(t.Context(), api.Unit{Name: "big.service", DesiredState: "inactive", Text: strings.Repeat("# much\n", 60_000)})
		if err == nil || !strings.Contains(err.Error(), "asks for a certificate") {
			t.Fatalf("time %d: %v", i, err)
		}
	}
}

func TestAPICertificatesAreRotated(t *testing.T) {
	ca := etcdtest.NewCA(t, "ca")
	cert, key := ca.Issue(t, "server", "127.0.0.1", -time.Hour)
	n, said, at := tcpNode(t, fmt.Sprintf("api_certfile=%s\napi_keyfile=%s\napi_cafile=%s\n", cert, key, ca.File))
	good, goodKey := ca.Issue(t, "client", "client", time.Hour)
	client := showing(t, ca, good, goodKey)
	if got := knock(t, "https://"+at, client); !strings.Contains(got, "fleetd's certificate is valid from") {
		t.Errorf("expired: %q", got)
	}
	said.await(t, "expired at")
	ca.Issue(t, "server", "127.0.0.1", time.Hour) // in its place
	if got := knock(t, "https://"+at, client); got != "" {
		t.Errorf("renewed: %s", got)
	}
	if err := os.WriteFile(cert, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := knock(t, "https://"+at, client); got != "" {
			t.Errorf("while it is being written: %s", got)
		}
	}
	if count := strings.Count(said.String(), "the API's TLS: "); count != 2 {
		t.Errorf("it was said %d times what is wrong with the files, not once of each:\n%s", count, said)
	}

	// A reload that names other files counts for the next connection; one that
	// names none that can be read is refused.
	reload := func(conf string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "fleet.conf")
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		n.reload(t.Context(), func() (*config.Config, error) { return check(path, nil) })
	}
	newCA := etcdtest.NewCA(t, "new")
	newCert, newKey := newCA.Issue(t, "server", "127.0.0.1", time.Hour)
	reload(fmt.Sprintf("api_certfile=%s\napi_keyfile=%s\n", newCert, newKey))
	said.await(t, "asks clients for no certificate")
	if got := knock(t, "https://"+at, showing(t, newCA, "", "")); got != "" {
		t.Errorf("reloaded: %s", got)
	}
	reload(fmt.Sprintf("api_certfile=%s\napi_keyfile=/nowhere.pem\n", newCert))
	said.await(t, "fleet.conf:1: api_certfile "+newCert+", api_keyfile /nowhere.pem")
	if got := knock(t, "https://"+at, showing(t, newCA, "", "")); got != "" {
		t.Errorf("a reload that was refused: %s", got)
	}
	reload("")
	said.await(t, "has no TLS")
	if got := knock(t, "http://"+at, nil); got != "" {
		t.Errorf("without TLS again: %s", got)
	}
}

func TestAPIFilesThatAreNoGood(t *testing.T) {
	ca, other := etcdtest.NewCA(t, "ca"), etcdtest.NewCA(t, "other")
	cert, key := ca.Issue(t, "server", "127.0.0.1", time.Hour)
	_, otherKey := other.Issue(t, "server", "127.0.0.1", time.Hour)
	for _, tt := range []struct{ name, conf, want string }{
		{"no such file", "api_certfile=/nowhere.pem\napi_keyfile=" + key, "fleet.conf:1: api_certfile /nowhere.pem"},
		{"another's key", "api_certfile=" + cert + "\napi_keyfile=" + otherKey, "belong together"},
		{"no CA", "api_certfile=" + cert + "\napi_keyfile=" + key + "\napi_cafile=/nowhere.pem", "fleet.conf:3: api_cafile: open /nowhere.pem"},
		{"a key for a CA", "api_certfile=" + cert + "\napi_keyfile=" + key + "\napi_cafile=" + key, "no PEM certificate in it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fleet.conf")
			if err := os.WriteFile(path, []byte(tt.conf), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			n, said := aNode(t, "")
			if _, err := newAPITLS(cfg, n.log); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
			n.tls.use(apiPathsOf(cfg)) // they were good when the reload looked
			said.await(t, "stays as it was")
		})
	}
}

func TestUnixSocketsStayPlain(t *testing.T) {
	ca := etcdtest.NewCA(t, "ca")
	cert, key := ca.Issue(t, "server", "127.0.0.1", time.Hour)
	n, said := aNode(t, fmt.Sprintf("api_certfile=%s\napi_keyfile=%s\n", cert, key))
	l := listening(t, n)
	if n.tls.over(l) != l {
		t.Error("a unix socket was put behind TLS")
	}
	n.tls.tell(n.listeners)
	said.await(t, "api_certfile has no effect: systemd passed no TCP socket")
}
