package functional

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// packageFile is the one package of a kind that make packages has made.
func packageFile(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cluster.Root(), "dist/out", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("dist/out has %d of %s, want one (run: make packages)", len(found), pattern)
	}
	return found[0]
}

// said is the output of a command here.
func said(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = cluster.Root()
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, errors.String())
	}
	return string(out)
}

// contents are a package's files, each with its mode and owner.
var contents = map[string]struct {
	pattern string
	list    func(t *testing.T, file string) string
}{
	"deb": {"fleet_*.deb", func(t *testing.T, file string) string {
		list := regexp.MustCompile(`(?m)^(\S+) (\S+) +\d+ \S+ \S+ \.(/.*)$`).ReplaceAllString(said(t, "dpkg-deb", "--contents", file), "$1 $2 $3")
		return list + "\nconffiles\n" + said(t, "dpkg-deb", "--info", file, "conffiles") +
			"\n" + regexp.MustCompile(`(?m)^(Version|Installed-Size|Architecture): .*\n`).ReplaceAllString(said(t, "dpkg-deb", "--field", file), "")
	}},
	"rpm": {"fleet-*.rpm", func(t *testing.T, file string) string {
		const format = `[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILENAMES}\n]`
		said(t, "rpm", "--checksig", "--nosignature", file)
		return said(t, "rpm", "--query", "--package", "--queryformat", format, file) + "\nrequires\n" +
			said(t, "rpm", "--query", "--package", "--requires", file)
	}},
	"sysext": {"fleet-*.raw", func(t *testing.T, file string) string {
		return regexp.MustCompile(`(?m)^(\S+) (\S+) +\d+ \S+ \S+ squashfs-root(.*)$`).ReplaceAllString(said(t, "unsquashfs", "-lls", file), "$1 $2 $3") +
			"\n" + said(t, "unsquashfs", "-cat", file, "usr/lib/extension-release.d/extension-release.fleet")
	}},
}

func TestPackageContents(t *testing.T) {
	for kind, p := range contents {
		t.Run(kind, func(t *testing.T) {
			// The man pages are another test's: there are many, and more to come.
			got := regexp.MustCompile(`(?m)^.*/man\d/.*\n`).ReplaceAllString(p.list(t, packageFile(t, p.pattern)), "")
			golden := filepath.Join("testdata/packages", kind+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("wanted (-) and packed (+):\n%s", d)
			}
		})
	}
}

// Every document, unit and command of dist/ is in the packages: what is added
// there and forgotten here isn't shipped.
func TestPackagesHaveAllOfDist(t *testing.T) {
	deb := said(t, "dpkg-deb", "--contents", packageFile(t, "fleet_*.deb"))
	for pattern, compressed := range map[string]string{"dist/*.service": "", "dist/*.socket": "", "dist/man/*": ".gz", "dist/completions/*/*": ""} {
		files, err := filepath.Glob(filepath.Join(cluster.Root(), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			if !strings.Contains(deb, "/"+filepath.Base(f)+compressed+"\n") {
				t.Errorf("the .deb lacks %s", f)
			}
		}
	}
}

func TestPackageScriptsParse(t *testing.T) {
	deb, rpm := packageFile(t, "fleet_*.deb"), packageFile(t, "fleet-*.rpm")
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		checkShell(t, name, said(t, "dpkg-deb", "--info", deb, name))
	}
	for _, tag := range []string{"POSTIN", "PREUN", "POSTUN"} {
		checkShell(t, tag, said(t, "rpm", "--query", "--package", "--queryformat", "%{"+tag+"}", rpm))
	}
}

