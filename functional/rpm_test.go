package functional

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// The .rpm's files on a real host, and its scripts with the numbers that rpm
// gives them: how many versions are installed then.
func TestRPMOnARealHost(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	file := packageFile(t, "fleet-*.rpm")
	layer, err := plat.Layer(t.Context(), "rpm", nil, "sh", "-ec", `rpm --root "$ROOT" --nodeps --noscripts --install "$1"`, "sh", file)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]platform.File{}
	for script, tag := range map[string]string{"post": "POSTIN", "preun": "PREUN", "postun": "POSTUN"} {
		files["/root/"+script] = platform.File{Content: said(t, "rpm", "--query", "--package", "--queryformat", "%{"+tag+"}\n", file)}
	}
	w := bareHosts(t, platform.HostSpec{Name: "rpm", Layers: []string{layer}, Files: files})
	h := w.Hosts[0]
	script := func(name, versions string) { w.run(h, "sh -e /root/"+name+" "+versions) }

	script("post", "1")
	const installed = "fleet-cloudinit.service enabled inactive\nfleet.service disabled inactive\nfleet.socket disabled inactive\n" +
		"etcd2.service disabled inactive\nfleet-discovery.service disabled inactive"
	if d := cmp.Diff(installed, w.enablement(h)); d != "" {
		t.Errorf("installed: wanted (-) and got (+):\n%s", d)
	}
	if w.Cluster, err = cluster.Form(w.ctx, w.Hosts, cluster.Options{}); err != nil {
		t.Fatal(err)
	}
	before := w.startMany("kept", 3, "")
	fleetd, etcd := w.mainPID(h, "fleet.service"), w.mainPID(h, "etcd2.service")

	script("post", "2") // an upgrade: the new one's post, the old one's preun and postun
	script("preun", "1")
	script("postun", "1")
	if is := w.mainPID(h, "fleet.service"); is == fleetd || is == "0" {
		t.Errorf("the upgrade left fleetd %s as %s", fleetd, is)
	}
	if is := w.mainPID(h, "etcd2.service"); is != etcd {
		t.Errorf("the upgrade restarted etcd: %s, then %s", etcd, is)
	}
	if err := w.AwaitMachines(w.ctx, 1); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, w.where("kept@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units before the upgrade (-) and after (+):\n%s", d)
	}

	script("preun", "0")
	if got := w.enablement(h); strings.Contains(got, " active") || strings.Contains(got, " enabled") {
		t.Errorf("removed:\n%s", got)
	}
	if on := w.where("kept@"); len(on) > 0 {
		t.Errorf("after removal these units run: %v", on)
	}
	script("postun", "0")
}
