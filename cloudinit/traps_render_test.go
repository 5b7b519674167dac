package cloudinit

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_6/types"
)

func TestSubstitution(t *testing.T) {
	for in, want := range map[string]string{
		"$private_ipv4 $public_ipv4 $private_ipv6 $public_ipv6": "10.0.0.4 192.0.2.4 fd00::4 2001:db8::4",
		"$private_ipv4$private_ipv4":                            "10.0.0.410.0.0.4",
		`\$private_ipv4`:                                        "$private_ipv4",
		`\\$private_ipv4`:                                       `\$private_ipv4`,
		"$private_ipv4_x":                                       "10.0.0.4_x",
		"${private_ipv4}":                                       "${private_ipv4}",
		"$private_ip $privateipv4":                              "$private_ip $privateipv4",
	} {
		out := translated(t, head+"write_files:\n  - path: /a\n    content: |-\n      "+in+"\n", Options{Addresses: everywhere})
		expect(t, in, content(t, out, "/a"), want)
	}
	packed := base64.StdEncoding.EncodeToString([]byte("$private_ipv4"))
	out := translated(t, head+"write_files: [{path: /a, encoding: b64, content: "+packed+"}]\n", Options{Addresses: everywhere})
	expect(t, "base64", content(t, out, "/a"), "$private_ipv4")
	// Butane and Ignition say exactly what they say.
	out = translated(t, "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /a, contents: {inline: $private_ipv4}}]}\n", Options{Addresses: everywhere})
	expect(t, "Butane", content(t, out, "/a"), "$private_ipv4")
}

func TestMissingAddress(t *testing.T) {
	const key = head + "coreos:\n  fleet:\n    public_ip: $public_ipv6\n"
	const etcd2 = head + "coreos: {etcd2: {name: $private_ipv6}}\n"
	const script = "#!/bin/sh\necho\necho $public_ipv6\n"
	expect(t, "key", said(key, Options{Addresses: here}), "f:4: error: coreos.fleet.public_ip uses $public_ipv6, which this host has not: set COREOS_PUBLIC_IPV6 in the environment\n")
	expect(t, "script", said(script, Options{Addresses: here}), "f:3: error: the script uses $public_ipv6, which this host has not\n")
	expect(t, "check", said(key, Options{Check: true})+said(script, Options{Check: true}), "")
	out := translated(t, etcd2, Options{Persistent: true})
	if d := out.Config.Systemd.Units[0].Dropins[0]; *d.Contents != "[Service]\nEnvironment=\"ETCD_NAME=$private_ipv6\"\n" {
		t.Error(*d.Contents)
	}
	if got := said(etcd2, Options{}); !strings.Contains(got, "coreos.etcd2.name uses $private_ipv6") {
		t.Error(got)
	}
}

func TestRenderedDropIn(t *testing.T) {
	out := translated(t, head+`coreos:
  etcd: {snapshot-count: 5, addr: a}
  etcd2: {discovery_srv: s, discovery_proxy: "http://p", discovery_fallback: proxy, discovery: "http://d/0", name: "", debug: false, heartbeat_interval: 0, ca-file: c, peer_client_cert_auth: yes, peer_key_file: k}
  fleet: {etcd_request_timeout: 1.50, engine_reconcile_interval: 2.0, verify_units: false}
  locksmith: {}
`, Options{})
	const dir = "/run/systemd/system/"
	expect(t, "etcd", content(t, out, dir+"etcd.service.d/20-cloudinit.conf"), "[Service]\nEnvironment=\"ETCD_ADDR=a\"\nEnvironment=\"ETCD_SNAPSHOTCOUNT=5\"\n")
	expect(t, "etcd2", content(t, out, dir+"etcd2.service.d/20-cloudinit.conf"), `[Service]
Environment="ETCD_CA_FILE=c"
Environment="ETCD_DISCOVERY=http://d/0"
Environment="ETCD_DISCOVERY_FALLBACK=proxy"
Environment="ETCD_DISCOVERY_SRV=s"
Environment="ETCD_DISCOVERY_PROXY=http://p"
Environment="ETCD_PEER_KEY_FILE=k"
Environment="ETCD_PEER_CLIENT_CERT_AUTH=true"
`)
	expect(t, "fleet", content(t, out, dir+"fleet.service.d/20-cloudinit.conf"), "[Service]\nEnvironment=\"FLEET_ENGINE_RECONCILE_INTERVAL=2\"\nEnvironment=\"FLEET_ETCD_REQUEST_TIMEOUT=1.5\"\n")
	expect(t, "files", len(out.Config.Storage.Files), 3)
	expect(t, "unmask", out.Unmask, builtIn)
}

