package functional

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/fleet-project/fleet/registry/etcdtest"
)

// A host's API over TCP: without TLS at first, as drop-ins from fleet 1.0's days
// have it, then with TLS and clients' certificates, which a reload turns on.
func TestAPIOverTLSOnARealHost(t *testing.T) {
	w := use(t)
	h, from := w.Hosts[2], w.Hosts[0]
	port := h.IP() + ":49153"
	ca, other := etcdtest.NewCA(t, "ca"), etcdtest.NewCA(t, "other")
	put := func(on *platform.Host, path, local string) {
		t.Helper()
		b, err := os.ReadFile(local)
		if err != nil {
			t.Fatal(err)
		}
		if err := on.WriteFile(w.ctx, path, platform.File{Content: string(b), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(on *platform.Host, by *etcdtest.CA, name, host string, valid time.Duration) {
		t.Helper()
		cert, key := by.Issue(t, name, host, valid)
		put(on, "/root/api-tls/"+name+"-key.pem", key)
		put(on, "/root/api-tls/"+name+".pem", cert)
	}
	for _, on := range []*platform.Host{h, from} {
		put(on, "/root/api-tls/ca.pem", ca.File)
	}
	put(from, "/root/api-tls/other.pem", other.File)
	issue(h, ca, "server", h.IP(), time.Hour)
	issue(from, ca, "client", "client", time.Hour)
	issue(from, ca, "expired", "client", -time.Hour)
	issue(from, other, "strange", "client", time.Hour)

	conf, err := h.ReadFile(w.ctx, "/etc/fleet/fleet.conf")
	if err != nil {
		t.Fatal(err)
	}
	if open := w.run(h, "ss -Hltnp | grep '\"fleetd\"' | grep -v "+w.mainPID(h, "etcd2.service")+" || true"); open != "" {
		t.Errorf("fleetd listens on TCP, and nobody has asked it to:\n%s", open)
	}
	w.deploy(h, map[string]string{
		"/etc/systemd/system/fleet.socket.d/30-tcp.conf": "[Socket]\nListenStream=" + port + "\n",
		"/etc/fleet/fleet.conf":                          conf,
	}, "systemctl stop fleet.socket; systemctl restart fleet.service")
	w.await("fleetd to warn", func() (bool, string) {
		log := w.fleetLog(h)
		return strings.Contains(log, "the API on "+port+" has no TLS") && strings.Contains(log, "set api_certfile, api_keyfile and api_cafile"), log
	})
	fleetctl := func(args string) string {
		out, _ := from.Run(w.ctx, "sh", "-c", "fleetctl "+args+" 2>&1") // what it says is looked at
		return out
	}
	show := func(cert string) string {
		return fmt.Sprintf("--endpoint https://%s --ca-file /root/api-tls/ca.pem --cert-file /root/api-tls/%s.pem --key-file /root/api-tls/%[2]s-key.pem ", port, cert)
	}
	machines := w.fleetctl("list-machines", "--full")
	if got := fleetctl("--endpoint http://" + port + " list-machines --full"); got != machines {
		t.Errorf("without TLS:\n%s", got)
	}

	conf += "api_certfile=/root/api-tls/server.pem\napi_keyfile=/root/api-tls/server-key.pem\napi_cafile=/root/api-tls/ca.pem\n"
	if err := h.WriteFile(w.ctx, "/etc/fleet/fleet.conf", platform.File{Content: conf}); err != nil {
		t.Fatal(err)
	}
	w.run(h, "systemctl reload fleet.service")
	w.await("TLS", func() (bool, string) {
		log := w.fleetLog(h)
		return strings.Contains(log, "the API on "+port+" speaks TLS"), log
	})
	for _, tt := range []struct{ name, args, want string }{
		{"a certificate", show("client"), machines},
		{"no certificate", "--endpoint https://" + port + " --ca-file /root/api-tls/ca.pem ", "fleetd asks for a certificate, and got none"},
		{"another CA's certificate", show("strange"), "fleetd doesn't know who signed the certificate"},
		{"an expired certificate", show("expired"), "it has expired"},
		{"no CA", "--endpoint https://" + port + " ", "Name the CA that has: --ca-file FILE."},
		{"another CA", "--endpoint https://" + port + " --ca-file /root/api-tls/other.pem ", "Name the CA that has: --ca-file FILE."},
		{"no TLS", "--endpoint http://" + port + " ", "TLS is spoken there: write https://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fleetctl(tt.args + "list-machines --full"); !strings.Contains(got, tt.want) {
				t.Errorf("got:\n%s", got)
			}
		})
	}
	curl := "curl -s -o /dev/null -w '%{http_code}' --cacert /root/api-tls/ca.pem "
	mine := "--cert /root/api-tls/client.pem --key /root/api-tls/client-key.pem "
	if code := w.run(from, curl+mine+"https://"+port+"/metrics"); code != "200" {
		t.Errorf("metrics with a certificate: %s", code)
	}
	if code := w.run(from, curl+"https://"+port+"/metrics || true"); code != "000" {
		t.Errorf("metrics without a certificate: %s", code)
	}

	w.file("overtls.service", sleeper(""))
	if got := fleetctl(show("client") + "start /root/units/overtls.service"); !strings.Contains(got, "launched on") {
		t.Errorf("start: %s", got)
	}
	issue(h, ca, "server", h.IP(), -time.Minute)
	if got := fleetctl(show("client") + "list-machines"); !strings.Contains(got, "fleetd's certificate is valid from") {
		t.Errorf("expired: %s", got)
	}
	issue(h, ca, "server", h.IP(), time.Hour)
	if got := fleetctl(show("client") + "list-machines --full"); got != machines {
		t.Errorf("renewed: %s", got)
	}
	if got := w.run(h, "fleetctl list-machines --full"); got != strings.TrimSpace(machines) {
		t.Errorf("over the unix socket:\n%s", got)
	}

	// TLS alone, nothing else: fleetd still finds that it answers, which is what
	// makes it ready, and what its watchdog asks.
	if err := h.WriteFile(w.ctx, "/etc/systemd/system/fleet.socket.d/30-tcp.conf", platform.File{Content: "[Socket]\nListenStream=\nListenStream=" + port + "\n"}); err != nil {
		t.Fatal(err)
	}
	w.run(h, "systemctl daemon-reload; systemctl stop fleet.socket; systemctl restart fleet.service")
	if got := fleetctl(show("client") + "list-machines --full"); got != machines {
		t.Errorf("with no other socket: %s", got)
	}
}
