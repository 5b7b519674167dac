package apply

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a config's accounts come to.
func TestAccounts(t *testing.T) {
	for _, c := range []struct {
		name string
		root map[string]string
		keep []string // users who, if they exist, get only a password and keys
		in   string
		want []string // lines of the tree's difference
		not  []string
	}{{
		name: "a new user, as useradd would make him",
		in:   `"users": [{"name": "jo", "gecos": "Jo Doe", "groups": ["docker"]}]`,
		want: []string{"jo:x:1001:1001:Jo Doe:/home/jo:/bin/bash", "jo:x:1001:", "docker:x:101:core,jo", "docker:!::core,jo", "jo:!::", "jo:*:20513:0:99999:7:::",
			"jo:165536:65536", "/home/jo 0700 1001:1001 directory", "/home/jo/.profile 0644 1001:1001 file"},
	}, {
		name: "all that can be said of a new one",
		in:   `"users": [{"name": "jo", "uid": 77, "homeDir": "/srv/jo", "shell": "/bin/zsh", "noCreateHome": true, "noUserGroup": true, "passwordHash": "$6$x", "system": true}]`,
		want: []string{"jo:x:77:100::/srv/jo:/bin/zsh", "jo:$6$x:20513::::::"},
		not:  []string{"/srv/jo 0", "jo:165536", "jo:x:77:\n"},
	}, {
		name: "a system user's number",
		in:   `"users": [{"name": "d", "system": true, "primaryGroup": "docker"}]`,
		want: []string{"d:x:999:101::/home/d:/bin/bash"},
	}, {
		name: "a group of his name is his",
		root: map[string]string{"/etc/group": host["/etc/group"] + "jo:x:3000:\n"},
		in:   `"users": [{"name": "jo"}]`,
		want: []string{"jo:x:3000:3000::/home/jo:/bin/bash"},
	}, {
		name: "one who exists is changed as it says, and in nothing else",
		in:   `"users": [{"name": "core", "shell": "/bin/sh", "groups": ["sudo"], "passwordHash": ""}]`,
		want: []string{"core:x:1000:1000::/home/core:/bin/sh", "sudo:x:27:core", "docker:x:101:\n", "docker:!::\n"},
		not:  []string{"core:*:20513"},
	}, {
		name: "one of a cloud-config who exists gets a password and keys",
		keep: []string{"core"},
		in:   `"users": [{"name": "core", "shell": "/bin/sh", "groups": ["sudo"], "gecos": "x", "passwordHash": "$6$new", "sshAuthorizedKeys": ["ssh-ed25519 AAAA a"]}]`,
		want: []string{"core:$6$new:20513:0:99999:7:::", "/home/core/.ssh 0700 1000:1000 directory", "/home/core/.ssh/authorized_keys 0600 1000:1000 file\n\t" + keysBegin + "\n\tssh-ed25519 AAAA a\n\t" + keysEnd + "\n"},
		not:  []string{"/etc/passwd", "/etc/group"},
	}, {
		name: "groups, with numbers of their own",
		in:   `"groups": [{"name": "a", "gid": 500, "passwordHash": "$6$g"}, {"name": "b"}, {"name": "c", "system": true}, {"name": "wheel", "shouldExist": false}]`,
		want: []string{"a:x:500:", "b:x:1001:", "c:x:999:", "a:$6$g::"},
		not:  []string{"wheel"},
	}, {
		name: "lines that nobody asks about stay",
		root: map[string]string{"/etc/passwd": "# mine\n\nroot:x:0:0:root:/root:/bin/bash\n+::::::"},
		in:   `"users": [{"name": "jo"}]`,
		want: []string{"\t# mine\n\t\n\troot:x:0:0:root:/root:/bin/bash\n\t+::::::\n\tjo:x:1001:1001:"},
	}, {
		name: "one who goes, with his home and his group",
		root: map[string]string{"/etc/passwd": host["/etc/passwd"] + "jo:x:0001:1001::/home/jo:/bin/sh\n", "/etc/group": host["/etc/group"] + "jo:x:1:\n"},
		in:   `"users": [{"name": "jo", "shouldExist": false}, {"name": "never", "shouldExist": false}]`,
		not:  []string{"jo:"},
	}, {
		name: "accounts of a distribution whose /usr is read-only",
		root: map[string]string{"/usr/lib/group": "audio:x:63:\n", "/usr/lib/passwd": "core2:x:1500:1500::/home/core2:/bin/sh\n"},
		in:   `"users": [{"name": "core2", "groups": ["audio"]}, {"name": "jo"}]`,
		want: []string{"audio:x:63:core2", "core2:x:1500:1500::/home/core2:/bin/sh", "jo:x:1501:1501:"},
	}, {
		name: "keys where an sshd reads Ignition's own",
		root: map[string]string{"/etc/ssh/sshd_config": "Include sshd_config.d/*.conf\n", "/etc/ssh/sshd_config.d/40.conf": "# x\nauthorizedkeysfile=.ssh/authorized_keys .ssh/authorized_keys.d/ignition\n"},
		in:   `"users": [{"name": "core", "sshAuthorizedKeys": ["k1", "k2"]}]`,
		want: []string{"/home/core/.ssh/authorized_keys.d 0700 1000:1000 directory", "/home/core/.ssh/authorized_keys.d/ignition 0600 1000:1000 file\n\tk1\n\tk2\n"},
		not:  []string{"authorized_keys 0"},
	}, {
		name: "keys where a command reads Ignition's own",
		root: map[string]string{"/etc/ssh/sshd_config": "AuthorizedKeysCommand /usr/libexec/ssh-key-dir %u\n"},
		in:   `"users": [{"name": "core", "sshAuthorizedKeys": ["k1"]}]`,
		want: []string{"/home/core/.ssh/authorized_keys.d/ignition 0600 1000:1000 file\n\tk1\n"},
	}, {
		name: "keys where sshd reads a file outside of homes; what is said for some doesn't count",
		root: map[string]string{"/etc/ssh/sshd_config": "AuthorizedKeysFile /etc/ssh/keys/%u\nMatch User x\nAuthorizedKeysFile none\n"},
		in:   `"users": [{"name": "core", "sshAuthorizedKeys": ["k1"]}]`,
		want: []string{"/etc/ssh/keys/core 0644 0:0 file\n\t" + keysBegin + "\n\tk1\n"},
	}, {
		name: "keys on Flatcar, where update-ssh-keys puts files together",
		root: map[string]string{"/usr/bin/update-ssh-keys": "x"},
		in:   `"users": [{"name": "core", "sshAuthorizedKeys": ["k1"]}]`,
		want: []string{"/home/core/.ssh/authorized_keys 0600 1000:1000 file\n\t" + keysBegin, "/home/core/.ssh/authorized_keys.d/ignition 0600 1000:1000 file\n\tk1\n"},
	}, {
		name: "and has put them together",
		root: map[string]string{"/usr/bin/update-ssh-keys": "x", "/home/core/.ssh/authorized_keys": "# auto-generated\n\nk1\n"},
		in:   `"users": [{"name": "core", "sshAuthorizedKeys": ["k1"]}]`,
		want: []string{"/home/core/.ssh/authorized_keys.d/ignition 0600 1000:1000 file\n\tk1\n"},
		not:  []string{"authorized_keys 0"},
	}, {
		name: "keys of others stay, before and after, and their mode",
		root: map[string]string{"/home/core/.ssh/authorized_keys": "other\n" + keysBegin + "\nold\n" + keysEnd + "\nlast"},
		in:   `"users": [{"name": "core", "sshAuthorizedKeys": ["new"]}]`,
		want: []string{"authorized_keys 0600 1000:1000 file\n\tother\n\t" + keysBegin + "\n\tnew\n\t" + keysEnd + "\n\tlast\n"},
	}} {
		t.Run(c.name, func(t *testing.T) {
			root := hostImage(t)
			addTo(t, root, c.root)
			before, in := treeOf(t, root), ignition(t, `"passwd": {`+c.in+`}`)
			in.KeepUsers = c.keep
			a := applier(t, Options{Root: root})
			if _, err := a.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			after := treeOf(t, root)
			got := changed(before, after)
			for _, want := range c.want {
				if !strings.Contains(got, withoutOwners(want)) {
					t.Errorf("%q is missing of\n%s", want, got)
				}
			}
			for _, not := range c.not {
				if strings.Contains(got, not) {
					t.Errorf("%q should not be in\n%s", not, got)
				}
			}
			if again, err := a.Apply(t.Context(), in); err != nil || again.Changed() {
				t.Errorf("a second time changed %v (%v)", again.Changes, err)
			}
		})
	}
}

