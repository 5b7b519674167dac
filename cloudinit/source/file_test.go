package source

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fleet-project/fleet/cloudinit/format"
)

// tree writes files below a directory of its own; a name that ends in a slash
// makes a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFile(t *testing.T) {
	root := tree(t, map[string]string{"config": "hello", "dir/": "", "empty": "", "big": strings.Repeat("x", format.MaxSize+1)})
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want, err string }{
		{"a file", root + "/config", "hello", ""},
		{"an empty one", root + "/empty", "", ""},
		{"none", root + "/none", "", "there is no such file"},
		{"a directory", root + "/dir", "", "it is a directory"},
		{"a pipe that nobody writes to", root + "/fifo", "", ""},
		{"a device", "/dev/zero", "", "neither a file nor a pipe"},
		{"too large", root + "/big", "", "larger than 16 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := fast().First(context.Background(), 0, new(Host).File(c.path))
			if string(found.UserData) != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q, %q", found.UserData, err, c.want, c.err)
			}
			if err != nil && strings.Count(err.Error(), c.path) != 1 {
				t.Errorf("the path is not told once: %v", err)
			}
		})
	}
}

// A pipe's writer may take its time, but not longer than there is.
func TestPipe(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(fifo, os.O_RDWR, 0) // the end never comes
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := new(Host).File(fifo).read(ctx)
		ended <- err
	}()
	if _, err := w.WriteString("hel"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// Whoever types a config on a terminal may think better of it.
func TestPatient(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := readBounded(&patient{ctx, r})
		ended <- err
	}()
	if _, err := w.WriteString("hel"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	w.Close()
	if data, err := readBounded(&patient{context.Background(), r}); err != nil || len(data) > 3 {
		t.Errorf("%q, %v", data, err)
	}
}

func TestCommandLine(t *testing.T) {
	base, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	for _, c := range []struct{ name, line, want, err string }{
		{"hyphens", "quiet cloud-config-url=" + base + "/a root=LABEL=x\n", "/a", ""},
		{"underscores", "cloud_config_url=" + base + "/b", "/b", ""},
		{"one of each", "cloud-config_url=" + base + "/c", "/c", ""},
		{"the last", "cloud-config-url=" + base + "/1 cloud-config-url=" + base + "/2", "/2", ""},
		{"none", "quiet cloud-config=x xcloud-config-url=y\n", "", "it has no such word"},
		{"no value", "cloud-config-url cloud-config-url=\n", "", "it has no such word"},
		{"no URL", "cloud-config-url=/etc/passwd", "", "no URL that begins with http"},
		{"its sum", "cloud-config-url=" + base + "/hello#sha256=" + helloSum, "", "the config is not the one that was meant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fast()
			h.Root = tree(t, map[string]string{"proc/cmdline": c.line})
			found, err := h.First(context.Background(), 0, h.CommandLine())
			if string(found.UserData) != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q, %q", found.UserData, err, c.want, c.err)
			}
			if !found.Metadata.Empty() {
				t.Errorf("metadata from a URL: %+v", found.Metadata)
			}
		})
	}
}

// The places on this host, in order: each is the first once those before it
// are gone.
func TestDefaults(t *testing.T) {
	base, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("the command line's")) })
	root := tree(t, map[string]string{
		"run/":                             "",
		"proc/cmdline":                     "cloud-config-url=" + base,
		"var/lib/coreos-install/user_data": "the installer's",
		"media/configdrive/openstack/latest/user_data":                      "the config drive's",
		"media/configvirtfs/openstack/latest/user_data":                     "the share's",
		"sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw":        "the firmware's",
		"sys/firmware/qemu_fw_cfg/by_name/opt/org.flatcar-linux/config/raw": "Flatcar's firmware's",
		"usr/share/oem/cloud-config.yml":                                    "the OEM's",
	})
	h := fast()
	h.Root = root
	for _, c := range []struct {
		gone, want string
		shared     bool
	}{
		{"proc/cmdline", "the command line's", false},
		{"var/lib/coreos-install/user_data", "the installer's", false},
		{"media/configdrive/openstack", "the config drive's", true},
		{"media/configvirtfs/openstack", "the share's", true},
		{"sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos", "the firmware's", true},
		{"sys/firmware/qemu_fw_cfg/by_name/opt/org.flatcar-linux", "Flatcar's firmware's", true},
		{"usr/share/oem", "the OEM's", false},
	} {
		found, err := h.First(context.Background(), 0, h.Defaults()...)
		if err != nil || string(found.UserData) != c.want || found.Shared != c.shared {
			t.Errorf("%q, shared %v, %v; want %s", found.UserData, found.Shared, err, c.want)
		}
		if err := os.RemoveAll(filepath.Join(root, c.gone)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.First(context.Background(), 0, h.Defaults()...)
	var none *NoneError
	if !errors.As(err, &none) || len(none.Sources) != 6 {
		t.Errorf("with nothing there: %v", err)
	}
}

func TestEmptyPlaceIsNone(t *testing.T) {
	h := fast()
	h.Root = tree(t, map[string]string{"usr/share/oem/cloud-config.yml": ""})
	if _, err := h.First(context.Background(), 0, h.place("/usr/share/oem/cloud-config.yml", false)); err == nil || err.Error() != "/usr/share/oem/cloud-config.yml: empty" {
		t.Errorf("%v", err)
	}
}
