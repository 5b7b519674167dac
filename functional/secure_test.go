package functional

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/fleet-project/fleet/registry/etcdtest"
)

// securedFleet is a second fleetd on a host, with an etcd of its own that wants
// certificates and users, both services of systemd's.
type securedFleet struct {
	*world
	h *platform.Host
}

const securedEtcd = `[Service]
Type=exec
Environment=ETCD_NAME=secured ETCD_DATA_DIR=/var/lib/secured ETCD_LOG_LEVEL=error ETCD_AUTH_TOKEN_TTL=1
Environment=ETCD_LISTEN_CLIENT_URLS=https://%[1]s:12379 ETCD_ADVERTISE_CLIENT_URLS=https://%[1]s:12379
Environment=ETCD_LISTEN_PEER_URLS=http://127.0.0.1:12380 ETCD_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:12380
Environment=ETCD_INITIAL_CLUSTER=secured=http://127.0.0.1:12380
Environment=ETCD_CERT_FILE=/root/tls/server.pem ETCD_KEY_FILE=/root/tls/server-key.pem
Environment=ETCD_TRUSTED_CA_FILE=/root/tls/ca.pem ETCD_CLIENT_CERT_AUTH=true
ExecStart=/usr/bin/fleetd etcd
`

const securedFleetd = `[Service]
Type=notify
ExecStart=/usr/bin/fleetd -config /etc/fleet/secured.conf
ExecReload=/bin/kill -HUP $MAINPID
`

const securedConf = `etcd_servers=["https://%[1]s:12379"]
etcd_cafile=/root/tls/ca.pem
etcd_certfile=/root/tls/client.pem
etcd_keyfile=/root/tls/client-key.pem
etcd_username=fleet
etcd_password='%[2]s'
units_directory=/run/secured/units
public_ip=%[1]s
agent_ttl=5s
`

// put writes a file, of which from is where this machine has it, if not "".
func (s securedFleet) put(path, text, from string) {
	s.t.Helper()
	if from != "" {
		b, err := os.ReadFile(from)
		if err != nil {
			s.t.Fatal(err)
		}
		text = string(b)
	}
	if err := s.h.WriteFile(s.ctx, path, platform.File{Content: text, Mode: 0o600}); err != nil {
		s.t.Fatal(err)
	}
}

// auth asks etcd's HTTP gateway, as root once there is one. It takes no
// certificate that names somebody.
func (s securedFleet) auth(verb, body, token string) string {
	s.t.Helper()
	line := fmt.Sprintf("curl -sS --fail-with-body --retry 20 --retry-connrefused --retry-delay 1 --cacert /root/tls/ca.pem --cert /root/tls/admin.pem --key /root/tls/admin-key.pem "+
		"-H 'Authorization: %s' -X POST https://%s:12379/v3/auth/%s -d '%s' 2>&1", token, s.h.IP(), verb, body)
	out, err := s.h.Run(s.ctx, "sh", "-ec", line)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", verb, body, err, out)
	}
	return out
}

func (s securedFleet) awaitStatus(words ...string) {
	s.t.Helper()
	s.await("the status to say "+strings.Join(words, ", "), func() (bool, string) {
		text := s.run(s.h, "systemctl show -P StatusText secured.service")
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false, text
			}
		}
		return true, text
	})
}