// Who isn't the owner of what is there gets no part of it: no skeleton in a
// directory that has another use, no text of a file by another name of it.
func TestOthersFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to have files of others")
	}
	root := hostImage(t)
	addTo(t, root, map[string]string{"/srv/data/": "", "/home/core/.ssh/": ""})
	in := ignition(t, `"passwd": {"users": [{"name": "jo", "homeDir": "/srv/data"}]}`)
	if _, err := applier(t, Options{Root: root}).Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	after := treeOf(t, root)
	if after["/srv/data/.profile"] != "" || !strings.Contains(after["/etc/passwd"], "jo:x:1001:1001::/srv/data:") {
		t.Errorf("%q\n%s", after["/srv/data/.profile"], after["/etc/passwd"])
	}
	keys := filepath.Join(root, "/home/core/.ssh/authorized_keys")
	if err := os.Link(filepath.Join(root, "/etc/shadow"), keys); err != nil {
		t.Fatal(err)
	}
	in = ignition(t, `"passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA a"]}]}`)
	_, err := applier(t, Options{Root: root}).Apply(t.Context(), in)
	if err == nil || !strings.Contains(err.Error(), "/home/core/.ssh/authorized_keys is another name of a file of the user with id 0") {
		t.Error(err)
	}
	if diff := changed(after, treeOf(t, root)); strings.Contains(diff, keysBegin) {
		t.Errorf("it changed\n%s", diff)
	}
}