func TestValuesInUnits(t *testing.T) {
	for in, want := range map[string]string{
		`a"b`: `a\"b`, `a\b`: `a\\b`, "%m": "%m", "%%": "%%", "100%": "100%%", "5%2": "5%%2", "http://x/%C3%A9": "http://x/%%C3%%A9", "it's #1": "it's #1",
	} {
		out := translated(t, head+"coreos: {fleet: {metadata: '"+strings.ReplaceAll(in, "'", "''")+"'}}\n", Options{})
		expect(t, in, content(t, out, "/run/systemd/system/fleet.service.d/20-cloudinit.conf"), "[Service]\nEnvironment=\"FLEET_METADATA="+want+"\"\n")
	}
	out := translated(t, head+"coreos: {fleet: {etcd_password: '%m'}}\n", Options{})
	expect(t, "password", content(t, out, "/run/systemd/system/fleet.service.d/20-cloudinit.conf"), "[Service]\nEnvironment=\"FLEET_ETCD_PASSWORD=%%m\"\n")
	if got := said(head+"coreos: {fleet: {metadata: \"a\\nb\"}}\n", Options{}); !strings.Contains(got, "coreos.fleet.metadata: a variable is one line") {
		t.Error(got)
	}
}

func TestFiles(t *testing.T) {
	out := translated(t, head+`hostname: a
manage-etc-hosts: localhost
coreos:
  oem: {id: x, name: A "b", version-id: 1.2, home-url: "http://h", bug-report-url: "http://b"}
  flannel: {interface: eth0, etcd-prefix: /p, public-ip: 192.0.2.1}
`, Options{})
	expect(t, "flannel", content(t, out, "/run/flannel/options.env"), "FLANNELD_ETCD_PREFIX=/p\nFLANNELD_IFACE=eth0\nFLANNELD_PUBLIC_IP=192.0.2.1")
	expect(t, "oem", content(t, out, "/etc/oem-release"), "ID=x\nVERSION_ID=1.2\nNAME=\"A \\\"b\\\"\"\nHOME_URL=\"http://h\"\nBUG_REPORT_URL=\"http://b\"\n")
	expect(t, "hosts", content(t, out, "/etc/hosts"), "127.0.0.1 a\n")
	expect(t, "hostname", content(t, out, "/etc/hostname"), "a\n")
	if got := said(head+"coreos: {oem: {name: x}}\n", Options{}); !strings.Contains(got, "f:2: error: coreos.oem has no id") {
		t.Error(got)
	}
	// The host's own name is known only there.
	out = translated(t, head+"manage_etc_hosts: localhost\n", Options{})
	if !out.EtcHosts || len(out.Config.Storage.Files) > 0 {
		t.Errorf("%+v", out)
	}
	// The last of a path wins, as it did.
	out = translated(t, head+"write_files: [{path: /a, content: x, permissions: 0600}, {path: /a, content: 'y'}]\n", Options{})
	if expect(t, "twice", content(t, out, "/a"), "y"); len(out.Config.Storage.Files) != 1 || *out.Config.Storage.Files[0].Mode != 0o644 {
		t.Errorf("%+v", out.Config.Storage.Files)
	}
}

