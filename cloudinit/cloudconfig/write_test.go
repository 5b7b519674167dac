package cloudconfig

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/fleet-project/fleet/cloudinit"
	"github.com/vincent-petithory/dataurl"
)

var everywhere = cloudinit.Addresses{
	"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4", "private_ipv6": "fd00::4", "public_ipv6": "2001:db8::4",
}

// configs are the cloud-configs that have every key, by name.
func configs(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	inputs, _ := filepath.Glob("../testdata/configs/*.yaml")
	for _, in := range inputs {
		text, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(in)] = text
	}
	if len(all) < 40 {
		t.Fatalf("there are %d configs", len(all))
	}
	return all
}

// same is a result without what doesn't matter: the order of files of different
// paths and of masks to lift, and the lines.
func same(out cloudinit.Result) cloudinit.Result {
	out.Config.Storage.Files = slices.Clone(out.Config.Storage.Files)
	slices.SortFunc(out.Config.Storage.Files, func(a, b types.File) int { return strings.Compare(a.Path, b.Path) })
	out.Config.Storage.Links = slices.Clone(out.Config.Storage.Links)
	slices.SortFunc(out.Config.Storage.Links, func(a, b types.Link) int { return strings.Compare(a.Path, b.Path) })
	out.Config.Systemd.Units = slices.Clone(out.Config.Systemd.Units)
	slices.SortFunc(out.Config.Systemd.Units, func(a, b types.Unit) int { return strings.Compare(a.Name, b.Name) })
	out.Unmask = slices.Sorted(slices.Values(out.Unmask))
	out.EnableRuntime = slices.Sorted(slices.Values(out.EnableRuntime))
	out.Merges = slices.Clone(out.Merges)
	slices.SortFunc(out.Merges, func(a, b cloudinit.Merge) int { return strings.Compare(a.Path, b.Path) })
	out.KeyImports = slices.Clone(out.KeyImports)
	for i := range out.KeyImports {
		out.KeyImports[i].Line = 0
	}
	out.Commands = slices.Clone(out.Commands)
	for i := range out.Commands {
		out.Commands[i].Line = 0
	}
	return out
}

// What is written as a cloud-config is, read again, the same.
func TestCloudConfigRoundTrip(t *testing.T) {
	for name, text := range configs(t) {
		t.Run(name, func(t *testing.T) {
			first, ps := cloudinit.Translate(text, cloudinit.Options{Addresses: everywhere})
			if ps.Failed() {
				t.Fatal(ps.InFile(name))
			}
			written, ps := Write(first, text)
			if len(ps) > 0 {
				t.Fatal(ps.InFile(name))
			}
			again, ps := cloudinit.Translate(written, cloudinit.Options{Addresses: everywhere})
			if ps.Failed() {
				t.Fatalf("%s\n%s", ps.InFile(name), written)
			}
			if !reflect.DeepEqual(same(first), same(again)) {
				t.Errorf("it was\n%+v\nand is\n%+v\nby\n%s", same(first), same(again), written)
			}
		})
	}
}

const butaneHead = "variant: fcos\nversion: 1.5.0\n"

// Butane that cloud-config can say: its Ignition config is the same but for
// what is set whether it is said or not.
func TestButaneToCloudConfig(t *testing.T) {
	in := butaneHead + `passwd:
  users:
    - {name: core, ssh_authorized_keys: [ssh-ed25519 AAAA me], groups: [docker], uid: 1000}
  groups: [{name: docker}]
storage:
  files:
    - {path: /etc/a, overwrite: true, mode: 0600, contents: {inline: "a $private_ipv4\n"}, user: {id: 5}, group: {name: adm}}
    - {path: /etc/b, append: [{inline: "more\n"}]}
    - {path: /opt/c, overwrite: true, mode: 0755, contents: {source: "https://files.example.com/c", http_headers: [{name: X, value: "1"}]}}
systemd:
  units:
    - {name: a.service, enabled: true, contents: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}
    - {name: b.service, mask: true}
    - {name: etcd2.service, dropins: [{name: 20-x.conf, contents: "[Service]\nEnvironment=\"ETCD_NAME=%m\"\n"}]}
`
	first, ps := cloudinit.Translate([]byte(in), cloudinit.Options{})
	if ps.Failed() {
		t.Fatal(ps.InFile("in"))
	}
	text, ps := Write(first, []byte(in))
	if want := "in:5: warning: in cloud-config, a user core that exists gets only the password and the keys\n"; ps.InFile("in") != want {
		t.Errorf("problems %q", ps.InFile("in"))
	}
	again, ps := cloudinit.Translate(text, cloudinit.Options{})
	if ps.Failed() {
		t.Fatalf("%s\n%s", ps.InFile("out"), text)
	}
	want, got := jsonOf(t, plainly(first)), jsonOf(t, plainly(again))
	if want != got {
		t.Errorf("it was\n%s\nand is\n%s\nby\n%s", want, got, text)
	}
}

// plainly has all contents as data URLs of one kind.
func plainly(out cloudinit.Result) cloudinit.Result {
	out = same(out)
	for i := range out.Config.Storage.Files {
		f := &out.Config.Storage.Files[i]
		f.Append = slices.Clone(f.Append)
		for _, res := range append([]*types.Resource{&f.Contents}, pointers(f.Append)...) {
			if res.Source != nil && strings.HasPrefix(*res.Source, "data:") {
				data, _ := cloudinit.Inline(*res)
				url := dataurl.EncodeBytes(data)
				*res = types.Resource{Source: &url}
			}
		}
	}
	return out
}