func TestRefusedAccounts(t *testing.T) {
	for _, c := range []struct {
		name string
		root map[string]string
		in   string
		want string
	}{
		{"an uid that is taken", nil, `"users": [{"name": "jo", "uid": 1000}]`, "user jo: its uid 1000 is core's"},
		{"a gid that is taken", nil, `"groups": [{"name": "g", "gid": 27}]`, "group g: its gid 27 is sudo's"},
		{"another uid", nil, `"users": [{"name": "core", "uid": 5}]`, "usermod --uid"},
		{"another gid", nil, `"groups": [{"name": "sudo", "gid": 5}]`, "groupmod --gid"},
		{"another home", nil, `"users": [{"name": "core", "homeDir": "/core"}]`, "usermod --home /core --move-home"},
		{"a group that isn't there", nil, `"users": [{"name": "jo", "groups": ["video"]}]`, "there is no group video"},
		{"a primary group that isn't there", nil, `"users": [{"name": "jo", "primaryGroup": "video"}]`, "there is no group video"},
		{"a name that is a number", nil, `"users": [{"name": "1000"}]`, "can't be a name"},
		{"a name that would be two fields", nil, `"users": [{"name": "a:b"}]`, "can't be a name"},
		{"a name that would be a flag", nil, `"groups": [{"name": "-g"}]`, "can't be a name"},
		{"a line break", nil, `"users": [{"name": "jo", "gecos": "x\nroot2::0:0::/:/bin/sh"}]`, "its gecos has a colon or a line break"},
		{"a key of two lines", nil, `"users": [{"name": "core", "sshAuthorizedKeys": ["a\nb"]}]`, "line break"},
		{"root goes", nil, `"users": [{"name": "root", "shouldExist": false}]`, "it is root"},
		{"a group that is somebody's", nil, `"groups": [{"name": "core", "shouldExist": false}]`, "it is core's primary group"},
		{"an odd home", nil, `"users": [{"name": "jo", "homeDir": "/home/../etc"}]`, "no plain absolute path"},
		{"a home that is a file", map[string]string{"/home/jo": "x"}, `"users": [{"name": "jo"}]`, "its home /home/jo is a file"},
		{"a home in /proc", nil, `"users": [{"name": "jo", "homeDir": "/proc/jo"}]`, "below /proc"},
		{"no home for keys", nil, `"users": [{"name": "etcd", "sshAuthorizedKeys": ["k"]}]`, "no home"},
		{"an sshd without files", map[string]string{"/etc/ssh/sshd_config": "AuthorizedKeysFile none\n"}, `"users": [{"name": "core", "sshAuthorizedKeys": ["k"]}]`, "AuthorizedKeysFile none"},
		{"an sshd with one file for all", map[string]string{"/etc/ssh/sshd_config": "AuthorizedKeysFile /etc/keys\n"}, `"users": [{"name": "core", "sshAuthorizedKeys": ["k"]}]`, "everybody's"},
		{"an sshd whose files go in a circle", map[string]string{"/etc/ssh/sshd_config": "Include /etc/ssh/*\n", "/etc/ssh/b": "Include /etc/ssh/*\n"}, `"users": [{"name": "core", "sshAuthorizedKeys": ["k"]}]`, "go in a circle"},
		{"keys in a link", map[string]string{"/home/core/.ssh/authorized_keys": "->/etc/shadow"}, `"users": [{"name": "core", "sshAuthorizedKeys": ["k"]}]`, "a symbolic link to /etc/shadow, not a file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := hostImage(t)
			addTo(t, root, c.root)
			before := treeOf(t, root)
			_, err := applier(t, Options{Root: root}).Apply(t.Context(), ignition(t, `"passwd": {`+c.in+`}`))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, not %q", err, c.want)
			}
			if diff := changed(before, treeOf(t, root)); diff != "" {
				t.Errorf("it changed\n%s", diff)
			}
		})
	}
}