func TestCompatFleetdTLSAndAuthOnARealHost(t *testing.T) {
	w := use(t)
	s := securedFleet{w, w.Hosts[2]}
	ca := etcdtest.NewCA(t, "ca")
	issue := func(name, host string, valid time.Duration) {
		t.Helper()
		cert, key := ca.Issue(t, name, host, valid)
		s.put("/root/tls/"+name+"-key.pem", "", key)
		s.put("/root/tls/"+name+".pem", "", cert)
	}
	s.put("/root/tls/ca.pem", "", ca.File)
	issue("server", s.h.IP(), time.Hour)
	issue("client", "client", time.Hour)
	issue("admin", "", time.Hour)
	conf := func(password string) {
		s.put("/etc/fleet/secured.conf", fmt.Sprintf(securedConf, s.h.IP(), password), "")
	}
	conf("wrong")
	w.deploy(s.h, map[string]string{
		"/etc/systemd/system/secured-etcd.service": fmt.Sprintf(securedEtcd, s.h.IP()),
		"/etc/systemd/system/secured.service":      securedFleetd,
		"/etc/systemd/system/secured.socket":       "[Socket]\nListenStream=/run/secured.sock\n",
	}, "systemctl start secured-etcd.service")
	t.Cleanup(func() {
		_, err := s.h.Run(context.Background(), "sh", "-c", "systemctl stop secured.socket secured.service secured-etcd.service; rm -rf /var/lib/secured /run/secured")
		if err != nil {
			t.Error(err)
		}
	})
	for _, user := range [][2]string{{"root", "toor"}, {"fleet", "s3cret"}} {
		s.auth("user/add", fmt.Sprintf(`{"name":%q,"password":%q}`, user[0], user[1]), "")
		s.auth("role/add", fmt.Sprintf(`{"name":%q}`, user[0]), "")
		s.auth("user/grant", fmt.Sprintf(`{"user":%q,"role":%[1]q}`, user[0]), "")
	}
	s.auth("enable", "{}", "")

	s.run(s.h, "systemctl start secured.socket secured.service")
	s.awaitStatus("waiting for etcd", "etcd refuses fleet", `correct etcd_username (now "fleet") and etcd_password`)
	if code := s.run(s.h, "curl -s --unix-socket /run/secured.sock http://x/fleet/v1/machines"); !strings.Contains(code, "etcd refuses fleet") || strings.Contains(code, "half of its members") {
		t.Errorf("the API says: %s", code)
	}
	conf("s3cret")
	s.run(s.h, "systemctl reload secured.service") // which says that it takes a restart
	s.run(s.h, "systemctl restart secured.service")
	s.awaitStatus("etcd refuses fleet", `user "fleet" needs a role`, "--prefix=true /_coreos.com/fleet/")
	var token string
	if parts := strings.Split(s.auth("authenticate", `{"name":"root","password":"toor"}`, ""), `"token":"`); len(parts) == 2 {
		token, _, _ = strings.Cut(parts[1], `"`)
	}
	s.auth("role/grant", fmt.Sprintf(`{"name":"fleet","perm":{"permType":"READWRITE","key":%q,"range_end":%q}}`, b64(prefix), b64(past(prefix))), token)
	s.awaitStatus("joined as " + s.h.MachineID()[:8]) // by itself

	fleetctl := "fleetctl --endpoint unix:///run/secured.sock "
	w.file("secret.service", sleeper(""))
	s.run(s.h, fleetctl+"start /root/units/secret.service")
	pid := w.mainPID(s.h, "secret.service")

	// The certificate expires, and is rotated in its place.
	issue("client", "client", -time.Hour)
	s.run(s.h, "systemctl restart secured-etcd.service")
	s.awaitStatus("etcd is out of reach", "https://"+s.h.IP()+":12379", "etcd_certfile /root/tls/client.pem (it expired at ")
	issue("client", "client", time.Hour)
	s.awaitStatus("joined as", "units")
	s.await("etcd to be back", func() (bool, string) {
		text := s.run(s.h, "systemctl show -P StatusText secured.service")
		return !strings.Contains(text, "out of reach"), text
	})
	s.run(s.h, fleetctl+"start /root/units/secret.service")
	if now := w.mainPID(s.h, "secret.service"); now != pid {
		t.Errorf("secret.service was process %s, is %s", pid, now)
	}
	s.run(s.h, fleetctl+"destroy secret.service")
	log := s.run(s.h, "journalctl -o cat -u secured.service")
	if strings.Contains(log, "s3cret") || !strings.Contains(log, "etcd_password changed to (hidden), which needs a restart") {
		t.Errorf("fleetd logged:\n%s", log)
	}
	s.run(s.h, "systemctl stop secured.service") // hands over, to nobody
}