func checkShell(t *testing.T, name, script string) {
	t.Helper()
	if !strings.Contains(script, "fleet.service") {
		t.Errorf("%s isn't there: %q", name, script)
	}
	sh := exec.CommandContext(t.Context(), "sh", "-n")
	sh.Stdin = strings.NewReader(script)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// The same files make the same packages, byte for byte.
func TestPackagesAreReproducible(t *testing.T) {
	cache, err := platform.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	nfpm, err := filepath.Glob(filepath.Join(cache, "tools/nfpm-v*"))
	if err != nil || len(nfpm) == 0 {
		t.Fatalf("there is no nfpm in %s/tools, %v (run: make packages)", cache, err)
	}
	var sums []string
	for _, out := range []string{t.TempDir(), t.TempDir()} {
		said(t, "env", "VERSION=1.2.3", "ARCH="+runtime.GOARCH, "EPOCH=1000000000", "NFPM="+nfpm[0], "BIN=bin", "OUT="+out, "dist/packages/build")
		sums = append(sums, said(t, "sh", "-ec", `cd "$1"; sha256sum fleet*`, "sh", out))
	}
	if strings.Count(sums[0], "\n") != 3 {
		t.Errorf("made were:\n%s", sums[0])
	}
	if d := cmp.Diff(sums[0], sums[1]); d != "" {
		t.Errorf("made once (-) and again (+):\n%s", d)
	}
}

// The units are what systemd takes without a word of complaint.
func TestPackagedUnits(t *testing.T) {
	w := use(t)
	h := w.Hosts[0]
	const units = "/usr/lib/systemd/system/"
	for _, name := range []string{"etcd2.service", "fleet.service", "fleet.socket", "fleet-cloudinit.service", "fleet-discovery.service"} {
		if out := w.run(h, "SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "+units+name+" 2>&1 || true"); strings.Contains(out, name) {
			t.Errorf("%s: %s", name, out)
		}
	}
	// Of 10, less is better. What stands on the network, open to all hosts, stays
	// below 2; what sets the host up can't be kept from much.
	for name, most := range map[string]string{"fleet-discovery.service": "19", "fleet-cloudinit.service": "80"} {
		if out, err := h.Run(w.ctx, "systemd-analyze", "security", "--no-pager", "--threshold="+most, name); err != nil {
			lines := strings.Split(strings.TrimSpace(out), "\n")
			t.Errorf("%s: %s", name, lines[len(lines)-1])
		}
	}
}

// The discovery service runs shut in as it is, and keeps its URLs.
func TestPackagedDiscoveryService(t *testing.T) {
	w := use(t)
	h := w.Hosts[0]
	t.Cleanup(func() {
		w := &world{Cluster: w.Cluster, t: t, ctx: context.Background()}
		w.run(h, "systemctl stop fleet-discovery.service; rm -rf /var/lib/private/fleet-discovery /var/lib/fleet-discovery")
	})
	w.run(h, "systemctl start fleet-discovery.service")
	url := w.run(h, "curl -sS --max-time 10 'http://127.0.0.1:2381/new?size=2'")
	w.run(h, "curl -sSf --max-time 10 -X PUT -d value=a=http://10.0.0.1:2380 '"+url+"/a1?prevExist=false'")
	w.run(h, "systemctl kill --kill-whom=main --signal=KILL fleet-discovery.service")
	w.await("the service that was killed", func() (bool, string) {
		out, err := h.Run(w.ctx, "curl", "-sS", "--max-time", "10", "-H", "Accept: text/plain", url)
		return err == nil && strings.Contains(out, "1 of 2 joined"), fmt.Sprint(out, err)
	})
	if user := w.run(h, "ps -o user= -p $(systemctl show -P MainPID fleet-discovery.service)"); user == "root" {
		t.Error("it runs as root")
	}
}

// A first boot of an image follows presets, and a distribution's may be to
// enable everything.
func TestPresetEnablesCloudinitAlone(t *testing.T) {
	layer := shippedLayer(t)
	image, err := plat.Layer(t.Context(), "presets", []string{layer}, "sh", "-ec",
		`rm -rf "$ROOT"/etc/systemd/system/*.wants; systemctl --root="$ROOT" preset-all 2>/dev/null; cd "$ROOT/etc/systemd/system"; ls -d *.wants/fleet* *.wants/etcd2* 2>/dev/null >"$ROOT/enabled" || true`)
	if err != nil {
		t.Fatal(err)
	}
	enabled, err := os.ReadFile(filepath.Join(image, "enabled"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(enabled)); !slices.Equal(got, []string{"multi-user.target.wants/fleet-cloudinit.service"}) {
		t.Errorf("presets enable %v", got)
	}
}

// shippedLayer is the shared platform's layer with the package.
func shippedLayer(t *testing.T) string {
	t.Helper()
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	layer, err := cluster.Installed(t.Context(), plat)
	if err != nil {
		t.Fatal(err)
	}
	return layer
}
