package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Two hosts come for the last place: one is a member, the other a proxy, and
// stays one; a third that is told to be a proxy from the start is one.
func TestHostsBeyondTheSizeAreProxies(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	url := "ETCD_DISCOVERY=" + d.url(t, 2)
	told := n.host(t, 4, url, "ETCD_PROXY=on").start()
	told.said.await(t, "0 of 2 joined")
	first := n.host(t, 1, url).start()
	first.said.await(t, "1 of 2 joined")
	late := []*etcdHost{n.host(t, 2, url).start(), n.host(t, 3, url).start()}
	var member, proxy *etcdHost
	for proxy == nil {
		for i, h := range late {
			if strings.Contains(h.said.String(), "this host is a proxy: the cluster is full") {
				proxy, member = h, late[1-i]
			}
		}
		time.Sleep(time.Millisecond)
	}
	formed(t, first, member)
	through := func(h *etcdHost) {
		t.Helper()
		want := []string{first.name, member.name}
		slices.Sort(want)
		for _, port := range []string{"2379", "4001"} {
			if got := h.members(newClient(nil), "http://"+h.addr+":"+port); !slices.Equal(got, want) {
				t.Errorf("through %s there are %v", h.name, got)
			}
		}
	}
	through(proxy)
	through(told)
	d.CloseClientConnections()
	d.Close()
	if code := proxy.terminate(); code != 0 {
		t.Errorf("the proxy ended with %d:\n%s", code, proxy.said)
	}
	told.kill()
	through(proxy.start())
	through(told.start())
}

// ca makes certificates for a test.
type ca struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{dir: t.TempDir()}
	c.cert, c.key = c.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return c
}

// issue writes NAME.pem and NAME-key.pem.
func (c *ca) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := template, key
	if c.cert != nil {
		parent, by = c.cert, c.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(c.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (c *ca) file(name string) string { return filepath.Join(c.dir, name) }

// forHost gives a host a certificate, and URLs that use it. As etcd 2 had it, the CA
// alone says that certificates are asked for.
func (c *ca) forHost(t *testing.T, h *etcdHost) {
	t.Helper()
	c.issue(t, h.name, &x509.Certificate{
		// etcd checks whether a peer comes from the address in its certificate. All
		// of the test's come from 127.0.0.1.
		IPAddresses: []net.IP{net.ParseIP(h.addr), net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	for i, e := range h.environ {
		h.environ[i] = strings.ReplaceAll(e, "http://$private", "https://$private")
	}
	for _, prefix := range []string{"ETCD_", "ETCD_PEER_"} {
		h.environ = append(h.environ, prefix+"CA_FILE="+c.file("ca.pem"), prefix+"CERT_FILE="+c.file(h.name+".pem"), prefix+"KEY_FILE="+c.file(h.name+"-key.pem"))
	}
}

// Members with TLS, among each other and to clients, by discovery; a proxy as well.
func TestHostsWithTLS(t *testing.T) {
	d, n, c := startDiscovery(t), newNetwork(t), newCA(t)
	url := "ETCD_DISCOVERY=" + d.url(t, 3)
	var hosts []*etcdHost
	for i := range 3 {
		h := n.host(t, i+1, url)
		c.forHost(t, h)
		hosts = append(hosts, h.start())
	}
	c.issue(t, "client", &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pair, err := tls.LoadX509KeyPair(c.file("client.pem"), c.file("client-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.cert)
	client := newClient(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})
	formedAt(t, client, "https", hosts...)
	if _, err := askMembers(newClient(&tls.Config{RootCAs: roots}), "https://"+hosts[0].addr+":2379"); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("a client without a certificate: %v", err)
	}
	proxy := n.host(t, 4, url)
	c.forHost(t, proxy)
	if got := proxy.start().members(client, "https://"+proxy.addr+":2379"); len(got) != 3 {
		t.Errorf("through a proxy: %v", got)
	}
}

// The members are in the configuration, or in DNS, as etcd itself has it.
func TestHostsWithoutDiscovery(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cluster func(t *testing.T, addrs []string) []string
		args    []string
	}{
		{"static", func(_ *testing.T, addrs []string) []string {
			return []string{"ETCD_INITIAL_CLUSTER=n1=http://" + addrs[0] + ":2380,n2=http://" + addrs[1] + ":2380"}
		}, nil},
		{"static, with a flag that wins", func(_ *testing.T, addrs []string) []string {
			return []string{"ETCD_INITIAL_CLUSTER=n1=http://" + addrs[0] + ":2380,n2=http://" + addrs[1] + ":2380", "ETCD_INITIAL_CLUSTER_TOKEN=theirs"}
		}, []string{"--initial-cluster-token=ours"}},
		{"DNS", func(t *testing.T, addrs []string) []string {
			return []string{"ETCD_DISCOVERY_SRV=fleet.test", testDNS + "=" + startDNS(t, "_etcd-server._tcp.fleet.test.", addrs)}
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t)
			hosts := []*etcdHost{n.host(t, 1), n.host(t, 2)}
			environ := tc.cluster(t, []string{hosts[0].addr, hosts[1].addr})
			for _, h := range hosts {
				h.environ = append(h.environ, environ...)
				h.start(tc.args...)
			}
			formed(t, hosts...)
			proxy := n.host(t, 3, append(environ, "ETCD_PROXY=on")...).start()
			if tc.name == "DNS" { // a proxy doesn't believe members that say by a name's address that they are on this host
				proxy.said.await(t, "the members are at http://h1.fleet.test:2380, http://h2.fleet.test:2380")
				return
			}
			if got := proxy.members(newClient(nil), "http://"+proxy.addr+":2379"); len(got) != 2 {
				t.Errorf("through a proxy: %v", got)
			}
		})
	}
}

// startDNS serves one SRV name, and the addresses h1.fleet.test and so on.
func startDNS(t *testing.T, srv string, addrs []string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
				continue
			}
			if answer, err := answerDNS(m, srv, addrs); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func answerDNS(m dnsmessage.Message, srv string, addrs []string) ([]byte, error) {
	q := m.Questions[0]
	m.Header.Response, m.Additionals = true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	for i, addr := range addrs {
		name := "h" + string(rune('1'+i)) + ".fleet.test."
		switch {
		case q.Name.String() == srv && q.Type == dnsmessage.TypeSRV:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.SRVResource{Port: 2380, Target: dnsmessage.MustNewName(name)}})
		case q.Name.String() == name && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: [4]byte(net.ParseIP(addr).To4())}})
		}
	}
	if len(m.Answers) == 0 && !strings.HasPrefix(q.Name.String(), "h") {
		m.Header.RCode = dnsmessage.RCodeNameError
	}
	return m.Pack()
}

// A URL whose cluster is no more: the host says so, and does not start one.
func TestURLOfADeadCluster(t *testing.T) {
	d, n := startDiscovery(t), newNetwork(t)
	url := "ETCD_DISCOVERY=" + d.url(t, 1)
	first := n.host(t, 1, url).start()
	formed(t, first)
	first.kill()
	late := n.host(t, 2, url).start()
	late.said.await(t, "this host is a proxy: the cluster is full")
	late.said.await(t, "make a new")
	if resp, err := http.Get("http://" + late.addr + ":2379/health"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("it says that all is well")
		}
	}
}
