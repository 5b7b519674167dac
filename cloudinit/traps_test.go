package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_6/types"
)

// The traps that coreos-cloudinit, Flatcar's and cloud-init set, and where a
// test is in front of each:
//
//	keys with hyphens and underscores     TestConfigsHaveEveryKey
//	wrong types ignored in silence        TestWrongTypesAreTold
//	unknown keys ignored in silence       TestUnknownKeysAreTold, TestMisspellings
//	cloud-init's keys                     TestCloudInitsKeysAreRefusedByName
//	keys in the wrong place, obsolete     TestMisspellings, TestWarnings
//	the first line                        TestFirstLine
//	gzip, Ignition, multipart, scripts    TestWrappings, TestParts
//	substitution                          TestSubstitution
//	an address that isn't known           TestMissingAddress
//	zero values, no fields, the order     TestRenderedDropIn
//	quotes and percent signs              TestValuesInUnits
//	flannel's file and its end            TestFiles
//	oem-release, hosts, hostname          TestFiles
//	update.conf and environment merged    TestMerges
//	who writes /etc/environment           TestMerges
//	users that exist                      TestKeepUsers
//	metadata                              TestMetadata
//	a user's units first                  TestUserUnitsFirst
//	masks, and those that are lifted      TestMasks
//	enable and runtime                    TestEnable
//	network units                         TestNetworkUnits
//	commands and those of update          TestCommands
//	discovery URLs, etcd2's too           TestDiscoveryURL
//	/usr, /proc and paths upwards         TestPaths
//	unit files inside                     TestUnitsInside
//	images                                TestPersistent
//	what Ignition cannot say              TestUnsayable

const head = "#cloud-config\n"

func translated(t *testing.T, text string, opts Options) Result {
	t.Helper()
	out, ps := Translate([]byte(text), opts)
	if ps.Failed() {
		t.Fatal(ps.InFile("f"))
	}
	return out
}

// said is what is told of a text, in one line each.
func said(text string, opts Options) string {
	_, ps := Translate([]byte(text), opts)
	return ps.InFile("f")
}

