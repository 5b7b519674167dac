package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// guest is a VMware machine with one of VMware's tools, which knows variables
// by files.
func guest(t *testing.T, tool string, vars map[string]string) *Host {
	t.Helper()
	files := map[string]string{"sys/class/dmi/id/product_name": "VMware7,1\n", "vars/": ""}
	for key, value := range vars {
		files["vars/guestinfo."+key] = value
	}
	h := fast()
	h.Root = tree(t, files)
	arg := map[string]string{"vmware-rpctool": "$1", "vmtoolsd": "$2"}[tool]
	script := "#!/bin/sh\nset -- " + `"` + arg + `"` + "\nf=" + h.Root + "/vars/${1#info-get }\n" +
		`[ "$1" != "info-get guestinfo.hostname" ] || [ ! -e ` + h.Root + "/vars/guestinfo.broken ] || { echo 'no RPC channel' >&2; exit 2; }\n" +
		`[ -e "$f" ] && { while IFS= read -r l || [ -n "$l" ]; do echo "$l"; done < "$f"; exit 0; }` + "\necho 'No value found' >&2\nexit 1\n"
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, tool), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	return h
}

const ovf = `<?xml version="1.0"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1">
  <PlatformSection><Kind>VMware ESXi</Kind></PlatformSection>
  <PropertySection>
    <Property oe:key="guestinfo.hostname" oe:value="web-1"/>
    <Property oe:key="guestinfo.coreos.config.data" oe:value="aGVsbG8="/>
    <Property oe:key="guestinfo.coreos.config.data.encoding" oe:value="base64"/>
    <Property oe:key="guestinfo.interface.0.role" oe:value="private"/>
    <Property oe:key="guestinfo.interface.0.ip.0.address" oe:value="10.0.0.4/24"/>
  </PropertySection>
</Environment>`

func TestVMwareGuestinfo(t *testing.T) {
	base, _ := serve(t, hello)
	network := []string{"guestinfo.interface.* doesn't configure the network: write coreos.units named *.network instead"}
	for _, c := range []struct {
		name string
		tool string
		vars map[string]string
		want Found
		err  string
	}{
		{"plain", "vmware-rpctool", map[string]string{"hostname": "web-1", "coreos.config.data": "hello"},
			Found{UserData: []byte("hello"), Metadata: Metadata{Hostname: "web-1"}}, ""},
		{"by the other tool", "vmtoolsd", map[string]string{"coreos.config.data": "hello"}, Found{UserData: []byte("hello")}, ""},
		{"base64", "vmware-rpctool", map[string]string{"coreos.config.data": "aGVs\nbG8=", "coreos.config.data.encoding": "base64"}, Found{UserData: []byte("hello")}, ""},
		{"gzip", "vmware-rpctool", map[string]string{"coreos.config.data": "H4sIAAAAAAAC/wEAAP//AAAAAAAAAAA=", "coreos.config.data.encoding": "gzip+base64"},
			Found{UserData: []byte("\x1f\x8b\b\x00\x00\x00\x00\x00\x02\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")}, ""},
		{"Ignition's before ours", "vmware-rpctool", map[string]string{"ignition.config.data": "{}", "coreos.config.data": "hello"}, Found{UserData: []byte("{}")}, ""},
		{"at a URL", "vmware-rpctool", map[string]string{"coreos.config.url": base}, Found{UserData: []byte("hello")}, ""},
		{"an OVF environment", "vmware-rpctool", map[string]string{"ovfEnv": ovf, "hostname": "web-2"},
			Found{UserData: []byte("hello"), Notes: network, Metadata: Metadata{Hostname: "web-1", Addresses: map[string]string{"private_ipv4": "10.0.0.4"}}}, ""},
		{"addresses by role", "vmware-rpctool", map[string]string{
			"interface.0.role": "public", "interface.0.ip.0.address": "192.0.2.4/24", "interface.0.ip.1.address": "2001:db8::4/64",
			"interface.1.mac": "00:11:22:33:44:55", "interface.1.ip.0.address": "10.9.0.4/24",
			"interface.2.role": "private", "interface.2.ip.0.address": "10.0.0.4/24",
		}, Found{Notes: network, Metadata: Metadata{Addresses: map[string]string{"public_ipv4": "192.0.2.4", "public_ipv6": "2001:db8::4", "private_ipv4": "10.0.0.4"}}}, ""},
		{"another role", "vmware-rpctool", map[string]string{"interface.0.role": "dmz", "interface.0.ip.0.address": "192.0.2.4/24"}, Found{}, `an interface's role is "dmz"`},
		{"another encoding", "vmware-rpctool", map[string]string{"coreos.config.data": "x", "coreos.config.data.encoding": "rot13"}, Found{}, `encoding "rot13" is not known`},
		{"not base64", "vmware-rpctool", map[string]string{"coreos.config.data": "*", "coreos.config.data.encoding": "base64"}, Found{}, "the config is not base64"},
		{"not gzip", "vmware-rpctool", map[string]string{"coreos.config.data": "aGVsbG8=", "coreos.config.data.encoding": "gzip+base64"}, Found{}, "the config is not gzip+base64"},
		{"a tool that fails", "vmware-rpctool", map[string]string{"broken": ""}, Found{}, "vmware-rpctool: guestinfo.hostname: exit status 2"},
		{"no XML", "vmware-rpctool", map[string]string{"ovfEnv": "<"}, Found{}, "the OVF environment is no XML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := guest(t, c.tool, c.vars)
			found, err := h.First(context.Background(), 0, h.VMwareGuestinfo())
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v; want %s", err, c.err)
				}
				return
			}
			c.want.From, c.want.Shared = "VMware's guestinfo", true
			if diff := cmp.Diff(c.want, found, cmpEmpty); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestVMwareGuestinfoElsewhere(t *testing.T) {
	h := fast()
	h.Root = tree(t, map[string]string{"sys/class/dmi/id/product_name": "Standard PC\n"})
	if _, err := h.First(context.Background(), 0, h.VMwareGuestinfo()); err == nil || !strings.Contains(err.Error(), "this is no VMware virtual machine") {
		t.Errorf("%v", err)
	}
	h = guest(t, "vmtoolsd", nil)
	t.Setenv("PATH", t.TempDir())
	if _, err := h.First(context.Background(), 0, h.VMwareGuestinfo()); err == nil || !strings.Contains(err.Error(), "install open-vm-tools") {
		t.Errorf("%v", err)
	}
}

func TestOVFEnvironment(t *testing.T) {
	dir := tree(t, map[string]string{"ovf-env.xml": ovf, "bad.xml": "<"})
	h := fast()
	found, err := h.First(context.Background(), 0, h.OVFEnvironment(dir+"/ovf-env.xml"))
	if err != nil || string(found.UserData) != "hello" || found.Metadata.Hostname != "web-1" || found.Metadata.Addresses["private_ipv4"] != "10.0.0.4" {
		t.Errorf("%+v, %v", found, err)
	}
	for file, want := range map[string]string{"bad.xml": "no XML", "none.xml": "no such file"} {
		if _, err := h.First(context.Background(), 0, h.OVFEnvironment(dir+"/"+file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
