package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCloudinit(t *testing.T) {
	t.Setenv("COREOS_PRIVATE_IPV4", "10.0.0.4")
	for name, tc := range map[string]struct{ config, flag, out, err, fails string }{
		"valid":        {"hostname: x", "--validate", "", "", ""},
		"not valid":    {"hostnam: x", "--validate", "", ":2: error: hostnam", "can't be used"},
		"without IP":   {"coreos: {fleet: {public_ip: $public_ipv6}}", "--validate", "", "", ""},
		"to Ignition":  {"coreos: {fleet: {public_ip: $private_ipv4}}", "--to=ignition", `"name": "20-cloudinit.conf"`, "cannot lift a mask: the image must not have /etc/systemd/system/fleet.service", ""},
		"unsayable":    {"coreos: {units: [{name: a.service, command: start}]}", "--to=ignition", "", ":2: error: a.service's command start", "can't be said in Ignition"},
		"neither":      {"", "--validate=false", "", "", "give either"},
		"other format": {"", "--to=toml", "", "", "there is ignition only"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "user-data")
			if err := os.WriteFile(file, []byte("#cloud-config\n"+tc.config+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, stderr bytes.Buffer
			root := rootCommand()
			root.SetOut(&out)
			root.SetErr(&stderr)
			root.SetArgs([]string{"cloudinit", tc.flag, "--from-file", file})
			err := root.Execute()
			if (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("ended with %v", err)
			}
			if !strings.Contains(out.String(), tc.out) || !strings.Contains(stderr.String(), tc.err) {
				t.Errorf("out %q, err %q", out.String(), stderr.String())
			}
		})
	}
}
