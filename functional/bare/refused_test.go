package bare

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// noAddress takes a host's address away before anything asks for it; lateAddress
// gives it back once the config's service says that it waits.
const (
	noAddress = `[Unit]
DefaultDependencies=no
Before=network-pre.target network.target fleet-cloudinit.service
Wants=network-pre.target

[Service]
Type=oneshot
ExecStart=sh -c 'ip -4 -o address show dev host0 | grep -o "10[^ ]*/24" >/run/address'
ExecStart=ip address flush dev host0
`
	lateAddress = `[Service]
ExecStart=sh -c 'until journalctl --unit=fleet-cloudinit | grep "waiting for the network"; do sleep 0.1; done; ip address add $$(cat /run/address) dev host0'
`
)

// A network that nothing waits for comes up after the host: it joins all the same.
func TestAddressComesLate(t *testing.T) {
	w := newWorld(t)
	w.serve()
	files := with(fmt.Sprintf(cloudConfig, w.url(1)))
	files["/etc/systemd/system/no-address.service"] = platform.File{Content: noAddress}
	files["/etc/systemd/system/late-address.service"] = platform.File{Content: lateAddress}
	h, err := w.plat.Boot(w.ctx, platform.HostSpec{
		Name: "late-address", Layers: []string{w.layer}, Files: files, Enable: []string{"no-address.service", "late-address.service"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.describes(w.awaitMachines(h, 1), []*platform.Host{h}, "region=eu,role=web")
	w.members(h)
}

// Each of these hosts says what is wrong and what to do, and runs no etcd.
func TestHostsThatCannotJoin(t *testing.T) {
	w := newWorld(t)
	w.serve()
	url := w.url(1) // were it for more, a host that gets through would only wait
	unknown := url[:strings.LastIndex(url, "/")+1] + strings.Repeat("0", 32)
	for _, tc := range []struct {
		name  string
		text  string
		files map[string]platform.File
		unit  string // that says why
		says  []string
	}{
		{"unknown-url", fmt.Sprintf(cloudConfig, unknown), nil, "etcd2", []string{"make a new one with /new?size=N and give it to all hosts", unknown}},
		{"no-url", fmt.Sprintf(cloudConfig, url[:strings.LastIndex(url, "/")]), nil, "fleet-cloudinit", []string{userData + ":4:", "has no token: put in what curl"}},
		{
			"no-address", fmt.Sprintf(cloudConfig, url), map[string]platform.File{
				"/etc/systemd/system/no-address.service": {Content: noAddress},
				"/etc/default/fleet-cloudinit":           {Content: "OPTIONS=--timeout=5s\n"}, // it would wait for 5 minutes
			},
			"fleet-cloudinit", []string{"$private_ipv4", "advertise_client_urls", "COREOS_PRIVATE_IPV4"},
		},
		{
			"no-public-address", strings.ReplaceAll(fmt.Sprintf(cloudConfig, url), "$private", "$public"), nil,
			"fleet-cloudinit", []string{"$public_ipv4", "advertise_client_urls", "COREOS_PUBLIC_IPV4"},
		},
		{"unknown-key", fmt.Sprintf(cloudConfig, url) + "  etcd3: {}\n", nil, "fleet-cloudinit", []string{userData + ":", "etcd3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := with(tc.text)
			enable := []string{"etcd2.service"} // which must not make it a cluster of its own
			for path, f := range tc.files {
				files[path] = f
				if name, ok := strings.CutPrefix(path, "/etc/systemd/system/"); ok {
					enable = append(enable, name)
				}
			}
			h, err := w.plat.Boot(w.ctx, platform.HostSpec{Name: tc.name, Layers: []string{w.layer}, Files: files, Enable: enable})
			if err != nil {
				t.Fatal(err)
			}
			w := *w
			w.t = t
			w.says(h, tc.unit, tc.says...)
			if tc.unit == "fleet-cloudinit" {
				w.says(h, "etcd2", "config could not be applied at boot", "run fleetd cloudinit, then systemctl restart etcd2.service")
			}
			if role := w.role(h); role != "" {
				t.Errorf("it is a %s", role)
			}
			if err := h.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	if n := w.registrations(); n != 0 {
		t.Errorf("%d registered: %s", n, w.service.Log())
	}
}

// Two hosts of an image that had a machine id in it can't both be members; one is
// told so, and is a member once it has done what it was told.
func TestClonedMachineID(t *testing.T) {
	w := newWorld(t)
	w.serve()
	files := with(fmt.Sprintf(cloudConfig, w.url(2)))
	first := w.boot(files, "n1")[0]
	w.says(first, "etcd2", "1 of 2 joined; waiting for 1 more")
	clone, err := w.plat.Boot(w.ctx, platform.HostSpec{Name: "n2", MachineID: first.MachineID(), Layers: []string{w.layer}, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	w.says(clone, "etcd2", "the name "+first.MachineID()+" is member", "/etc/machine-id")
	w.await("systemd to leave it be", func() (bool, string) {
		out, err := clone.Run(w.ctx, "systemctl", "show", "-P", "ActiveState", "etcd2")
		return err == nil && out == "failed\n", out
	})
	// systemd-machine-id-setup takes what a container's manager says, the same as
	// before; on a host, it makes a new one.
	w.sh(clone, "tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id")
	if err := platform.RebootAll(w.ctx, clone); err != nil {
		t.Fatal(err)
	}
	w.awaitRole("member", first, clone)
	w.awaitMachines(clone, 2)
	if c, err := w.ask(first); err != nil || len(c.Members) != 2 || c.Members[0].Name == c.Members[1].Name {
		t.Errorf("the etcd cluster is %v, %v", c, err)
	}
}
