package functional

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// filledIn is a Butane file of examples/ with what people have to fill in: what
// is downloaded, from a server of the test's, with its hash, and the URL.
func filledIn(t *testing.T, name, discovery string, downloads map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "examples/butane", name))
	if err != nil {
		t.Fatal(err)
	}
	served := http.NewServeMux()
	server := httptest.NewServer(served)
	t.Cleanup(server.Close)
	config := string(text)
	replace := func(old, new string) {
		if !strings.Contains(config, old) {
			t.Fatalf("%s doesn't have %s", name, old)
		}
		config = strings.Replace(config, old, new, 1)
	}
	for url, file := range downloads {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		path := "/" + filepath.Base(url)
		served.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
		// The hash that follows this URL.
		before, after, found := strings.Cut(config, url)
		if !found {
			t.Fatalf("%s doesn't download %s", name, url)
		}
		sum := sha256.Sum256(content)
		after = strings.Replace(after, strings.Repeat("0", 64), hex.EncodeToString(sum[:]), 1)
		config = before + server.URL + path + after
	}
	replace("http://discovery.example.com:2381/0123456789abcdef0123456789abcdef", discovery)
	out := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(out, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// The examples for Flatcar and Fedora CoreOS, made true in an image each before
// its first boot, as Ignition does it there: the two hosts are a cluster.
func TestButaneExamplesBecomeACluster(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	const from = "https://downloads.example.com/fleet-2.0.0"
	bin := filepath.Join(cluster.Root(), "bin")
	url, raw := discoveryURL(t, 2), packageFile(t, "fleet-*.raw")
	flatcar := filledIn(t, "flatcar.bu", url, map[string]string{from + ".raw": raw})
	fedora := filledIn(t, "fcos.bu", url, map[string]string{from + "/fleetd": bin + "/fleetd", from + "/fleetctl": bin + "/fleetctl"})

	// Hosts in containers can't mount the downloaded image: they get it unpacked.
	const apply = `"$1" cloudinit --from-file "$2" --root "$ROOT"
image=$ROOT/opt/extensions/fleet.raw
if [ -e "$image" ]; then
	[ "$(readlink "$ROOT/etc/extensions/fleet.raw")" = /opt/extensions/fleet.raw ]
	mkdir -p "$ROOT/var/lib/extensions"
	unsquashfs -quiet -no-progress -dest "$ROOT/var/lib/extensions/fleet" "$image"
	rm "$image" "$ROOT/etc/extensions/fleet.raw"
fi`
	var specs []platform.HostSpec
	for name, config := range map[string]string{"flatcar": flatcar, "fedora": fedora} {
		layer, err := plat.Layer(t.Context(), name, nil, "sh", "-ec", apply, "sh", bin+"/fleetd", config)
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, platform.HostSpec{Name: name, Layers: []string{layer}})
	}
	w := bareHosts(t, specs...)
	// As Flatcar does when extensions are merged.
	w.run(plat.Host("flatcar"), "systemd-sysext merge; systemctl daemon-reload; systemctl restart --no-block sockets.target multi-user.target")

	if err := w.AwaitMachines(w.ctx, 2); err != nil {
		t.Fatal(err)
	}
	if out := w.fleetctl("list-machines"); strings.Count(out, "region=eu,role=web") != 2 {
		t.Errorf("list-machines:\n%s", out)
	}
	if on := w.startMany("butane", 2, "Conflicts=butane@*.service\n"); len(on) != 2 {
		t.Errorf("units run: %v", on)
	}
}
