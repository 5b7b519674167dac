package apply

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/cloudinit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// host is a small root as a distribution has it.
var host = map[string]string{
	"/etc/passwd":  "root:x:0:0:root:/root:/bin/bash\netcd:x:232:232::/:/bin/false\ncore:x:1000:1000::/home/core:/bin/bash\n",
	"/etc/group":   "root:x:0:\nsudo:x:27:\ndocker:x:101:core\nusers:x:100:\nwheel:x:10:\nadm:x:4:\netcd:x:232:\ncore:x:1000:\n",
	"/etc/shadow":  "root:*:19000:0:99999:7:::\ncore:*:19000:0:99999:7:::\n",
	"/etc/gshadow": "root:*::\nsudo:*::\ndocker:!::core\nusers:*::\nwheel:*::\nadm:*::\ncore:!::\n",
	"/etc/subuid":  "core:100000:65536\n", "/etc/subgid": "core:100000:65536\n",
	"/etc/login.defs":               "# comment\nHOME_MODE\t0700\nUID_MIN 1000\n",
	"/etc/default/useradd":          "SHELL=/bin/bash\n",
	"/etc/skel/.profile":            "umask 022\n",
	"/etc/ssh/sshd_config":          "UseDNS no\n",
	"/etc/environment":              "LANG=C\nCOREOS_PRIVATE_IPV4=10.9.9.9\n",
	"/etc/hostname":                 "image\n",
	"/etc/systemd/system/":          "",
	"/home/core/.bashrc":            "# core's\n",
	"/usr/share/coreos/":            "",
	"/usr/lib/systemd/system/":      "",
	"/usr/share/coreos/update.conf": "# as shipped\nGROUP=stable\nSERVER=https://example.com\n",
	"/lib":                          "->usr/lib",
	"/run/systemd/system/":          "",
	"/var/lib/":                     "",
}

// hostUnits are units that the host has; all are pulled in by multi-user.target.
var hostUnits = []string{"etcd2", "fleet", "docker", "locksmithd", "flanneld", "sshd"}

func hostImage(t *testing.T) string {
	t.Helper()
	root := image(t, host)
	for _, name := range hostUnits {
		addTo(t, root, map[string]string{"/usr/lib/systemd/system/" + name + ".service": "[Service]\nExecStart=/usr/bin/" + name + "\n[Install]\nWantedBy=multi-user.target\n"})
	}
	return root
}

// Each cloud-config of package cloudinit's, on a running host: the golden file
// has what it changed and what systemd was told. A second time changes nothing.
func TestConfigs(t *testing.T) {
	inputs, _ := filepath.Glob("../testdata/configs/*.yaml")
	if len(inputs) < 40 {
		t.Fatalf("there are %d configs", len(inputs))
	}
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			result, problems := cloudinit.Translate(text, cloudinit.Options{Addresses: cloudinit.Addresses{
				"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4", "private_ipv6": "fd00::4", "public_ipv6": "2001:db8::4",
			}})
			if problems.Failed() {
				t.Fatal(problems.InFile(name))
			}
			root, systemd := hostImage(t), &manager{name: "image"}
			before := treeOf(t, root)
			a := applier(t, Options{Root: root, Manager: systemd, transport: internet{}})
			plan, err := a.Plan(t.Context(), result)
			if err != nil {
				t.Fatal(err)
			}
			if after := treeOf(t, root); changed(before, after) != "" {
				t.Errorf("planning changed\n%s", changed(before, after))
			}
			report, err := a.Apply(t.Context(), result)
			if err != nil {
				t.Fatal(err)
			}
			if len(plan) != len(report.Changes) {
				t.Errorf("planned were %v, done %v", plan, report.Changes)
			}
			got := changed(before, treeOf(t, root)) + "systemd was told:\n" + indented(strings.Join(systemd.told, "\n")+"\n") + "\n"
			golden(t, name, got)

			done := treeOf(t, root)
			again, err := a.Apply(t.Context(), result)
			if err != nil {
				t.Fatal(err)
			}
			if again.Changed() || changed(done, treeOf(t, root)) != "" {
				t.Errorf("a second time changed %v\n%s", again.Changes, changed(done, treeOf(t, root)))
			}
		})
	}
}

// internet answers any request with its URL, and where keys are with one.
type internet struct{}

func (internet) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/keys") {
		key := fmt.Sprintf("[{\"id\": 1, \"key\": \"ssh-ed25519 AAAA %s\"}]", r.URL)
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(key))}, nil
	}
	body := fmt.Sprintf("%s\nX-Host: %s\n", r.URL, r.Header.Get("X-Host"))
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata/configs", name+".tree")
	if *update {
		if os.Geteuid() != 0 {
			t.Fatal("the golden files have owners: update them as root")
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if w := withoutOwners(string(want)); w != withoutOwners(got) {
		t.Errorf("%s is not what it was; look, then run with -update:\n%s", file, unified(file, true, w, withoutOwners(got)))
	}
}

// The same configs in an image: nothing goes below /run, which the image hasn't;
// what needs a running host is refused.
func TestConfigsInAnImage(t *testing.T) {
	inputs, _ := filepath.Glob("../testdata/configs/*.yaml")
	for _, in := range inputs {
		name := strings.TrimSuffix(filepath.Base(in), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			result, problems := cloudinit.Translate(text, cloudinit.Options{Persistent: true, Addresses: cloudinit.Addresses{
				"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4", "private_ipv6": "fd00::4", "public_ipv6": "2001:db8::4",
			}})
			if problems.Failed() != (name == "hosts-only") { // the host's own name isn't known
				t.Fatal(problems.InFile(name))
			}
			root := hostImage(t)
			if err := os.RemoveAll(root + "/run"); err != nil {
				t.Fatal(err)
			}
			a := applier(t, Options{Root: root, transport: internet{}})
			if len(result.Commands)+len(result.Scripts) > 0 {
				before := treeOf(t, root)
				if _, err := a.Apply(t.Context(), result); err == nil || !strings.Contains(err.Error(), "nor done on an image") {
					t.Errorf("commands: %v", err)
				}
				if diff := changed(before, treeOf(t, root)); diff != "" {
					t.Errorf("refused, it changed\n%s", diff)
				}
				result.Commands, result.Scripts = nil, nil
			}
			if _, err := a.Apply(t.Context(), result); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(root + "/run"); err == nil {
				t.Error("it made /run")
			}
			if again, err := a.Apply(t.Context(), result); err != nil || again.Changed() {
				t.Errorf("a second time changed %v (%v)", again.Changes, err)
			}
		})
	}
}