func pointers(all []types.Resource) (p []*types.Resource) {
	for i := range all {
		p = append(p, &all[i])
	}
	return p
}

func jsonOf(t *testing.T, out cloudinit.Result) string {
	t.Helper()
	text, err := out.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatCloudConfigCannotSay(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"directory":       {butaneHead + "storage:\n  directories:\n    - path: /var/x\n", "f:5: error: cloud-config has no words for directories with modes and owners: /var/x"},
		"link":            {butaneHead + "storage: {links: [{path: /etc/x, target: y}]}\n", "links: /etc/x"},
		"disk":            {butaneHead + "storage: {disks: [{device: /dev/vda, wipe_table: true}]}\n", "disks and partitions: /dev/vda"},
		"filesystem":      {butaneHead + "storage: {filesystems: [{device: /dev/vda1, format: ext4, path: /var/x}]}\n", "filesystems: /dev/vda1"},
		"RAID":            {butaneHead + "storage: {raid: [{name: md0, level: raid1, devices: [/dev/a, /dev/b]}]}\n", "RAID: md0"},
		"LUKS":            {butaneHead + "storage: {luks: [{name: x, device: /dev/vda, key_file: {inline: x}}]}\n", "encrypted volumes: x"},
		"kernel argument": {butaneHead + "kernel_arguments: {should_exist: [quiet]}\n", "kernel arguments: quiet"},
		"merge":           {butaneHead + "ignition: {config: {merge: [{source: \"https://x/y\"}]}}\n", "another config to merge or put in place: https://x/y"},
		"replace":         {butaneHead + "ignition: {config: {replace: {source: \"https://x/y\"}}}\n", "https://x/y"},
		"proxy":           {butaneHead + "ignition: {proxy: {http_proxy: \"http://x\"}}\n", "ignition.proxy"},
		"timeouts":        {butaneHead + "ignition: {timeouts: {http_total: 5}}\n", "f:3: error: cloud-config has no words for ignition.timeouts"},
		"authorities":     {butaneHead + "ignition: {security: {tls: {certificate_authorities: [{source: \"https://x\"}]}}}\n", "ignition.security"},
		"user removed":    {butaneHead + "passwd: {users: [{name: x, should_exist: false}]}\n", "removing a user: x"},
		"group's ID":      {butaneHead + "passwd: {groups: [{name: x, gid: 5}]}\n", "a group's ID"},
		"checksum":        {butaneHead + "storage: {files: [{path: /a, contents: {source: \"https://x\", verification: {hash: sha256-" + strings.Repeat("0", 64) + "}}}]}\n", "a checksum of contents: /a"},
		"compressed":      {butaneHead + "storage: {files: [{path: /a, contents: {source: \"https://x\", compression: gzip}}]}\n", "compressed contents that are fetched: /a"},
		"only a mode":     {butaneHead + "storage: {files: [{path: /a, mode: 0600}]}\n", "only has its mode or owner set: /a"},
		"two headers":     {`{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/a","contents":{"source":"https://x","httpHeaders":[{"name":"b"}]}}]}}`, "a header b"},
		"disabled":        {butaneHead + "systemd: {units: [{name: a.service, enabled: false}]}\n", "a unit that is disabled: a.service"},
		"unmasked":        {butaneHead + "systemd: {units: [{name: a.service, mask: false}]}\n", "lifting the mask of a.service"},
		"empty drop-in":   {butaneHead + "systemd: {units: [{name: a.service, dropins: [{name: a.conf}]}]}\n", "an empty drop-in: a.conf of a.service"},
		"strange user":    {butaneHead + "passwd: {users: [{name: \"a b\"}]}\n", "as cloud-config: users[0].name must be a user's name"},
		"script":          {"#!/bin/sh\n", "f:1: error: cloud-config has no words for a script"},
	} {
		t.Run(name, func(t *testing.T) {
			out, ps := cloudinit.Translate([]byte(tc.in), cloudinit.Options{})
			if ps.Failed() {
				t.Fatal(ps.InFile("f"))
			}
			text, ps := Write(out, []byte(tc.in))
			if !ps.Failed() || text != nil || !strings.Contains(ps.InFile("f"), tc.want) {
				t.Errorf("got %q, want %q", ps.InFile("f"), tc.want)
			}
		})
	}
}

// Whatever is read is written, and the same when it is read again: nothing is
// lost.
func FuzzWrite(f *testing.F) {
	for _, text := range configs(f) {
		f.Add(text)
	}
	for _, seed := range []string{
		"users: [{name: a, groups: 'b, c', gecos: 'null'}, default]", "ssh_authorized_keys: [a b]\nusers: [{name: core}]",
		"coreos: {units: [{name: a.network, content: \"[Match]\\nName=a\\n\", runtime: true}]}", "write_files: [{path: /a, content: \" \\n\\u2028\"}]",
	} {
		f.Add([]byte("#cloud-config\n" + seed + "\n"))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !bytes.HasPrefix(in, []byte("#cloud-config\n")) {
			in = append([]byte("#cloud-config\n"), in...)
		}
		first, ps := cloudinit.Translate(in, cloudinit.Options{Addresses: everywhere})
		if ps.Failed() {
			return
		}
		text, ps := Write(first, in)
		if len(ps) > 0 {
			t.Fatalf("%s%+v", ps.InFile("f"), first)
		}
		again, ps := cloudinit.Translate(text, cloudinit.Options{Addresses: everywhere})
		if ps.Failed() || !reflect.DeepEqual(same(again), same(first)) {
			t.Errorf("%sit was\n%+v\nand is\n%+v\nby\n%s", ps.InFile("f"), same(first), same(again), text)
		}
	})
}
