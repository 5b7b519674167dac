package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigDrive(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Found
		err   string
	}{
		{"OpenStack", map[string]string{
			"openstack/latest/user_data":      "hello",
			"openstack/latest/meta_data.json": `{"hostname": "web-1", "public_keys": {"b": "ssh-rsa B\n", "a": "ssh-rsa A"}, "uuid": "x"}`,
		}, Found{UserData: []byte("hello"), Metadata: Metadata{Hostname: "web-1", SSHKeys: []string{"ssh-rsa A", "ssh-rsa B"}}}, ""},
		{"OpenStack, user-data only", map[string]string{"openstack/latest/user_data": "hello"}, Found{UserData: []byte("hello")}, ""},
		{"OpenStack, metadata only", map[string]string{"openstack/latest/meta_data.json": `{"hostname": "web-1"}`},
			Found{Metadata: Metadata{Hostname: "web-1"}}, ""},
		{"OpenStack, network", map[string]string{"openstack/latest/meta_data.json": `{"network_config": {"content_path": "/content/0000"}}`},
			Found{Notes: []string{"network_config is there, and not used: write coreos.units named *.network instead"}}, ""},
		{"OpenStack before NoCloud", map[string]string{"openstack/latest/user_data": "hello", "user-data": "no"}, Found{UserData: []byte("hello")}, ""},
		{"bad metadata", map[string]string{"openstack/latest/user_data": "hello", "openstack/latest/meta_data.json": "{"}, Found{}, "openstack/latest/meta_data.json: unexpected end of JSON input"},
		{"NoCloud", map[string]string{"user-data": "hello", "meta-data": "instance-id: i-1\nlocal-hostname: web-1\npublic-keys:\n- ssh-rsa A\n- ssh-rsa B\n"},
			Found{UserData: []byte("hello"), Metadata: Metadata{Hostname: "web-1", SSHKeys: []string{"ssh-rsa A", "ssh-rsa B"}}}, ""},
		{"NoCloud, JSON, keys by name", map[string]string{"meta-data": `{"hostname": "web-2", "local-hostname": "x", "public-keys": {"me": ["ssh-rsa A"], "you": "ssh-rsa B"}}`},
			Found{Metadata: Metadata{Hostname: "web-2", SSHKeys: []string{"ssh-rsa A", "ssh-rsa B"}}}, ""},
		{"NoCloud, keys as text", map[string]string{"meta-data": "public-keys: |\n  ssh-rsa A\n  ssh-rsa B\n"},
			Found{Metadata: Metadata{SSHKeys: []string{"ssh-rsa A", "ssh-rsa B"}}}, ""},
		{"NoCloud, network", map[string]string{"user-data": "hello", "meta-data": "network-interfaces: x\n", "network-config": "version: 2\n"},
			Found{UserData: []byte("hello"), Notes: []string{
				"network-config is there, and not used: put what it is for into user-data",
				"network-interfaces is there, and not used: write coreos.units named *.network instead",
			}}, ""},
		{"NoCloud, bad metadata", map[string]string{"meta-data": "a: [\n"}, Found{}, "meta-data: it is no YAML"},
		{"NoCloud, an alias", map[string]string{"meta-data": "x: &a [k]\npublic-keys: [*a]\n"}, Found{}, "YAML aliases are not taken"},
		{"huge metadata", map[string]string{"meta-data": strings.Repeat("a", maxMetadata+1)}, Found{}, "meta-data: it is larger than 512 KiB"},
		{"nothing", map[string]string{"openstack/latest/": ""}, Found{}, "neither openstack/latest nor user-data is there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, c.files)
			found, err := fast().First(context.Background(), 0, new(Host).ConfigDrive(dir))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v; want %s", err, c.err)
				}
				return
			}
			c.want.From, c.want.Shared = "the config drive in "+dir, true
			if diff := cmp.Diff(c.want, found, cmpEmpty); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

var cmpEmpty = cmp.Transformer("text", func(b []byte) string { return string(b) })

