package apply

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/cloudinit"
)

// ran applies to a running host and gives what its systemd was told.
func ran(t *testing.T, root string, systemd *manager, in cloudinit.Result, opts Options) (Report, []string, error) {
	t.Helper()
	systemd.told = nil
	opts.Root, opts.Manager = root, systemd
	report, err := applier(t, opts).Apply(t.Context(), in)
	return report, systemd.told, err
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s, systemd was told %q, not %q", what, got, want)
	}
}

const oneUnit = `"systemd": {"units": [
	{"name": "a.service", "enabled": true, "contents": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlso=a.socket\n"},
	{"name": "a.socket", "contents": "[Install]\nWantedBy=sockets.target\n"}]}`

func TestOrdersToTheHost(t *testing.T) {
	root, systemd := hostImage(t), &manager{name: "image"}
	in := ignition(t, oneUnit)
	_, told, err := ran(t, root, systemd, in, Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "of a cloud-config", told, "daemon-reload")
	_, told, _ = ran(t, root, systemd, in, Options{})
	expect(t, "a second time", told)

	_, told, _ = ran(t, hostImage(t), systemd, in, Options{StartEnabled: true})
	expect(t, "of an Ignition config", told, "daemon-reload", "start a.socket", "start a.service")
	report, told, _ := ran(t, hostImage(t), systemd, in, Options{StartEnabled: true, CommandsLater: true})
	expect(t, "with commands for later", told, "daemon-reload")
	if want := []cloudinit.Command{{Unit: "a.socket", Verb: "start"}, {Unit: "a.service", Verb: "start"}}; !slices.Equal(report.Later, want) {
		t.Errorf("later is %v, not %v", report.Later, want)
	}

	in = cloudinit.Result{Hostname: "new", RestartNetworkd: true, Commands: []cloudinit.Command{{Unit: "b.service", Verb: "restart"}, {Unit: "a.service", Verb: "start"}},
		Scripts: []cloudinit.Script{{Text: "#!/bin/sh\necho hello\n", Line: 1}}, EtcHosts: true}
	root = hostImage(t)
	report, told, err = ran(t, root, systemd, in, Options{})
	if err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
	script := told[len(told)-1]
	expect(t, "with commands", told, "hostname new", "restart b.service", "start a.service", script)
	if got := treeOf(t, root)["/etc/hosts"]; !strings.Contains(got, "127.0.0.1 image\n") && !strings.HasSuffix(got, "127.0.0.1 image") {
		t.Errorf("/etc/hosts is %s", got)
	}
	_, told, _ = ran(t, root, systemd, in, Options{})
	expect(t, "with commands, again", told, "restart b.service", "start a.service", script)
	file := script[strings.LastIndex(script, " ")+1:]
	if got := treeOf(t, root)[file]; !strings.HasPrefix(got, "0744") || !strings.Contains(got, "echo hello") {
		t.Errorf("the script %s is %s", file, got)
	}
}

func TestNetworkdIsRestartedOnceAndIfItsFilesChanged(t *testing.T) {
	root, systemd := hostImage(t), &manager{name: "image"}
	in := ignition(t, `"storage": {"files": [{"path": "/run/systemd/network/a.network"}, {"path": "/etc/systemd/network/b.network"}]}`)
	in.RestartNetworkd = true
	_, told, _ := ran(t, root, systemd, in, Options{})
	expect(t, "at first", told, "restart systemd-networkd.service")
	_, told, _ = ran(t, root, systemd, in, Options{})
	expect(t, "a second time", told)
}

// A name that an Ignition config writes is taken, too.
func TestHostnameOfAFile(t *testing.T) {
	systemd := &manager{name: "image"}
	in := ignition(t, `"storage": {"files": [{"path": "/etc/hostname", "overwrite": true, "contents": {"source": "data:,%23%20mine%0Aweb1%0A"}}]}`)
	_, told, _ := ran(t, hostImage(t), systemd, in, Options{})
	expect(t, "of a file", told, "hostname web1")
}

// A command that fails is told in the end, the others run; an error ends it.
func TestCommandsThatFail(t *testing.T) {
	in := cloudinit.Result{Commands: []cloudinit.Command{{Unit: "a.service", Verb: "start"}, {Unit: "b.service", Verb: "reload"}}, Scripts: []cloudinit.Script{{Text: "#!x", Line: 1}}}
	systemd := &manager{name: "image", results: map[string]string{"start a.service": "failed", "run": "failed"}}
	report, told, err := ran(t, hostImage(t), systemd, in, Options{})
	if err != nil || len(told) != 3 {
		t.Fatal(told, err)
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "start a.service: failed: look at `journalctl -u a.service`") || !strings.Contains(err.Error(), "run fleet-cloudinit-script-") {
		t.Errorf("it says %v", err)
	}
	systemd.refusals = map[string]bool{"start a.service": true}
	if _, told, err = ran(t, hostImage(t), systemd, in, Options{}); err == nil || len(told) != 1 || !strings.Contains(err.Error(), "start a.service: there is no a.service") {
		t.Errorf("refused, it went on: %v %v", told, err)
	}
	if !strings.HasSuffix(err.Error(), "\nso this was not done: reload b.service, the script of line 1") {
		t.Errorf("what it kept from being done: %v", err)
	}
	in.Commands[0].Implied = true
	report, told, err = ran(t, hostImage(t), systemd, in, Options{})
	if err != nil || len(told) != 3 || report.Commands[0].Result != "skipped" || !report.Commands[0].OK {
		t.Errorf("what update brings along is asked of a host without it: %v %v %v", told, report.Commands, err)
	}
}

