package bare

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// cmdline has the boot's service see another kernel command line: the hosts share
// their kernel, and its, with this machine.
const cmdline = `[Service]
BindReadOnlyPaths=/etc/cmdline:/proc/cmdline
`

// The cloud-config comes from a URL on the kernel's command line to one host, and
// on a config drive to another: they are a cluster.
func TestSources(t *testing.T) {
	w := newWorld(t)
	w.serve()
	text := fmt.Sprintf(cloudConfig, w.url(2))
	l, err := net.Listen("tcp", net.JoinHostPort(w.plat.Gateway().String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, text) })}
	served := make(chan error, 1)
	go func() { served <- web.Serve(l) }()
	t.Cleanup(func() { web.Close(); <-served })

	hosts, err := w.plat.BootAll(w.ctx,
		platform.HostSpec{Name: "by-url", Layers: []string{w.layer}, Files: map[string]platform.File{
			"/etc/cmdline": {Content: "quiet cloud-config-url=http://" + l.Addr().String() + "/user-data rw\n"},
			"/etc/systemd/system/fleet-cloudinit.service.d/cmdline.conf": {Content: cmdline},
		}},
		platform.HostSpec{Name: "by-drive", Layers: []string{w.layer}, Files: map[string]platform.File{
			"/media/configdrive/openstack/latest/user_data":      {Content: text},
			"/media/configdrive/openstack/latest/meta_data.json": {Content: `{"hostname": "driven"}`},
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.describes(w.awaitMachines(hosts[0], 2), hosts, "region=eu,role=web")
	w.members(hosts...)
	if name := w.sh(hosts[1], "hostname; cat /etc/hostname"); name != "driven\ndriven" {
		t.Errorf("the config drive's host is called %q", name)
	}
}