// A user of a running host who runs something can't be removed from under it.
func TestUserWithProcessesStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root's processes are looked for")
	}
	root := hostImage(t)
	addTo(t, root, map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/sh\nbusy:x:12345:0::/home/busy:/bin/sh\n"})
	in := ignition(t, `"passwd": {"users": [{"name": "busy", "shouldExist": false}]}`)
	stop := asUser(t, 12345)
	a := applier(t, Options{Root: root, Manager: &manager{name: "image"}})
	if _, err := a.Apply(t.Context(), in); err == nil || !strings.Contains(err.Error(), "loginctl terminate-user busy") {
		t.Errorf("%v", err)
	}
	stop()
	if _, err := a.Apply(t.Context(), in); err != nil {
		t.Error(err)
	}
}

// At a time that no clock which was set tells, a password isn't expired.
func TestPasswordWithoutAClock(t *testing.T) {
	root := hostImage(t)
	opts := Options{Root: root, noOwners: os.Geteuid() != 0, now: func() time.Time { return time.Unix(60, 0) }}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Apply(t.Context(), ignition(t, `"passwd": {"users": [{"name": "jo"}]}`)); err != nil {
		t.Fatal(err)
	}
	if got := treeOf(t, root)["/etc/shadow"]; !strings.Contains(got, "jo:*::0:99999:7:::") {
		t.Error(got)
	}
}

// What is mounted in a home isn't emptied with it, though it be a directory of
// the same filesystem.
func TestMountInAHomeStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	root := hostImage(t)
	addTo(t, root, map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/sh\njo:x:1001:1001::/home/jo:/bin/sh\n", "/home/jo/data/": "", "/data/precious": "x"})
	if err := os.Chown(root+"/home/jo", 1001, 1001); err != nil {
		t.Fatal(err)
	}
	in, a := ignition(t, `"passwd": {"users": [{"name": "jo", "shouldExist": false}]}`), applier(t, Options{Root: root})
	if err := syscall.Mount(root+"/data", root+"/home/jo/data", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	before := treeOf(t, root)
	_, err := a.Apply(t.Context(), in)
	if err == nil || !strings.Contains(err.Error(), "/home/jo/data is mounted: unmount it first") {
		t.Errorf("it says %v", err)
	}
	if diff := changed(before, treeOf(t, root)); diff != "" {
		t.Errorf("it changed\n%s", diff)
	}
	if err := syscall.Unmount(root+"/home/jo/data", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := treeOf(t, root); got["/home/jo"] != "" || got["/data/precious"] == "" {
		t.Errorf("unmounted, it left %v", got)
	}
}