// content is a file's, "" if there is none.
func content(t *testing.T, out Result, path string) string {
	t.Helper()
	for _, f := range out.Config.Storage.Files {
		if f.Path == path {
			data, err := inline(f.Contents)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
	return ""
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// at writes a value where a key is: "a.b[]" of k is {a: {b: [{k: value}]}}.
func at(path, key, value string) string {
	for _, parent := range slices.Backward(strings.Split(path+"."+key, ".")) {
		if parent == "" {
			continue
		}
		if name, list := strings.CutSuffix(parent, "[]"); list {
			value = "{" + name + ": [" + value + "]}"
		} else {
			value = "{" + parent + ": " + value + "}"
		}
	}
	return head + value + "\n"
}

// Each key refuses what isn't of its type, and says where.
func TestWrongTypesAreTold(t *testing.T) {
	n := 0
	for path, keys := range knownKeys() {
		for _, key := range keys {
			full := strings.TrimPrefix(strings.ReplaceAll(path, "[]", "[0]")+"."+key, ".")
			// Each takes one or two of the three kinds of value.
			told := 0
			for _, wrong := range []string{"[[[]]]", "{a: {b: c}}", `"\x01"`} {
				if got := said(at(path, key, wrong), Options{}); strings.Contains(got, "f:2: error: "+full) {
					told++
				}
			}
			if told < 1 {
				t.Errorf("%s takes whatever it is given", full)
			}
			n++
		}
	}
	if n < 200 {
		t.Errorf("only %d keys", n)
	}
	for in, want := range map[string]string{
		"users: x":                       `users must be a list, and is "x"`,
		"hostname: [x]":                  "hostname must be text, and is a list",
		"coreos: []":                     "coreos must be keys and values, and is a list",
		"[x]":                            "the cloud-config must be keys and values, and is a list",
		"coreos: {etcd2: {max_wals: x}}": `coreos.etcd2.max_wals must be a whole number, and is "x"`,
		"coreos: {etcd2: {debug: 1}}":    `coreos.etcd2.debug must be true or false, and is "1"`,
		"coreos: {fleet: {etcd_request_timeout: x}}": `coreos.fleet.etcd_request_timeout must be a number, and is "x"`,
		"coreos: {units: [{enable: maybe}]}":         `coreos.units[0].enable must be true or false, and is "maybe"`,
	} {
		if got := said(head+in+"\n", Options{}); !strings.Contains(got, "f:2: error: "+want) {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func TestUnknownKeysAreTold(t *testing.T) {
	for path := range knownKeys() {
		got := said(at(path, "nobody-knows-this", "1"), Options{})
		if !strings.Contains(got, "f:2: error: ") || !strings.Contains(got, "nobody_knows_this: there is no such key") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestMisspellings(t *testing.T) {
	for in, want := range map[string]string{
		"hostnam: x":                                       "hostnam: there is no such key: did you mean hostname?",
		"coreos: {etcd2: {discovry: x}}":                   "coreos.etcd2.discovry: there is no such key: did you mean discovery?",
		"coreos: {units: [{drop-in: []}]}":                 "coreos.units[0].drop_in: there is no such key: did you mean drop_ins?",
		"coreos: {write_files: []}":                        "coreos.write_files: there is no such key here: it belongs at the top",
		"units: []":                                        "units: there is no such key here: it belongs below coreos",
		"etcd2: {}":                                        "etcd2: there is no such key here: it belongs below coreos",
		"coreos: {reboot_strategy: off}":                   "coreos.reboot_strategy: there is no such key here: it belongs below coreos.update",
		"coreos: {etcd2: {peer_bind_addr: x}}":             "it belongs below coreos.etcd",
		"users: [{permissions: 0600}]":                     "it belongs below write_files[]",
		"write_files: [{path: /a, contents: a}]":           "did you mean content?",
		"Hostname: x":                                      "Hostname: there is no such key: did you mean hostname?",
		"? [a]\n: b":                                       "must be text, and is a list",
		"write-files: []\nwrite_files: []":                 "f:3: error: write_files is given twice, first in line 2",
		"coreos: {update: {reboot_strategy: x}}":           `"x" is none of etcd-lock, reboot, off`,
		"manage_etc_hosts: true":                           "there are no templates here",
		"manage_etc_hosts: elsewhere":                      `"elsewhere" is none of localhost`,
		"coreos: {update: {reboot-strategy: best-effort}}": "best-effort is no longer taken",
	} {
		if got := said(head+in+"\n", Options{}); !strings.Contains(got, " error: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for in, want := range map[string]string{
		"coreos: {etcd: {name: a}}":                                                "coreos.etcd is for etcd 0.4",
		"coreos: {etcd2: {ca_file: /a}}":                                           "coreos.etcd2.ca_file is obsolete: write trusted_ca_file",
		"coreos: {etcd2: {peer_ca_file: /a}}":                                      "coreos.etcd2.peer_ca_file is obsolete",
		"coreos: {units: [{name: a.service}]}":                                     "coreos.units[0] says nothing of a.service",
		"coreos: {units: [{name: a.service, mask: true, content: \"[Unit]\\n\"}]}": "its content is not written",
		"users: [default]":                                                         "default, the image's own user, is left as it is",
		"":                                                                         "the cloud-config is empty",
	} {
		got := said(head+in+"\n", Options{})
		if !strings.Contains(got, " warning: ") || strings.Contains(got, " error: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestCloudInitsKeysAreRefusedByName(t *testing.T) {
	if len(notTaken) < 60 {
		t.Fatalf("only %d", len(notTaken))
	}
	for _, key := range slices.Sorted(maps.Keys(notTaken)) {
		want := "f:2: error: " + key + " is cloud-init's and not done here: " + notTaken[key]
		if got := said(head+strings.ReplaceAll(key, "_", "-")+": [x]\n", Options{}); !strings.Contains(got, want) {
			t.Errorf("%q", got)
		}
	}
	for _, key := range []string{"plain_text_passwd", "inactive", "expiredate", "selinux_user", "ssh_import_id", "ssh_redirect_user", "doas", "snapuser"} {
		if got := said(head+"users: [{name: a, "+key+": x}]\n", Options{}); !strings.Contains(got, "f:2: error: users[0]."+key+" is cloud-init's and not done here: ") {
			t.Errorf("%q", got)
		}
	}
	for _, key := range []string{"coreos_ssh_import_github", "coreos-ssh-import-github-users", "coreos_ssh_import_url"} {
		if got := said(head+"users: [{name: a, "+key+": x}]\n", Options{}); !strings.Contains(got, "keys are not fetched from elsewhere: write them into ssh_authorized_keys") {
			t.Errorf("%q", got)
		}
	}
}

func TestUsersOfCloudInit(t *testing.T) {
	for in, want := range map[string]string{
		"users: [{name: a, sudo: true}]":                                       `"true" is no rule`,
		"users: [{name: a, sudo: \"A=B\\nroot ALL=\"}]":                        "a rule is one line",
		"users: ['a b']":                                                       "must be a user's name",
		"users: [{name: a, groups: 'x,,y'}]":                                   "must be a group's name",
		"users: [{name: a, uid: -1}]":                                          "must be a whole number",
		"users: [{name: a, passwd: 'x y'}]":                                    "must be a hash, which openssl passwd -6 makes",
		"users: [{name: a, gecos: 'x:y'}]":                                     "must be one line without colons",
		"users: [{name: a, homedir: x}]":                                       "must be a path",
		"users: [{name: a, ssh_authorized_keys: [x]}]":                         "is no SSH key",
		"users: [{name: a, ssh_authorized_keys: [\"ssh-rsa A\\nssh-rsa B\"]}]": "a key is one line",
		"users: [{passwd: x}]":                                                 "users[0] has no name",
		"users: [{name: a}, {name: a}]":                                        "as Ignition",
		"groups: [{a: [b]}]":                                                   "members are not said of a group here",
		"groups: {a: b}":                                                       "members are not said of a group here",
		"hostname: a\nfqdn: b.c":                                               "hostname and fqdn differ",
		"hostname: -a":                                                         "must be a host's name",
		"fqdn: a b":                                                            "must be a host's name",
	} {
		if got := said(head+in+"\n", Options{}); !strings.Contains(got, " error: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestFirstLine(t *testing.T) {
	for in, want := range map[string]string{
		"#cloud-config \t\r\nhostname: a\n":        "",
		"#cloud-config\r\nhostname: a\r\n":         "",
		"\xef\xbb\xbf#cloud-config\nhostname: a\n": "",
		"#!":                                  "",
		"#cloud-config please\n":              "f:1: error: the first line must be #cloud-config and nothing else",
		"\n#cloud-config\n":                   "f:2: error: #cloud-config must be the first line",
		"# mine\n\n#!/bin/sh\n":               "f:3: error: #!/bin/sh must be the first line",
		"coreos:\n  etcd2: {}\n":              "if it is a cloud-config, its first line, #cloud-config, is",
		"storage: {}\n":                       "if this is Butane, its variant: and version: are missing",
		"hello\n":                             "f:1: error: the format is not known",
		"":                                    "f:1: error: the config is empty",
		" \n":                                 "f:1: error: the config is empty",
		"## template: jinja\n#cloud-config\n": "templates are not filled in",
		"#include\nhttp://x/\n":               "nothing is included from elsewhere",
		"#include-once\nhttp://x/\n":          "nothing is included from elsewhere",
		"#cloud-boothook\n#!/bin/sh\n":        "boothooks are not run",
		"#cloud-config-archive\n- {}\n":       "archives are not read",
		"#cloud-config-jsonp\n[]\n":           "JSON patches are not read",
		"#part-handler\n":                     "part handlers are not run",
		"#upstart-job\n":                      "upstart jobs are not read",
		"\xff\xfe#\x00c\x00":                  "f:1: error: this is UTF-16: save it as UTF-8",
		`{"ignition":{"version":"2.3.0"}}`:    "Ignition 3.0 to 3.6 is taken",
		`{"ignitionVersion":1}`:               "Ignition 3.0 to 3.6 is taken",
		"variant: fcos\nversion: 9.0.0\n":     "f:2: error: No translator exists for variant fcos with version 9.0.0 (Butane 0.29 has",
		"variant: fcos\nversion: 1.5.0\nstroage: {}":                                          "f:3: error",
		"variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /a, contents: {local: x}}]}": "local files are not read here",
	} {
		if got := said(in, Options{}); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
	}
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

func TestWrappings(t *testing.T) {
	const unit = "systemd: {units: [{name: a.service, contents: \"[Service]\\nExecStart=/bin/true\\n\"}]}\n"
	for name, in := range map[string]string{
		"gzip":               zipped(head + "coreos: {units: [{name: a.service, enable: true}]}\n"),
		"fcos":               "variant: fcos\nversion: 1.5.0\n" + unit,
		"flatcar":            "variant: flatcar\nversion: 1.1.0\n" + unit,
		"Ignition":           `{"ignition":{"version":"3.0.0"},"systemd":{"units":[{"name":"a.service","mask":true}]}}`,
		"Ignition, gzip":     zipped(`{"ignition":{"version":"3.4.0"},"systemd":{"units":[{"name":"a.service","mask":true}]}}`),
		"gzip within base64": multipart("", "Content-Transfer-Encoding: base64\n\n"+base64.StdEncoding.EncodeToString([]byte(zipped(head+"coreos: {units: [{name: a.service, enable: true}]}\n")))+"\n"),
	} {
		t.Run(name, func(t *testing.T) {
			if out := translated(t, in, Options{}); len(out.Config.Systemd.Units) != 1 {
				t.Errorf("%+v", out)
			}
		})
	}
	// The shebang is ignored, and substitution is as in a cloud-config.
	out := translated(t, "#!/usr/bin/python3\n$private_ipv4\n", Options{Addresses: everywhere})
	if len(out.Scripts) != 1 || out.Scripts[0] != (Script{"#!/usr/bin/python3\n10.0.0.4\n", 1}) || ScriptMode != 0o744 || ScriptShell != "/bin/bash" {
		t.Errorf("%+v", out.Scripts)
	}
	if got := said("#!/bin/sh\r\ntrue\r\n", Options{}); !strings.Contains(got, "f:1: error: the script's lines end in CR LF") {
		t.Error(got)
	}
}

func multipart(header string, parts ...string) string {
	text := "Content-Type: multipart/mixed; boundary=\"X\"\nMIME-Version: 1.0\n" + header + "\n"
	for _, p := range parts {
		text += "--X\n" + p
	}
	return text + "--X--\n"
}

func TestParts(t *testing.T) {
	out := translated(t, multipart("",
		"\n#!/bin/sh\n",
		"Content-Type: text/cloud-config\n\nhostname: a\ncoreos: {units: [{name: a.service, command: start}], update: {group: x}}\n",
		"Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\n"+base64.StdEncoding.EncodeToString([]byte("hostname: b\ncoreos: {update: {group: y, server: s}}\n"))+"\n",
		"Content-Type: multipart/mixed; boundary=Y\n\n--Y\n\n#!/bin/bash\n--Y--\n",
		"Content-Transfer-Encoding: quoted-printable\n\n#cloud-config\nwrite_files: [{path: /a, content:=20x}]\n",
	), Options{})
	expect(t, "hostname", out.Hostname, "b")
	expect(t, "its file", content(t, out, "/etc/hostname"), "b\n")
	expect(t, "file", content(t, out, "/a"), "x")
	expect(t, "commands", fmt.Sprint(out.Commands), "[{a.service start 11} {update-engine.service restart 11} {update-engine.service restart 16}]")
	expect(t, "merges", fmt.Sprint(out.Merges), "[{/etc/coreos/update.conf /usr/share/coreos/update.conf [{GROUP y} {SERVER s}]}]")
	if len(out.Scripts) != 2 || out.Scripts[0].Line != 6 || out.Scripts[1].Line != 22 {
		t.Errorf("%+v", out.Scripts)
	}
	for name, tc := range map[string]struct{ in, want string }{
		"a line":      {multipart("", "\n#!/bin/sh\n", "\n#cloud-config\nq: 1\n"), "f:10: error: q: there is no such key"},
		"encoded":     {multipart("", "Content-Transfer-Encoding: base64\n\n"+base64.StdEncoding.EncodeToString([]byte(head+"q: 1\n"))+"\n"), "f:7: error: in line 2 of this part, unpacked: q: there"},
		"cut off":     {"Content-Type: multipart/mixed; boundary=X\n\n--X\n\n#!/bin/sh\n", "the last boundary, --X--, is missing"},
		"alternative": {"Content-Type: multipart/alternative; boundary=X\n\n--X--\n", "only multipart/mixed is known"},
		"no boundary": {"Content-Type: multipart/mixed\n\n", "there is no boundary"},
		"encoding":    {multipart("", "\n#!x\n", "Content-Transfer-Encoding: rot13\n\nx\n"), "f:8: error: a part: Content-Transfer-Encoding: rot13 is not known"},
		"bad base64":  {multipart("", "Content-Transfer-Encoding: base64\n\n*\n"), "f:5: error: a part: "},
		"no script":   {multipart("", "Content-Type: text/x-shellscript\n\necho\n"), "it is said to be a script"},
		"include":     {multipart("", "Content-Type: text/x-include-url\n\nhttp://x\n"), "text/x-include-url is not taken: #include: nothing is included"},
		"boothook":    {multipart("", "Content-Type: text/cloud-boothook\n\n#!/bin/sh\n"), "text/cloud-boothook is not taken"},
		"per boot":    {multipart("", "Content-Type: text/x-shellscript-per-boot\n\n#!/bin/sh\n"), "text/x-shellscript-per-boot is not known"},
		"no kind":     {multipart("", "Content-Type: text/plain\n\nhello\n"), "the format is not known"},
		"nested":      {strings.Repeat("Content-Type: multipart/mixed; boundary=X\n\n--X\n", 9), "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := said(tc.in, Options{}); !strings.Contains(got, " error: ") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

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
	out := translated(t, head+"users: [{name: a, passwd: x}]\nssh_authorized_keys: [ssh-rsa A]\n", Options{})
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
}