// What systemd wasn't told by a run that was cut off, the next one tells.
func TestWhatWasNotTold(t *testing.T) {
	root, cut := hostImage(t), errors.New("cut off")
	in := ignition(t, oneUnit)
	systemd := &manager{name: "image", onReload: func() { panic(cut) }}
	func() {
		defer func() {
			if r := recover(); r != cut {
				t.Fatalf("it ended with %v", r)
			}
		}()
		_, _, _ = ran(t, root, systemd, in, Options{StartEnabled: true})
	}()
	systemd.onReload = nil
	report, told, err := ran(t, root, systemd, in, Options{StartEnabled: true})
	if err != nil || !report.Changed() {
		t.Fatal(report, err)
	}
	expect(t, "after it was cut off", told, "daemon-reload", "start a.socket", "start a.service")
	_, told, _ = ran(t, root, systemd, in, Options{StartEnabled: true})
	expect(t, "then", told)
}

// An image takes no orders.
func TestOrdersToAnImage(t *testing.T) {
	in := cloudinit.Result{Commands: []cloudinit.Command{{Unit: "a.service", Verb: "start", Line: 7}}, Scripts: []cloudinit.Script{{Text: "#!x", Line: 9}}, EtcHosts: true}
	_, err := applier(t, Options{Root: hostImage(t)}).Plan(t.Context(), in)
	for _, want := range []string{"line 7: a.service's command start", "user_data", "line 9: a script", "manage_etc_hosts"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing of %v", want, err)
		}
	}
}

func TestMerges(t *testing.T) {
	root := hostImage(t)
	addTo(t, root, map[string]string{"/etc/linked": "->/usr/share/target", "/usr/share/target": "A=1\nB=2"})
	in := cloudinit.Result{Merges: []cloudinit.Merge{
		{Path: "/etc/linked", Set: []cloudinit.Setting{{Key: "A", Value: "x"}, {Key: "C", Value: "3"}}},
		{Path: "/etc/new", Base: "/usr/share/coreos/update.conf", Set: []cloudinit.Setting{{Key: "GROUP", Value: "beta"}}},
	}}
	before := treeOf(t, root)
	if _, err := applier(t, Options{Root: root}).Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	want := "/etc/new 0644 0:0 file\n\t# as shipped\n\tGROUP=beta\n\tSERVER=https://example.com\n/usr/share/target 0644 0:0 file\n\tA=x\n\tB=2\n\tC=3\n"
	if got := changed(before, treeOf(t, root)); got != withoutOwners(want) {
		t.Errorf("it became\n%s", got)
	}
}

// What only some may read isn't shown, and what a plan shows is a diff.
func TestDiff(t *testing.T) {
	root := image(t, with(map[string]string{"/etc/motd": "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "/etc/secret": "old\n", "/etc/binary": "\x00\n"}))
	if err := os.Chmod(filepath.Join(root, "etc/secret"), 0o640); err != nil {
		t.Fatal(err)
	}
	in := ignition(t, `"storage": {"files": [
		{"path": "/etc/motd", "overwrite": true, "contents": {"source": "data:,1%0A2%0Atwo%0A3%0A4%0A5%0A6%0A7%0A8%0A9%0A10%0A11"}},
		{"path": "/etc/secret", "overwrite": true, "contents": {"source": "data:,new%0A"}},
		{"path": "/etc/secret2", "mode": 384, "contents": {"source": "data:,hidden"}},
		{"path": "/etc/binary", "overwrite": true, "contents": {"source": "data:,%01"}}]}`)
	plan, err := applier(t, Options{Root: root}).Plan(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range plan {
		got.WriteString(c.String() + "\n" + c.Diff)
	}
	want := `change /etc/motd (0644 0:0)
--- /etc/motd
+++ /etc/motd
@@ -1,5 +1,6 @@
 1
 2
+two
 3
 4
 5
@@ -8,5 +9,4 @@
 8
 9
 10
-11
-12
+11
\ No newline at end of file
change /etc/secret (0644 0:0, not 0640 0:0, content differs)
create /etc/secret2 (0600 0:0, content differs)
change /etc/binary (0644 0:0, 1 bytes)
`
	if got.String() != want {
		t.Errorf("it shows\n%s", got.String())
	}
}