// A drive that nobody has mounted is mounted to be read, and not longer.
func TestUnmountedDrive(t *testing.T) {
	const tag = "sys/bus/virtio/drivers/9pnet_virtio/virtio3/mount_tag"
	for _, c := range []struct {
		name  string
		files map[string]string
		fits  string // the file system that the drive is
		what  string // ends what is mounted
		err   string
	}{
		{"OpenStack's", map[string]string{"dev/disk/by-label/config-2": "", "dev/disk/by-label/cidata": ""}, "iso9660", "/config-2", ""},
		{"in capitals", map[string]string{"dev/disk/by-label/CONFIG-2": ""}, "vfat", "/CONFIG-2", ""},
		{"NoCloud's", map[string]string{"dev/disk/by-label/cidata": ""}, "ext4", "/cidata", ""},
		{"a hypervisor's share", map[string]string{tag: "config-2\x00"}, "9p", "config-2", ""},
		{"another share", map[string]string{tag: "home\x00"}, "", "", "there is no drive labelled config-2 or cidata"},
		{"of a file system that isn't known", map[string]string{"dev/disk/by-label/config-2": ""}, "btrfs", "", "as vfat: no such device"},
		{"none", nil, "", "", "there is no drive labelled config-2 or cidata"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := fast()
			h.Root = tree(t, c.files)
			if err := os.Mkdir(filepath.Join(h.Root, "run"), 0o755); err != nil {
				t.Fatal(err)
			}
			h.mount = func(what, dir, fstype, options string) (func() error, error) {
				if fstype != c.fits {
					return nil, syscall.ENODEV
				}
				if !strings.HasSuffix(what, c.what) || (fstype == "9p") != strings.Contains(options, "trans=virtio") {
					t.Errorf("mounts %s as %s with %q", what, fstype, options)
				}
				file := filepath.Join(dir, "user-data")
				return func() error { return os.Remove(file) }, os.WriteFile(file, []byte("hello"), 0o600)
			}
			found, err := h.First(context.Background(), 0, h.ConfigDrive(AnyDrive))
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%v; want %q", err, c.err)
			}
			if err == nil && string(found.UserData) != "hello" {
				t.Errorf("got %q", found.UserData)
			}
			if left, err := os.ReadDir(filepath.Join(h.Root, "run")); err != nil || len(left) > 0 {
				t.Errorf("left in /run: %v, %v", left, err)
			}
		})
	}
}

func TestMountingNeedsRoot(t *testing.T) {
	h := fast()
	h.Root = tree(t, map[string]string{"dev/disk/by-label/config-2": "", "run/": ""})
	h.mount = func(string, string, string, string) (func() error, error) { return nil, syscall.EPERM }
	if _, err := h.First(context.Background(), 0, h.ConfigDrive(AnyDrive)); err == nil || !strings.Contains(err.Error(), "mounting it needs root") {
		t.Errorf("%v", err)
	}
}

// Who fills a drive is not to have the host's own files read out.
func TestDriveWithALinkOut(t *testing.T) {
	for name, target := range map[string]string{"absolute": "/etc/hostname", "upwards": "../../../../../../../../etc/hostname"} {
		dir := tree(t, map[string]string{"meta-data": ""})
		if err := os.Symlink(target, filepath.Join(dir, "user-data")); err != nil {
			t.Fatal(err)
		}
		if found, err := fast().First(context.Background(), 0, new(Host).ConfigDrive(dir)); err == nil || !strings.Contains(err.Error(), "user-data: path escapes") {
			t.Errorf("%s: %q, %v", name, found.UserData, err)
		}
	}
	dir := tree(t, map[string]string{"..data/user-data": "hello"})
	if err := os.Symlink("..data/user-data", filepath.Join(dir, "user-data")); err != nil {
		t.Fatal(err)
	}
	if found, err := fast().First(context.Background(), 0, new(Host).ConfigDrive(dir)); err != nil || string(found.UserData) != "hello" {
		t.Errorf("a link within: %q, %v", found.UserData, err)
	}
}

// A directory that somebody names is the only one that is looked at.
func TestNamedDirectoryIsNoOther(t *testing.T) {
	h := fast()
	h.Root = tree(t, map[string]string{"dev/disk/by-label/config-2": ""})
	_, err := h.First(context.Background(), 0, h.ConfigDrive(t.TempDir()))
	var none *NoneError
	if !errors.As(err, &none) {
		t.Errorf("%v", err)
	}
}
