package cloudinit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func commands(out Result) string {
	var all []string
	for _, c := range out.Commands {
		all = append(all, c.Unit+" "+c.Verb)
	}
	return strings.Join(all, ", ")
}

func links(out Result) (all []string) {
	for _, l := range out.Config.Storage.Links {
		all = append(all, l.Path+" -> "+*l.Target)
	}
	return all
}

// A user's units come before the services' own: a drop-in of the same name is
// the service's, and update's commands are last.
func TestUserUnitsFirst(t *testing.T) {
	out := translated(t, head+`coreos:
  update: {reboot_strategy: reboot}
  fleet: {metadata: a=b}
  units:
    - {name: fleet.service, runtime: true, command: restart, drop_ins: [{name: 20-cloudinit.conf, content: "[Service]\n"}]}
    - {name: locksmithd.service, command: stop}
`, Options{})
	expect(t, "drop-in", content(t, out, "/run/systemd/system/fleet.service.d/20-cloudinit.conf"), "[Service]\nEnvironment=\"FLEET_METADATA=a=b\"\n")
	expect(t, "commands", commands(out), "fleet.service restart, locksmithd.service stop, locksmithd.service restart")
}

func TestMasks(t *testing.T) {
	const run = "/run/systemd/system/"
	without := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(builtIn), func(p string) bool { return p == run+name })
	}
	for name, tc := range map[string]struct {
		units         string
		links, unmask []string
		masked        bool // as Ignition's
	}{
		"for good":                  {"units: [{name: a.service, mask: true}]", nil, builtIn, true},
		"until the next boot":       {"units: [{name: a.service, mask: true, runtime: true}]", []string{run + "a.service -> /dev/null"}, builtIn, false},
		"lifted":                    {"units: [{name: a.service, runtime: true}]", nil, append([]string{run + "a.service"}, builtIn...), false},
		"not lifted":                {"units: [{name: a.service, command: start}]", nil, builtIn, false},
		"replaces what was written": {"units: [{name: a.service, runtime: true, content: \"[Unit]\\n\"}, {name: a.service, runtime: true, mask: true}]", []string{run + "a.service -> /dev/null"}, builtIn, false},
		"of a service that is on":   {"units: [{name: fleet.service, mask: true, runtime: true}], fleet: {metadata: a=b}", []string{run + "fleet.service -> /dev/null"}, without("fleet.service"), false},
		"by reboot_strategy":        {"update: {reboot_strategy: off}", []string{run + "locksmithd.service -> /dev/null"}, without("locksmithd.service"), false},
	} {
		t.Run(name, func(t *testing.T) {
			out := translated(t, head+"coreos: {"+tc.units+"}\n", Options{})
			expect(t, "links", links(out), tc.links)
			expect(t, "unmask", out.Unmask, tc.unmask)
			if units := out.Config.Systemd.Units; tc.masked != (len(units) == 1 && units[0].Mask != nil && *units[0].Mask && units[0].Contents == nil) {
				t.Errorf("%+v", units)
			}
			expect(t, "a file below the link", content(t, out, run+"a.service"), "")
		})
	}
}

func TestEnable(t *testing.T) {
	const text = `content: "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"`
	out := translated(t, head+"coreos: {units: [{name: a.service, enable: true}, {name: b.service, enable: true, runtime: true, "+text+"}]}\n", Options{})
	if units := out.Config.Systemd.Units; len(units) != 1 || units[0].Name != "a.service" || !*units[0].Enabled {
		t.Errorf("%+v", units)
	}
	expect(t, "until the next boot", out.EnableRuntime, []string{"b.service"})
	if content(t, out, "/run/systemd/system/b.service") == "" {
		t.Errorf("%+v", out.Config.Storage.Files)
	}
	expect(t, "commands", commands(out), "")
}

func TestNetworkUnits(t *testing.T) {
	const text = head + `coreos:
  units:
    - {name: a.network, enable: true, command: start, content: "[Match]\nName=a\n", drop_ins: [{name: b.conf, content: "[Network]\n"}]}
    - {name: c.link, runtime: true, content: "[Match]\n"}
    - {name: d.netdev, mask: true}
    - {name: e.service, command: start}
`
	out, ps := Translate([]byte(text), Options{})
	expect(t, "problems", ps.InFile("f"), "f:4: warning: coreos.units[0].command is not used: systemd-networkd is restarted for a.network\n")
	expect(t, "file", content(t, out, "/etc/systemd/network/a.network"), "[Match]\nName=a\n")
	expect(t, "drop-in", content(t, out, "/etc/systemd/network/a.network.d/b.conf"), "[Network]\n")
	expect(t, "runtime", content(t, out, "/run/systemd/network/c.link"), "[Match]\n")
	expect(t, "masked", links(out), []string{"/etc/systemd/network/d.netdev -> /dev/null"})
	expect(t, "commands", commands(out), "e.service start")
	if !out.RestartNetworkd || len(out.Config.Systemd.Units) > 0 || len(out.EnableRuntime) > 0 {
		t.Errorf("%+v", out)
	}
	if out := translated(t, head+"coreos: {units: [{name: e.service, command: start}]}\n", Options{}); out.RestartNetworkd {
		t.Error("networkd is restarted for no unit of its own")
	}
}

