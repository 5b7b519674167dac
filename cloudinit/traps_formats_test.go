package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

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
		"variant: fcos\nversion: 1.8.0-experimental\n": "f:2: error: experimental versions are not taken",
		"variant: openshift\nversion: 4.14.0\nmetadata: {name: w, labels: {machineconfiguration.openshift.io/role: w}}\nopenshift:\n  fips: true\n": "f:5: error: $.openshift.fips: only OpenShift's operator can do this",
		"variant: fcos\nversion: 9.0.0\n":                                                     "f:2: error: No translator exists for variant fcos with version 9.0.0 (Butane 0.29 has",
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
	expect(t, "commands", fmt.Sprint(out.Commands), "[{a.service start 11 false} {update-engine.service restart 11 true} {update-engine.service restart 16 true}]")
	expect(t, "merges", fmt.Sprint(out.Merges), "[{/etc/coreos/update.conf /usr/share/coreos/update.conf [{GROUP y} {SERVER s}]}]")
	if len(out.Scripts) != 2 || out.Scripts[0].Line != 6 || out.Scripts[1].Line != 22 {
		t.Errorf("%+v", out.Scripts)
	}
	const units = "Content-Type: text/cloud-config\n\nmanage_etc_hosts: localhost\nusers: [{name: a}]\ncoreos: {units: [{name: a.service, enable: true, runtime: true}, {name: a.network, runtime: true}]}\n"
	out = translated(t, multipart("", "Content-Type: text/cloud-config\n\nusers: [{name: a, gecos: A}]\n", units, units), Options{})
	expect(t, "users kept", out.KeepUsers, []string{"a"})
	expect(t, "enabled", out.EnableRuntime, []string{"a.service"})
	if !out.RestartNetworkd || !out.EtcHosts || len(out.Config.Passwd.Users) != 1 || *out.Config.Passwd.Users[0].Gecos != "A" {
		t.Errorf("%+v", out)
	}
	// A part that names the host names it for all of them.
	out = translated(t, multipart("", units, "Content-Type: text/cloud-config\n\nhostname: h\n"), Options{})
	if expect(t, "hosts", content(t, out, "/etc/hosts"), "127.0.0.1 h\n"); out.EtcHosts {
		t.Error("/etc/hosts has the host's old name")
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
