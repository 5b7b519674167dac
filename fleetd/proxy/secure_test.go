package proxy_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetd/proxy"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// withUsers lets only users in: root and fleet, who may read and write below "f/".
// The others are root's like.
func (e *etcd) withUsers(t *testing.T, c *clientv3.Client, others ...string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"root", "fleet"} {
		_, err := c.RoleAdd(within(t), user)
		must(err)
		_, err = c.UserAdd(within(t), user, "secret")
		must(err)
		_, err = c.UserGrantRole(within(t), user, user)
		must(err)
	}
	for _, user := range others {
		_, err := c.UserAdd(within(t), user, "secret")
		must(err)
		_, err = c.UserGrantRole(within(t), user, "root")
		must(err)
	}
	_, err := c.RoleGrantPermission(within(t), "fleet", "f/", clientv3.GetPrefixRangeEnd("f/"), clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = c.AuthEnable(within(t))
	must(err)
}

// Each client is who it says, for each request and each watch.
func TestUsers(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3, "--bcrypt-cost=4")
	p := e.proxy(t)
	e.withUsers(t, e.client(t, p.url()))
	fleet := e.clientWith(t, clientv3.Config{Endpoints: []string{p.url()}, Username: "fleet", Password: "secret"})
	root := e.clientWith(t, clientv3.Config{Endpoints: []string{p.url()}, Username: "root", Password: "secret"})
	nobody := e.client(t, p.url())

	// A token that one member gave may reach the next one later than its first use.
	watch := func(c *clientv3.Client, prefix string) (w clientv3.WatchChan) {
		await(t, "a watch", func() error {
			w = c.Watch(within(t), prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
			resp := next(t, w)
			return resp.Err()
		})
		return w
	}
	allowed := watch(fleet, "f/")
	// The same range, by those who may and those who may not, at the same time.
	watch(root, "g/")
	if resp := next(t, fleet.Watch(within(t), "g/", clientv3.WithPrefix())); resp.Err() == nil || !strings.Contains(resp.Err().Error(), "permission denied") {
		t.Errorf("fleet watches what it may not: %v", resp)
	}
	if resp := next(t, nobody.Watch(within(t), "f/", clientv3.WithPrefix())); resp.Err() == nil {
		t.Errorf("nobody watches: %v", resp)
	}
	if _, err := fleet.Put(within(t), "f/k", "v"); err != nil {
		t.Error(err)
	}
	if ev := next(t, allowed).Events; string(ev[0].Kv.Value) != "v" {
		t.Errorf("%v", ev)
	}
	if _, err := fleet.Get(within(t), "g/k"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Error(err)
	}
	if _, err := nobody.Get(within(t), "f/k"); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Error(err)
	}
	if _, err := e.clientTry(p.url(), "fleet", "wrong"); !errors.Is(err, rpctypes.ErrAuthFailed) {
		t.Error(err)
	}
	// A member that starts anew knows no token; the client fetches another.
	for n := 1; n <= 3; n++ {
		e.kill(n)
		e.start(n)
		e.await("a write", func() error { _, err := fleet.Put(within(t), "f/k", "again"); return err })
	}
}

// clientTry is who can't log in.
func (e *etcd) clientTry(endpoint, user, password string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Username: user, Password: password, DialTimeout: 5 * time.Second})
}