func TestCommands(t *testing.T) {
	for in, want := range map[string]string{
		"units: [{name: a.service, command: restart}, {name: b.service}, {name: a.service, command: start}]": "a.service restart, a.service start",
		"update: {reboot_strategy: etcd-lock}":     "locksmithd.service restart",
		"update: {reboot_strategy: off}":           "locksmithd.service stop",
		"update: {group: g}":                       "update-engine.service restart",
		"update: {server: s}":                      "update-engine.service restart",
		"update: {reboot-strategy: off, group: g}": "locksmithd.service stop, update-engine.service restart",
		"update: {}":                               "",
		"locksmith: {group: g}, etcd2: {name: a}":  "",
	} {
		expect(t, in, commands(translated(t, head+"coreos: {"+in+"}\n", Options{})), want)
	}
	if got := said(head+"coreos: {units: [{name: a.service, command: begin}]}\n", Options{}); !strings.Contains(got, `coreos.units[0].command: "begin" is none of start, stop, restart, reload, try-restart, reload-or-restart, reload-or-try-restart`) {
		t.Error(got)
	}
}

func TestDiscoveryURL(t *testing.T) {
	for url, want := range map[string]string{
		"http://192.0.2.1:8087/6c007a14875d53d9bf0ef5a6fc0257c8": "",
		"https://[2001:db8::1]/6c007a14875d53d9bf0ef5a6fc0257c8": "",
		"http://etcd:2379/v2/keys/_etcd/registry/mine":           "",
		"":                                     "",
		"https://discovery.etcd.io/<token>":    "is a placeholder",
		"https://discovery.etcd.io/TOKEN":      "is a placeholder",
		"<that URL>":                           "is a placeholder",
		"https://discovery.etcd.io/{token}":    "is a placeholder",
		"http://discovery/your-token":          "is a placeholder",
		"https://discovery.etcd.io":            "has no token",
		"https://discovery.etcd.io/":           "has no token",
		"https://discovery.etcd.io/new?size=3": "makes a new cluster each time it is asked",
		"discovery.etcd.io/0123":               "is no http or https URL",
		"ftp://discovery/0123":                 "is no http or https URL",
		"http://a b/0123":                      "is a placeholder",
		"http://%zz/0123":                      "is no http or https URL",
	} {
		for _, section := range []string{"etcd", "etcd2"} {
			got := said(head+"coreos:\n  "+section+":\n    discovery: '"+url+"'\n", Options{})
			told := strings.Contains(got, "f:4: error: coreos."+section+".discovery: ") && strings.Contains(got, "put in what curl 'http://DISCOVERY/new?size=3' prints")
			if told != (want != "") || !strings.Contains(got, want) {
				t.Errorf("%s: %s: %q", section, url, got)
			}
		}
	}
}

// What etcd would refuse is told before a host is made of it; first of all IPv6
// addresses, which look right as long as they are variables.
func TestEtcdURLs(t *testing.T) {
	for urls, want := range map[string]string{
		"http://$private_ipv4:2379,http://$private_ipv4:4001":     "",
		"http://[$private_ipv6]:2380, https://[$public_ipv6]:238": "",
		"http://${private_ipv4}:2379":                             "",
		"http://0.0.0.0:2379,http://[::]:4001":                    "",
		"http://%H:2379,http://%m.example.com:2379":               "",
		"unix:///run/etcd.sock":                                   "",
		"":                                                        "",
		"http://$private_ipv6:2380":                               "the IPv6 address needs brackets",
		"http://${public_ipv6}:2380":                              "the IPv6 address needs brackets",
		"http://10.0.0.4:2379,https://fd00::4":                    "the IPv6 address needs brackets",
		"$private_ipv4:2380":                                      "is none of etcd's URLs",
		"http://$private_ipv4":                                    "is none of etcd's URLs",
		"http://$private_ipv4:2380/":                              "is none of etcd's URLs",
		"http://$private_ipv4:2379,":                              "is none of etcd's URLs",
		"http://$private_ipv4:2379 http://$private_ipv4:4001":     "is none of etcd's URLs",
	} {
		for _, key := range []string{"advertise-client-urls", "initial_advertise_peer_urls", "listen-client-urls", "listen_peer_urls"} {
			text := head + "coreos:\n  etcd2:\n    " + key + ": '" + urls + "'\n"
			for name, opts := range map[string]Options{"check": {Check: true}, "image": {Persistent: true}, "host": {Addresses: everywhere}} {
				got := said(text, opts)
				if told := strings.HasPrefix(got, "f:4: error: coreos.etcd2."+strings.ReplaceAll(key, "-", "_")+": "); told != (want != "") || !strings.Contains(got, want) {
					t.Errorf("%s: %s: %s: %q", name, key, urls, got)
				}
			}
		}
	}
}