func TestMerges(t *testing.T) {
	out := translated(t, head+"coreos: {update: {server: s, reboot_strategy: reboot, group: g}}\n", Options{Addresses: here})
	expect(t, "merges", fmt.Sprint(out.Merges),
		"[{/etc/coreos/update.conf /usr/share/coreos/update.conf [{GROUP g} {REBOOT_STRATEGY reboot} {SERVER s}]} {/etc/environment  [{COREOS_PRIVATE_IPV4 10.0.0.4} {COREOS_PUBLIC_IPV4 192.0.2.4}]}]")
	out = translated(t, head+"write_files: [{path: /etc/environment, content: A=b}]\n", Options{Addresses: here})
	expect(t, "environment written", len(out.Merges), 0)
	out = translated(t, "variant: fcos\nversion: 1.5.0\n", Options{Addresses: here})
	expect(t, "Butane", len(out.Merges), 0)
	if got := said(head+"coreos: {update: {group: 'a b'}}\n", Options{}); !strings.Contains(got, "coreos.update.group must be a word") {
		t.Error(got)
	}
}

func TestKeepUsers(t *testing.T) {
	out := translated(t, head+"users: [{name: a, passwd: '*'}]\nssh_authorized_keys: [ssh-rsa A]\n", Options{})
	expect(t, "cloud-config", out.KeepUsers, []string{"a", "core"})
	out = translated(t, "variant: fcos\nversion: 1.5.0\npasswd: {users: [{name: a}]}\n", Options{})
	expect(t, "Butane", out.KeepUsers, []string(nil))
}

func TestMetadata(t *testing.T) {
	md := Metadata{Hostname: "m", SSHKeys: []string{"ssh-rsa M", "ssh-rsa C"}}
	for name, tc := range map[string]struct {
		in, hostname string
		keys         []types.SSHAuthorizedKey
		keep         []string
	}{
		"hostname, keys":  {head + "hostname: u\nssh_authorized_keys: [ssh-rsa C]\n", "u", []types.SSHAuthorizedKey{"ssh-rsa C", "ssh-rsa M"}, []string{"core"}},
		"no user-data":    {"", "m", []types.SSHAuthorizedKey{"ssh-rsa M", "ssh-rsa C"}, []string{"core"}},
		"script":          {"#!/bin/sh\n", "m", []types.SSHAuthorizedKey{"ssh-rsa M", "ssh-rsa C"}, []string{"core"}},
		"Butane":          {"variant: fcos\nversion: 1.5.0\npasswd: {users: [{name: core, ssh_authorized_keys: [ssh-rsa B]}]}\n", "m", []types.SSHAuthorizedKey{"ssh-rsa B", "ssh-rsa M", "ssh-rsa C"}, nil},
		"name in Butane":  {"variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/hostname, contents: {inline: b}}]}\n", "", []types.SSHAuthorizedKey{"ssh-rsa M", "ssh-rsa C"}, []string{"core"}},
		"hosts' own name": {head + "manage_etc_hosts: localhost\n", "m", []types.SSHAuthorizedKey{"ssh-rsa M", "ssh-rsa C"}, []string{"core"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := translated(t, tc.in, Options{Metadata: md})
			expect(t, "hostname", out.Hostname, tc.hostname)
			expect(t, "keys", out.Config.Passwd.Users[0].SSHAuthorizedKeys, tc.keys)
			expect(t, "kept", out.KeepUsers, tc.keep)
			if strings.Contains(tc.in, "hosts") {
				expect(t, "hosts", content(t, out, "/etc/hosts"), "127.0.0.1 m\n")
			}
		})
	}
	out, ps := Translate([]byte("#!/bin/sh\n"), Options{Metadata: Metadata{Hostname: "a b\n", SSHKeys: []string{"ssh-rsa A\nssh-rsa B", " ", "ssh-rsa C\n"}}})
	if got := ps.InFile("f"); out.Hostname != "" || !strings.Contains(got, "metadata's host name") || !strings.Contains(got, "an SSH key of metadata") {
		t.Errorf("%q: %q", out.Hostname, got)
	}
	expect(t, "keys", out.Config.Passwd.Users[0].SSHAuthorizedKeys, []types.SSHAuthorizedKey{"ssh-rsa C"})
}
