package cloudinit

import (
	"slices"
	"strings"
	"testing"
)

var here = Addresses{"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4"}

func TestProblems(t *testing.T) {
	const c = "#cloud-config\n"
	for name, tc := range map[string]struct{ in, want string }{
		"unknown key":         {c + "a-b: 1\n", "f:2: error: a_b: there is no such key"},
		"unknown below":       {c + "coreos:\n  etcd2:\n    nodename: x\n", "f:4: error: coreos.etcd2.nodename"},
		"wrong type":          {c + "users: x\n", `f:2: error: users must be a list, and is "x"`},
		"list for text":       {c + "hostname: [x]\n", "f:2: error: hostname must be text, and is a list"},
		"no number":           {c + "coreos: {etcd2: {max_wals: x}}\n", "coreos.etcd2.max_wals must be a whole number"},
		"both spellings":      {c + "write-files: []\nwrite_files: []\n", "f:3: error: write_files is given twice, first in line 2"},
		"no address":          {c + "coreos:\n  fleet:\n    public_ip: $private_ipv6\n", "f:4: error: coreos.fleet.public_ip uses $private_ipv6"},
		"script, no address":  {"#!/bin/sh\necho\necho $public_ipv6\n", "f:3: error: the script uses $public_ipv6"},
		"path upwards":        {c + "write_files: [{path: /a/../b}]\n", "write_files[0].path"},
		"relative path":       {c + "write_files: [{path: b}]\n", "is not absolute"},
		"bad base64":          {c + "write_files: [{path: /b, encoding: b64, content: '*'}]\n", "is not b64"},
		"bad mode":            {c + "write_files: [{path: /b, permissions: 0999}]\n", "is no octal mode"},
		"bad command":         {c + "coreos: {units: [{name: a.service, command: begin}]}\n", `"begin" is none of start`},
		"unit name":           {c + "coreos: {units: [{name: ../a.service}]}\n", "coreos.units[0].name"},
		"drop-in name":        {c + "coreos: {units: [{name: a.service, drop_ins: [{name: ../x.conf}]}]}\n", "no drop-in's name"},
		"unit inside":         {c + "coreos:\n  units:\n  - name: a.service\n    content: |\n      [Service]\n      rubbish\n", "f:7: error: coreos.units[0].content"},
		"bad YAML":            {c + "a: b\n c: [\n", "f:3: error"},
		"NUL":                 {c + "a: \x00\n", "error"},
		"break in a variable": {c + "coreos: {etcd2: {name: \"a\\nb\"}}\n", "a variable is one line"},
		"trailing comment":    {"#cloud-config please\n", "must be #cloud-config and nothing else"},
		"empty":               {"", "f:1: error: the config is empty"},
		"user twice":          {c + "users: [{name: a}, {name: a}]\n", "as Ignition"},
		"old Ignition":        {`{"ignition":{"version":"2.3.0"}}`, "f:1: error"},
		"unknown in Butane":   {"variant: fcos\nversion: 1.5.0\nstroage: {}\n", "f:3: error"},
		"unit in Butane":      {"variant: fcos\nversion: 1.5.0\nsystemd: {units: [{name: a.service, contents: \"rubbish\"}]}\n", "error"},
		"part":                {"Content-Type: multipart/mixed; boundary=X\n\n--X\nContent-Type: text/cloud-config\n\n#cloud-config\nq: 1\n--X--\n", "f:7: error: q"},
		"cut off":             {"Content-Type: multipart/mixed; boundary=X\n\n--X\n\n#!/bin/sh\n", "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ps := Translate([]byte(tc.in), Options{Addresses: here})
			if got := ps.InFile("f"); !ps.Failed() || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// The last of a path wins, a unit is said once, and off masks what locksmith unmasked.
func TestWhatIsSaidTwice(t *testing.T) {
	out, ps := Translate([]byte(`#cloud-config
write_files: [{path: /a, content: x}, {path: /a, content: "y"}]
coreos:
  locksmith: {group: g}
  update: {reboot_strategy: off}
  units: [{name: locksmithd.service, drop_ins: [{name: a.conf, content: "[Service]"}]}]
`), Options{})
	if len(ps) > 0 {
		t.Fatal(ps.InFile("f"))
	}
	files, units := out.Config.Storage.Files, out.Config.Systemd.Units
	if files[0].Path != "/a" || *files[0].Contents.Source != "data:;base64,eQ==" || files[1].Path == "/a" {
		t.Errorf("files: %+v", files)
	}
	const mask = "/run/systemd/system/locksmithd.service"
	if links := out.Config.Storage.Links; len(links) != 1 || links[0].Path != mask || slices.Contains(out.Unmask, mask) {
		t.Errorf("links: %+v, unmask %q", links, out.Unmask)
	}
	if len(units) != 1 || len(units[0].Dropins) != 1 {
		t.Errorf("units: %+v", units)
	}
}

func TestSubstitute(t *testing.T) {
	for in, want := range map[string]string{
		"$private_ipv4$private_ipv4": "10.0.0.410.0.0.4",
		`\$private_ipv4`:             "$private_ipv4",
		"$private_ipv4_x":            "10.0.0.4_x",
		"${private_ipv4}":            "${private_ipv4}",
	} {
		if got, missing := here.substitute(in); got != want || missing != nil {
			t.Errorf("%s: %q, %q", in, got, missing)
		}
	}
}

func TestAliasesAreBounded(t *testing.T) {
	in := "#cloud-config\nx: &a [" + strings.Repeat("{name: a.conf},", 600) + "]\ncoreos: {units: [" +
		strings.Repeat("{name: a.service, drop_ins: *a},", 600) + "]}\n"
	if _, ps := Translate([]byte(in), Options{}); !strings.Contains(ps.InFile("f"), "aliases counted") {
		t.Error("read to its end")
	}
}