func TestPaths(t *testing.T) {
	long := "/" + strings.Repeat("a/", 5000) + "b"
	for p, want := range map[string]string{
		"/etc/a": "", "/usr/lib/a": "warning: write_files[0].path: /usr/lib/a: /usr is read-only on Flatcar", "/procedure": "", long: "is longer than 4095 bytes",
		"a": "is not absolute", "../a": "is not absolute", "/a/../b": "is no plain path", "/../etc/passwd": "is no plain path", "/a//b": "is no plain path", "/a/": "is no plain path",
		"/": "is no plain path", "/./a": "is no plain path", "/proc/sys/kernel/core_pattern": "/proc is the kernel's", "/sys/power/state": "/sys is the kernel's",
		"/dev/sda": "/dev is the kernel's", "/proc": "/proc is the kernel's", `/a\nb`: "has control characters", `/a\0`: "has control characters",
	} {
		got := said(head+"write_files:\n  - path: \""+p+"\"\n", Options{})
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.Contains(got, "f:3: ") {
			t.Errorf("%.40s: %q, want %q", p, got, want)
		}
		if strings.ContainsAny(p, `\`) || want == "" || strings.Contains(want, "warning") {
			continue
		}
		for _, kind := range []string{"files: [{path: %q}]", "directories: [{path: %q}]", "links: [{path: %q, target: x}]"} {
			got := said("variant: fcos\nversion: 1.5.0\nstorage:\n  "+fmt.Sprintf(kind, p)+"\n", Options{})
			if !strings.Contains(got, "f:4: error") {
				t.Errorf("Butane, %s: %q", p, got)
			}
		}
	}
	if got := said(head+"write_files: [{path: /run/a}]\n", Options{Persistent: true}); !strings.Contains(got, "/run is made anew at each boot") {
		t.Error(got)
	}
	for in, want := range map[string]string{
		"path: /a, encoding: b64, content: '*'":             "content is not b64",
		"path: /a, encoding: gzip, content: x":              "content is not gzip",
		"path: /a, encoding: rot13":                         `"rot13" is none of b64`,
		"path: /a, permissions: 0999":                       "is no octal mode",
		"path: /a, permissions: rw":                         "is no octal mode",
		"path: /a, owner: 'a b'":                            "is not USER or USER:GROUP",
		"path: /a, owner: 'a:b:c'":                          "is not USER or USER:GROUP",
		"content: x":                                        "write_files[0] has no path",
		"path: /a, source: {uri: 'file:///b'}":              "is no http or https URL",
		"path: /a, content: x, source: {uri: 'http://b'}":   "beside which its content is not used",
		"path: /a, content: !!binary '*'":                   "is no base64, which !!binary needs",
		"path: /a, source: {uri: 'http://b', headers: [x]}": "headers must be keys and values",
		"path: /a, content: x}, {path: /a/b, content: x":    `"/a" is a file and "/a/b", below it, too`,
	} {
		if got := said(head+"write_files: [{"+in+"}]\n", Options{}); !strings.Contains(got, " error: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// Unit files are read with our own parser, on the config's own lines.
func TestUnitsInside(t *testing.T) {
	const butane = "variant: fcos\nversion: 1.5.0\nsystemd:\n  units:\n    - name: a.service\n      contents: |\n        [Service]\n        ExecStart=/bin/true\n"
	for name, tc := range map[string]struct{ in, want string }{
		"block":            {head + "coreos:\n  units:\n  - name: a.service\n    content: |\n      [Service]\n      rubbish\n", "f:7: error: coreos.units[0].content: "},
		"one line":         {head + "coreos:\n  units:\n  - name: a.service\n    content: \"[Service]\\nrubbish\\n\"\n", "f:5: error: coreos.units[0].content: "},
		"drop-in":          {head + "coreos:\n  units:\n  - name: a.service\n    drop-ins:\n      - name: a.conf\n        content: |\n          rubbish\n", "f:8: error: coreos.units[0].drop_ins[0].content: "},
		"Butane":           {butane + "        rubbish\n", "f:6: error"},
		"Butane's drop-in": {butane + "      dropins:\n        - name: x.conf\n          contents: |\n            [Service]\n            A=b\n            [Unclosed\n", "f:"},
		"Ignition":         {"{\"ignition\":{\"version\":\"3.4.0\"},\"systemd\":{\"units\":[\n{\"name\":\"a.service\",\"contents\":\"A=b\\n\"}]}}", "f:2: error"},
		"unit name":        {head + "coreos: {units: [{name: ../a.service}]}\n", "f:2: error: coreos.units[0].name"},
		"no name":          {head + "coreos: {units: [{enable: true}]}\n", "coreos.units[0] has no name"},
		"drop-in's name":   {head + "coreos: {units: [{name: a.service, drop_ins: [{name: ../x.conf, content: \"[Unit]\"}]}]}\n", "no drop-in's name"},
		"drop-in's text":   {head + "coreos: {units: [{name: a.service, drop_ins: [{name: x.conf}]}]}\n", "has no content: nothing would be written"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := said(tc.in, Options{}); !strings.Contains(got, " error: ") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// On an image nothing goes below /run, and nothing is commanded for what only a
// running host has.
func TestPersistent(t *testing.T) {
	for name, text := range configs(t) {
		out, ps := Translate(text, Options{Addresses: everywhere, Persistent: true})
		if ps.Failed() != (name == "hosts-only") {
			t.Error(ps.InFile(name))
		}
		for _, p := range paths(out.Config) {
			if strings.HasPrefix(p, "/run/") {
				t.Errorf("%s: %s", name, p)
			}
		}
		if len(out.EnableRuntime) > 0 || out.EtcHosts {
			t.Errorf("%s: %+v", name, out)
		}
		for _, m := range out.Merges {
			if m.Path == "/etc/environment" {
				t.Errorf("%s: %+v", name, m)
			}
		}
	}
	if got := said(head+"manage_etc_hosts: localhost\n", Options{Persistent: true}); got != "f:1: error: manage_etc_hosts needs hostname in the same config: the host's own name isn't known yet\n" {
		t.Error(got)
	}
	out := translated(t, head+"coreos: {etcd2: {name: a}, flannel: {interface: eth0}, update: {reboot_strategy: off}}\n", Options{Persistent: true})
	var units []string
	for _, u := range out.Config.Systemd.Units {
		text := ""
		for _, d := range u.Dropins {
			text += d.Name + "=" + *d.Contents
		}
		units = append(units, fmt.Sprint(u.Name, u.Mask != nil, text))
	}
	expect(t, "units", units, []string{
		"flanneld.servicefalse20-cloudinit.conf=[Service]\nEnvironment=\"FLANNELD_IFACE=eth0\"\n",
		"etcd2.servicefalse20-cloudinit.conf=[Service]\nEnvironment=\"ETCD_NAME=a\"\n", "locksmithd.servicetrue",
	})
	expect(t, "unmask", out.Unmask, []string{"/etc/systemd/system/etcd2.service"})
	expect(t, "commands", commands(out), "")
}

func jsonOf(t *testing.T, out Result) string {
	t.Helper()
	text, err := out.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUnsayable(t *testing.T) {
	out := translated(t, head+"coreos:\n  units:\n    - name: a.service\n      command: start\n    - {name: b.service, command: restart}\n  etcd2: {name: a}\n", Options{Persistent: true})
	got := out.Unsayable().InFile("f")
	for _, want := range []string{
		"f:5: error: a.service's command start cannot be said in Ignition, nor done on an image: write enable: true instead, or put the config into the image as /var/lib/coreos-install/user_data",
		"f:6: error: b.service's command restart cannot be said in Ignition, nor done on an image: put the config",
		"f:1: warning: Ignition cannot lift a mask: the image must not have /etc/systemd/system/etcd2.service empty or a link to /dev/null",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	out = translated(t, multipart("", "\n#!/bin/sh\n"), Options{Persistent: true})
	if got := out.Unsayable().InFile("f"); !strings.Contains(got, "f:6: error: a script cannot be said in Ignition") {
		t.Error(got)
	}
	out = translated(t, head+"users: [{name: eve, coreos_ssh_import_github: eve}]\n", Options{Persistent: true})
	if got := out.Unsayable().InFile("f"); !strings.Contains(got, "keys to be fetched cannot be said") || len(out.Orders()) > 0 {
		t.Errorf("%s, and orders: %v", got, out.Orders())
	}
	// What is merged into files is appended.
	out = translated(t, head+"write_files: [{path: /etc/coreos/update.conf, content: \"A=b\\n\"}]\ncoreos: {update: {group: g}}\n", Options{Persistent: true})
	again := translated(t, jsonOf(t, out), Options{})
	file := again.Config.Storage.Files[0]
	if file.Path != "/etc/coreos/update.conf" || len(file.Append) != 1 || len(out.Config.Storage.Files[0].Append) != 0 {
		t.Errorf("%+v", file)
	}
	data, err := Inline(file.Append[0])
	expect(t, "appended", string(data), "GROUP=g\n")
	if err != nil {
		t.Error(err)
	}
}
