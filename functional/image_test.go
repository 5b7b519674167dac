package functional

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// discoveryURL is one of a discovery service of the test's own, which hosts reach.
func discoveryURL(t *testing.T, size int) string {
	t.Helper()
	// A port that is free on this machine is free at its address there.
	free, err := net.Listen("tcp", plat.Gateway().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	service, err := cluster.LaunchDiscovery(t.Context(), at, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Kill)
	url, err := cluster.Get(t.Context(), fmt.Sprintf("http://%s/new?size=%d", at, size))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// imageOf is a layer that makes the platform's root filesystem the image that
// examples/image/prepare makes of it.
func imageOf(t *testing.T, name, userData string) string {
	t.Helper()
	deb, err := cluster.Package()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, []byte(userData), 0o600); err != nil {
		t.Fatal(err)
	}
	prepare := `exec "$1" "$ROOT" "$2" "$3"`
	layer, err := plat.Layer(t.Context(), name, nil, "sh", "-ec", prepare, "sh", filepath.Join(cluster.Root(), "examples/image/prepare"), deb, file)
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// Two hosts boot of one image that has the example's cloud-config in it, and are
// a cluster; booted again, they still are.
func TestImageBecomesACluster(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	example, err := os.ReadFile(filepath.Join(cluster.Root(), "examples/cloud-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(example), "    discovery: ")
	_, after, _ := strings.Cut(rest, "\n")
	if !found {
		t.Fatal("the example has no discovery URL to be filled in")
	}
	layer := imageOf(t, "image", before+"    discovery: "+discoveryURL(t, 2)+"\n"+after)

	if id, err := os.ReadFile(filepath.Join(layer, "etc/machine-id")); err != nil || len(id) > 0 {
		t.Errorf("the image has a machine id: %q, %v", id, err)
	}
	if info, err := os.Stat(filepath.Join(layer, "var/lib/coreos-install/user_data")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the image's user-data: %v, %v", info, err)
	}

	layers := []string{layer}
	w := bareHosts(t, platform.HostSpec{Name: "image1", Layers: layers}, platform.HostSpec{Name: "image2", Layers: layers})
	whole := func() {
		t.Helper()
		if err := w.AwaitMachines(w.ctx, 2); err != nil {
			t.Fatal(err)
		}
		if out := w.fleetctl("list-machines"); strings.Count(out, "region=eu,role=web") != 2 {
			t.Errorf("list-machines:\n%s", out)
		}
		for _, h := range w.Hosts {
			if failed := w.run(h, "systemctl --failed --no-legend --plain"); failed != "" {
				t.Errorf("%s has failed units: %s", h.Name(), failed)
			}
		}
	}
	whole()
	if err := platform.RebootAll(w.ctx, w.Hosts...); err != nil {
		t.Fatal(err)
	}
	whole()
}

// A mistake in the user-data is found when the image is made, not at its boot.
func TestImageRefusesBrokenUserData(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, []byte("#cloud-config\ncoreos:\n  etcd2:\n    discovry: http://x/y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	deb, err := cluster.Package()
	if err != nil {
		t.Fatal(err)
	}
	prepare := `exec "$1" "$ROOT" "$2" "$3"`
	_, err = plat.Layer(t.Context(), "broken", nil, "sh", "-ec", prepare, "sh", filepath.Join(cluster.Root(), "examples/image/prepare"), deb, file)
	if err == nil || !strings.Contains(err.Error(), "discovry") {
		t.Errorf("got %v", err)
	}
}
