package cloudinit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
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
//	etcd's own URLs                       TestEtcdURLs
//	/usr, /proc and paths upwards         TestPaths
//	unit files inside                     TestUnitsInside
//	images                                TestPersistent
//	what Ignition cannot say              TestUnsayable

// builtIn are the units that a cloud-config is about whatever it says.
var builtIn = []string{
	"/run/systemd/system/etcd.service", "/run/systemd/system/etcd2.service", "/run/systemd/system/fleet.service", "/run/systemd/system/locksmithd.service",
}

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
			data, err := Inline(f.Contents)
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

// What is empty is as good as not there, as templates leave it.
func TestEmptyValuesAreNone(t *testing.T) {
	needed := map[string]bool{"write_files[].path": true, "coreos.units[].name": true, "users[].name": true, "coreos.units[].drop_ins[].name": true, "coreos.oem.id": true}
	for path, keys := range knownKeys() {
		for _, key := range keys {
			full := strings.TrimPrefix(path+"."+key, ".")
			if needed[full] || refused(path, key) {
				continue
			}
			for _, value := range []string{`""`, "~", ""} {
				got := said(at(path, key, value), Options{})
				if told := "error: " + strings.ReplaceAll(full, "[]", "[0]"); strings.Contains(got, told+":") || strings.Contains(got, told+" ") {
					t.Errorf("%s: %s: %s", full, value, got)
				}
			}
		}
	}
	expect(t, "mode", *translated(t, head+"write_files: [{path: /a, permissions: ''}]\n", Options{}).Config.Storage.Files[0].Mode, 0o644)
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
		"coreos: {etcd2: {peer-bind-addr: x}}":             "coreos.etcd2.peer_bind_addr was etcd 0.4's: write listen_peer_urls: http://ADDRESS:2380",
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
		"coreos: {units: [{name: etcd.service, command: start}]}":                  "etcd.service is not of fleet, which brings etcd2.service",
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
}

func TestUsersOfCloudInit(t *testing.T) {
	for in, want := range map[string]string{
		"users: [{name: a, sudo: true}]":                                       `"true" is no rule`,
		"users: [{name: a, sudo: \"A=B\\nroot ALL=\"}]":                        "a rule is one line",
		"users: ['a b']":                                                       "must be a user's name",
		"users: [{name: a, groups: 'x,,y'}]":                                   "must be a group's name",
		"users: [{name: a, uid: -1}]":                                          "must be a whole number",
		"users: [{name: a, passwd: 'x y'}]":                                    "must be a hash: write what openssl passwd -6 prints\n",
		"users: [{name: a, gecos: 'x:y'}]":                                     "must be one line without colons",
		"users: [{name: a, homedir: x}]":                                       "must be a path",
		"users: [{name: a, ssh_authorized_keys: [x]}]":                         "is no SSH key",
		"users: [{name: a, ssh_authorized_keys: [\"ssh-rsa A\\nssh-rsa B\"]}]": "a key is one line",
		"users: [{passwd: x}]":                                                 "users[0] has no name",
		"users: [{name: a}, {name: a}]":                                        "as Ignition",
		"groups: [{a: [b]}]":                                                   "members are not said of a group here",
		"groups: {a: b}":                                                       "members are not said of a group here",
		"hostname: a\nfqdn: b.c":                                               "hostname and fqdn differ",
		"users: [{name: a, coreos_ssh_import_github: a/b}]":                    "must be a GitHub user's name",
		"users: [{name: a, coreos_ssh_import_github_users: [a, b c]}]":         "users[0].coreos_ssh_import_github_users[1] must be",
		"users: [{name: a, coreos-ssh-import-url: 'ftp://a/b'}]":               "must be a URL",
		"hostname: -a":                                                         "must be a host's name",
		"fqdn: a b":                                                            "must be a host's name",
	} {
		if got := said(head+in+"\n", Options{}); !strings.Contains(got, " error: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// What may be a password is in no message.
func TestPasswordsAreNotTold(t *testing.T) {
	for _, in := range []string{
		"users: [{name: a, passwd: geheim}]", "users: [{name: a, passwd: [geheim]}]", "users: [{name: a, plain_text_passwd: geheim}]", "password: geheim",
		"chpasswd: {list: [a:geheim]}", "coreos: {etcd2: {etcd_password: geheim}}", "coreos: {fleet: {etcd_password: [geheim]}}", "coreos: {fleet: {etcd_password: \"geheim\\n\"}}",
		"write_files: [{path: /a, encoding: b64, content: geheim}]",
	} {
		if got := said(head+in+"\n", Options{}); !strings.Contains(got, "error") || strings.Contains(got, "geheim") {
			t.Errorf("%s: %q", in, got)
		}
	}
}