// All speak TLS with certificates. The proxy's own carries the name of a user of
// etcd's, which nobody is through it.
func TestTLS(t *testing.T) {
	t.Parallel()
	e := prepare(t)
	e.scheme = "https"
	ca := etcdtest.NewCA(t, "ca")
	cert := func(n int, name string) transport.TLSInfo {
		file, key := ca.Issue(t, name, e.ip(n), time.Hour)
		return transport.TLSInfo{CertFile: file, KeyFile: key, TrustedCAFile: ca.File, ClientCertAuth: true}
	}
	member := cert(1, "member")
	e.flags = []string{
		"--cert-file", member.CertFile, "--key-file", member.KeyFile, "--trusted-ca-file", ca.File, "--client-cert-auth",
		"--peer-cert-file", member.CertFile, "--peer-key-file", member.KeyFile, "--peer-trusted-ca-file", ca.File, "--peer-client-cert-auth",
		"--peer-skip-client-san-verification", // all addresses here are one host's
		"--bcrypt-cost=4",
	}
	clientTLS := func(info transport.TLSInfo) *tls.Config {
		cfg, err := info.ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	e.start(1, "--initial-cluster=n1="+e.peer(1))
	direct := e.clientWith(t, clientv3.Config{Endpoints: []string{e.endpoint(1)}, TLS: clientTLS(member)})
	if _, err := direct.Put(within(t), "f/k", "v"); err != nil {
		t.Fatal(err)
	}
	listen := cert(100, "proxy")
	listen.ClientCertFile, listen.ClientKeyFile = member.CertFile, member.KeyFile
	p := e.proxy(t, func(o *proxy.Options) {
		o.Listen = []url.URL{{Scheme: "https", Host: e.proxyIP + ":2379"}, {Scheme: "http", Host: e.proxyIP + ":4001"}, {Scheme: "unix", Host: filepath.Join(t.TempDir(), "s")}}
		o.Client, o.Peer = listen, member
	})
	client := transport.TLSInfo{TrustedCAFile: ca.File}
	client.CertFile, client.KeyFile = ca.Issue(t, "client", "", time.Hour)
	c := e.clientWith(t, clientv3.Config{Endpoints: []string{p.url()}, TLS: clientTLS(client)})
	if resp, err := c.Get(within(t), "f/k"); err != nil || string(resp.Kvs[0].Value) != "v" {
		t.Fatal(resp, err)
	}
	for _, at := range []string{p.opts.Listen[1].String(), "unix://" + p.opts.Listen[2].Host} {
		if _, err := e.client(t, at).Get(within(t), "f/k"); err != nil {
			t.Error(at, err)
		}
	}
	health(t, &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(client), ForceAttemptHTTP2: true}}, p.url(), http.StatusOK)
	_, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: clientTLS(client).RootCAs}}}).Get(p.url() + "/health")
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}

	e.withUsers(t, direct, e.ip(1)) // as its certificate says
	if _, err := direct.Get(within(t), "f/k"); err != nil {
		t.Errorf("with that certificate itself: %v", err)
	}
	if _, err := c.Get(within(t), "f/k"); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Errorf("without a user, one is whom the proxy's certificate names: %v", err)
	}
}

func health(t *testing.T, c *http.Client, base string, want int) (text string) {
	t.Helper()
	resp, err := c.Get(base + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Health, Reason string }
	if err := json.Unmarshal(body, &said); err != nil || resp.StatusCode != want || (said.Health == "true") != (want == http.StatusOK) {
		t.Errorf("%s %s", resp.Status, body)
	}
	return said.Reason
}

// What asks etcd by HTTP is answered as by a member, as long as one is well.
func TestHTTP(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3)
	p := e.proxy(t, func(o *proxy.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ours") })
	})
	get := func(path string) (int, string) {
		resp, err := http.Get(p.url() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	e.await("the members", func() error {
		if code, text := get("/health"); code != http.StatusOK {
			return errors.New(text)
		}
		return nil
	})
	if code, text := get("/version"); code != http.StatusOK || !strings.Contains(text, "etcdcluster") {
		t.Error(code, text)
	}
	if code, text := get("/metrics"); code != http.StatusOK || text != "ours" {
		t.Error(code, text)
	}
	if code, _ := get("/debug/vars"); code != http.StatusNotFound {
		t.Error(code)
	}
	resp, err := http.Post(p.url()+"/v3/kv/put", "application/json", strings.NewReader(`{"key": "aw==", "value": "dg=="}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Error(resp, err)
	}
	resp.Body.Close()
	e.kill(1)
	e.kill(2)
	if reason := health(t, http.DefaultClient, p.url(), http.StatusServiceUnavailable); reason == "" {
		t.Error("it does not say why")
	}
}

// A proxy does not serve another one: they could be each other's.
func TestProxyOfAProxy(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 1)
	p := e.proxy(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url()+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("fleet-etcd-proxy", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Error(resp, err)
	}
	resp.Body.Close()
	ctx := metadata.AppendToOutgoingContext(within(t), "fleet-etcd-proxy", "1")
	if _, err := e.client(t, p.url()).Status(ctx, p.url()); err == nil || !strings.Contains(err.Error(), "does not serve another proxy") {
		t.Error(err)
	}
}
