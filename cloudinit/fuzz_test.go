package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	v3 "github.com/coreos/ignition/v2/config/v3_6"
)

// mustHold is what is true of any text's translation.
func mustHold(t *testing.T, in []byte) (Result, Problems) {
	t.Helper()
	result, ps := Translate(in, Options{Addresses: everywhere})
	if again, _ := Translate(in, Options{Addresses: everywhere}); !reflect.DeepEqual(again, result) {
		t.Fatalf("translated twice, it differs:\n%+v\n%+v", result, again)
	}
	lines := 1
	for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // as YAML has it
		lines += bytes.Count(in, []byte(end))
	}
	for _, p := range ps {
		// Compressed, a text has lines of its own; a parser may mean the end.
		if p.Line < 1 || p.Line > lines+1 && !bytes.HasPrefix(in, []byte("\x1f\x8b")) || p.Msg == "" {
			t.Errorf("of %d lines: %+v", lines, p)
		}
	}
	if ps.Failed() {
		return Result{}, ps
	}
	for _, opts := range []Options{{Addresses: everywhere}, {Addresses: everywhere, Persistent: true}} {
		out, ps := Translate(in, opts)
		if ps.Failed() {
			if !opts.Persistent {
				t.Fatal(ps.InFile("f"))
			}
			continue
		}
		text, err := out.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, said, err := v3.Parse(text); err != nil || said.IsFatal() {
			t.Errorf("Ignition does not take what was made: %v %s\n%s", err, said.String(), text)
		}
	}
	return result, ps
}

func FuzzCloudConfig(f *testing.F) {
	for _, text := range configs(f) {
		f.Add(text)
	}
	for _, seed := range []string{
		"hostname: x", "- &a [*a]", "a: &a {<<: *a}", "users: [{name: a, groups: 'b, c'}, default]", "write_files: [{path: /a/../b}]",
		"coreos: {units: [{name: a.network, content: \"[Match]\\nName=a\\n\", runtime: true}]}", "ssh_authorized_keys: [a b]\nusers: [{name: core}]",
	} {
		f.Add([]byte("#cloud-config\n" + seed + "\n"))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !bytes.HasPrefix(in, []byte("#cloud-config\n")) {
			in = append([]byte("#cloud-config\n"), in...)
		}
		mustHold(t, in)
	})
}

func FuzzButane(f *testing.F) {
	for _, variant := range []string{"fcos\nversion: 1.5.0", "flatcar\nversion: 1.1.0", "openshift\nversion: 4.14.0\nmetadata: {name: x, labels: {machineconfiguration.openshift.io/role: worker}}", "r4e\nversion: 1.1.0", "fiot\nversion: 1.0.0", "fcos\nversion: 1.0.0"} {
		for _, body := range []string{
			"", "systemd: {units: [{name: a.service, enabled: true, contents: \"[Service]\\nExecStart=/bin/true\\n\", dropins: [{name: a.conf, contents: \"[Unit]\\n\"}]}]}",
			"storage: {files: [{path: /a, mode: 0600, contents: {inline: x}}], links: [{path: /b, target: /c}], directories: [{path: /d}]}",
			"passwd: {users: [{name: core, ssh_authorized_keys: [x y]}], groups: [{name: g}]}",
		} {
			f.Add([]byte("variant: " + variant + "\n" + body + "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !bytes.HasPrefix(in, []byte("variant:")) {
			in = append([]byte("variant: fcos\nversion: 1.5.0\n"), in...)
		}
		mustHold(t, in)
	})
}

func FuzzIgnition(f *testing.F) {
	for _, text := range configs(f) {
		out, ps := Translate(text, Options{Addresses: everywhere, Persistent: true})
		if ps.Failed() {
			continue
		}
		if text, err := out.JSON(); err == nil {
			f.Add(text)
		}
	}
	f.Add([]byte(`{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/a/../b"}]}}`))
	f.Add([]byte(`{"ignition":{"version":"3.1.0"},"storage":{"disks":[{"device":"/dev/vda","wipeTable":true}]}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if !bytes.HasPrefix(bytes.TrimSpace(in), []byte("{")) {
			return
		}
		result, ps := mustHold(t, in)
		if ps.Failed() {
			return
		}
		text, err := result.JSON()
		if err != nil {
			t.Fatal(err)
		}
		again, ps := Translate(text, Options{Addresses: everywhere})
		if ps.Failed() || jsonOf(t, again) != string(text) {
			t.Errorf("%sit was\n%s\nand is\n%+v", ps.InFile("f"), text, again)
		}
	})
}

func FuzzMultipart(f *testing.F) {
	const head = "Content-Type: multipart/mixed; boundary=\"X\"\nMIME-Version: 1.0\n\n"
	config := "#cloud-config\nhostname: x\n"
	for _, body := range []string{
		"--X\n\n" + config + "--X--\n",
		"--X\nContent-Type: text/cloud-config\n\nhostname: y\n--X\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--X--\n",
		"--X\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(config)) + "\n--X--\n",
		"--X\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config\nhostname:=20z\n--X--\n",
		"--X\nContent-Type: multipart/mixed; boundary=Y\n\n--Y\n\n" + config + "--Y--\n--X--\n", "--X\r\n\r\n#!/bin/sh\r\n--X--\r\n", "--X\n",
	} {
		f.Add([]byte(head + body))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !bytes.HasPrefix(in, []byte("Content-Type:")) {
			in = append([]byte(head), in...)
		}
		mustHold(t, in)
	})
}

// FuzzConfig is for how the kinds are told apart, and for what wraps them.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"", "#!x", "{}", "#cloud-config", "\x1f\x8b", "\xef\xbb\xbf#cloud-config\n", "#include\nhttp://x\n", "## template: jinja\n#cloud-config\n", "\xff\xfe#\x00", "variant: fcos"} {
		f.Add([]byte(seed))
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("#cloud-config\nhostname: x\n"))
	z.Close()
	f.Add(packed.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		result, ps := mustHold(t, in)
		if !ps.Failed() && strings.HasPrefix(string(in), "#!") && len(result.Scripts) != 1 {
			t.Errorf("%q: %d scripts", in, len(result.Scripts))
		}
	})
}
