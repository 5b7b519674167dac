package apply

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// accountsOf is what every root of these tests has.
var accountsOf = map[string]string{
	"/etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n",
	"/etc/group":  "root:x:0:\nweb:x:33:\nstaff:x:50:\n",
}

func with(files map[string]string) map[string]string {
	all := map[string]string{}
	for p, text := range accountsOf {
		all[p] = text
	}
	for p, text := range files {
		all[p] = text
	}
	return all
}

// What a config's files come to in a root that has something already.
func TestStorage(t *testing.T) {
	const hello = "sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for _, c := range []struct {
		name string
		root map[string]string
		in   string
		want string // what is different afterwards

		onlyOwners bool // differ
	}{{
		name: "a new file, its parents made",
		in:   `"files": [{"path": "/srv/a/b", "contents": {"source": "data:,hello"}}]`,
		want: "/srv 0755 0:0 directory\n/srv/a 0755 0:0 directory\n/srv/a/b 0644 0:0 file\n\thello\n\t\\ no newline at the end\n",
	}, {
		name: "no contents: an empty file",
		in:   `"files": [{"path": "/a"}]`,
		want: "/a 0644 0:0 file\n",
	}, {
		name:       "no contents: a file that is there keeps its own, and its mode",
		root:       map[string]string{"/a": "mine\n"},
		in:         `"files": [{"path": "/a", "user": {"name": "web"}}]`,
		want:       "/a 0644 33:0 file\n\tmine\n",
		onlyOwners: true,
	}, {
		name: "overwrite replaces a file, and a link, but not what it leads to",
		root: map[string]string{"/a": "old\n", "/b": "->/a"},
		in:   `"files": [{"path": "/b", "overwrite": true, "contents": {"source": "data:,new%0A"}}]`,
		want: "/b 0644 0:0 file\n\tnew\n",
	}, {
		name: "without overwrite, the same content is fine, and its mode is set",
		root: map[string]string{"/a": "same\n"},
		in:   `"files": [{"path": "/a", "mode": 384, "contents": {"source": "data:,same%0A"}}]`,
		want: "/a 0600 0:0 file\n\tsame\n",
	}, {
		name: "the special bits, and owners by name from the root's own files",
		in:   `"files": [{"path": "/a", "mode": 2541, "user": {"name": "web"}, "group": {"name": "staff"}}, {"path": "/b", "user": {"id": 7}, "group": {"id": 8}}]`,
		want: "/a 4755 33:50 file\n/b 0644 7:8 file\n",
	}, {
		name: "gzip, verified as decompressed",
		in:   `"files": [{"path": "/a", "contents": {"compression": "gzip", "source": "data:;base64,H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==", "verification": {"hash": "` + hello + `"}}}]`,
		want: "/a 0644 0:0 file\n\thello\n\t\\ no newline at the end\n",
	}, {
		name: "contents and what is appended to them",
		root: map[string]string{"/a": "old\n"},
		in:   `"files": [{"path": "/a", "overwrite": true, "contents": {"source": "data:,one"}, "append": [{"source": "data:,two"}, {"source": "data:,two"}]}]`,
		want: "/a 0644 0:0 file\n\tonetwotwo\n\t\\ no newline at the end\n",
	}, {
		name: "appended lines: those that are there aren't added again",
		root: map[string]string{"/a": "one\ntwo\n"},
		in:   `"files": [{"path": "/a", "append": [{"source": "data:,two%0A"}, {"source": "data:,ne%0A"}]}]`,
		want: "/a 0644 0:0 file\n\tone\n\ttwo\n\tne\n",
	}, {
		name: "appended to a last line without its end",
		root: map[string]string{"/a": "one"},
		in:   `"files": [{"path": "/a", "append": [{"source": "data:,e"}]}]`,
		want: "/a 0644 0:0 file\n\tone\n\te\n\t\\ no newline at the end\n",
	}, {
		name: "appended to nothing",
		in:   `"files": [{"path": "/a", "append": [{"source": "data:,x%0A"}]}]`,
		want: "/a 0644 0:0 file\n\tx\n",
	}, {
		name:       "a directory, and one that is there keeps what isn't said",
		root:       map[string]string{"/d/f": "x\n"},
		in:         `"directories": [{"path": "/d", "user": {"name": "web"}}, {"path": "/e", "mode": 1023}]`,
		want:       "/d 0755 33:0 directory\n/e 1777 0:0 directory\n",
		onlyOwners: true,
	}, {
		name: "a directory replaces a file",
		root: map[string]string{"/d": "x\n"},
		in:   `"directories": [{"path": "/d", "overwrite": true}], "files": [{"path": "/d/f"}]`,
		want: "/d 0755 0:0 directory\n/d/f 0644 0:0 file\n",
	}, {
		name: "links, and a hard one of a file that the config makes deeper",
		root: map[string]string{"/old": "->/nowhere", "/there": "->b/../c"},
		in: `"files": [{"path": "/x/y/z"}], "links": [{"path": "/l", "target": "../up", "user": {"name": "web"}}, {"path": "/h", "hard": true, "target": "/x/y/z"},
			{"path": "/old", "overwrite": true, "target": "/new"}, {"path": "/there", "target": "c"}]`,
		want: "/h 0644 0:0 file\n/l link 33:0 -> ../up\n/old link 0:0 -> /new\n/x 0755 0:0 directory\n/x/y 0755 0:0 directory\n/x/y/z 0644 0:0 same file as /h\n",
	}, {
		name: "absolute links stay inside of the root, and so do dots",
		root: map[string]string{"/var/real/": "", "/abs": "->/var/real", "/dots": "->../../../../var/real", "/chain": "->/abs/../../var"},
		in:   `"files": [{"path": "/abs/a"}, {"path": "/dots/b"}, {"path": "/chain/real/c"}]`,
		want: "/var/real/a 0644 0:0 file\n/var/real/b 0644 0:0 file\n/var/real/c 0644 0:0 file\n",
	}, {
		name: "a link to what isn't there yet",
		root: map[string]string{"/data": "->/mnt/data"},
		in:   `"files": [{"path": "/data/a"}]`,
		want: "/mnt 0755 0:0 directory\n/mnt/data 0755 0:0 directory\n/mnt/data/a 0644 0:0 file\n",
	}, {
		name: "overwrite of a directory that has what the config puts there",
		root: map[string]string{"/d/f": "x\n", "/d/g/h": ""},
		in:   `"directories": [{"path": "/d", "overwrite": true}], "files": [{"path": "/d/f", "contents": {"source": "data:,x%0A"}}, {"path": "/d/g/h"}]`,
	}, {
		name: "what an earlier run left is removed",
		root: map[string]string{"/srv/" + tempPrefix + "0123": "half", "/srv/a": ""},
		in:   `"files": [{"path": "/srv/a"}]`,
		want: "/srv/" + tempPrefix + "0123 gone\n",
	}} {
		t.Run(c.name, func(t *testing.T) {
			if c.onlyOwners && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			root := image(t, with(c.root))
			before, in := treeOf(t, root), ignition(t, `"storage": {`+c.in+`}`)
			a := applier(t, Options{Root: root})
			if _, err := a.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			after := treeOf(t, root)
			if got, want := changed(before, after), withoutOwners(c.want); got != want {
				t.Errorf("it became\n%s\nnot\n%s", got, want)
			}
			again, err := a.Apply(t.Context(), in)
			if err != nil || again.Changed() || changed(after, treeOf(t, root)) != "" {
				t.Errorf("a second time changed %v (%v)\n%s", again.Changes, err, changed(after, treeOf(t, root)))
			}
		})
	}
}

// What is refused, with a word that the error has; nothing is changed, though
// something else in the config could be.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		root map[string]string
		odd  func(root string) error
		in   string
		want string
	}{
		{"a disk", nil, nil, `"storage": {"disks": [{"device": "/dev/sda"}]}`, "storage.disks: partitioning /dev/sda"},
		{"raid", nil, nil, `"storage": {"raid": [{"name": "md0", "level": "raid1", "devices": ["/dev/sda", "/dev/sdb"]}]}`, "storage.raid: making md0"},
		{"luks", nil, nil, `"storage": {"luks": [{"name": "l", "device": "/dev/sda"}]}`, "storage.luks: encrypting l"},
		{"a filesystem", nil, nil, `"storage": {"filesystems": [{"device": "/dev/sda", "format": "ext4"}]}`, "storage.filesystems: making a filesystem on /dev/sda"},
		{"kernel arguments", nil, nil, `"kernelArguments": {"shouldExist": ["quiet"], "shouldNotExist": ["nosmt"]}`, "kernelArguments: nosmt"},
		{"a file where a directory is", map[string]string{"/d/x": ""}, nil, `"storage": {"files": [{"path": "/d", "overwrite": true, "contents": {"source": "data:,"}}]}`, "/d is a directory"},
		{"a file where a FIFO is", nil, func(r string) error { return syscall.Mkfifo(r+"/p", 0o600) }, `"storage": {"files": [{"path": "/p", "overwrite": true, "contents": {"source": "data:,"}}]}`, "/p is a FIFO"},
		{"appending to a FIFO", nil, func(r string) error { return syscall.Mkfifo(r+"/p", 0o600) }, `"storage": {"files": [{"path": "/p", "append": [{"source": "data:,x"}]}]}`, "/p is a FIFO"},
		{"a link where a FIFO is", nil, func(r string) error { return syscall.Mkfifo(r+"/p", 0o600) }, `"storage": {"links": [{"path": "/p", "overwrite": true, "target": "x"}]}`, "/p is a FIFO"},
		{"below a file", map[string]string{"/f": "x"}, nil, `"storage": {"files": [{"path": "/f/g/h"}]}`, "/f is a file, so that nothing can be below it"},
		{"below a FIFO", nil, func(r string) error { return syscall.Mkfifo(r+"/p", 0o600) }, `"storage": {"files": [{"path": "/p/x"}]}`, "/p is a FIFO, so that nothing"},
		{"links in a circle", map[string]string{"/a": "->/b", "/b": "->a"}, nil, `"storage": {"files": [{"path": "/a/x"}]}`, "go in a circle"},
		{"a link to itself", map[string]string{"/a": "->a/a/a"}, nil, `"storage": {"files": [{"path": "/a/x"}]}`, "go in a circle"},
		{"/proc", nil, nil, `"storage": {"files": [{"path": "/proc/sys/kernel/x"}]}`, "below /proc"},
		{"/sys by a link", map[string]string{"/s": "->../../sys"}, nil, `"storage": {"files": [{"path": "/s/x"}]}`, "/s/x (which is /sys/x) is below /sys"},
		{"/dev", nil, nil, `"storage": {"links": [{"path": "/dev/x", "target": "null"}]}`, "below /dev"},
		{"another content without overwrite", map[string]string{"/a": "old"}, nil, `"storage": {"files": [{"path": "/a", "contents": {"source": "data:,new"}}]}`, "/a is there with another content, and overwrite is false"},
		{"a link without overwrite", map[string]string{"/a": "->b"}, nil, `"storage": {"files": [{"path": "/a", "contents": {"source": "data:,new"}}]}`, "/a is a symbolic link to b, and overwrite is false"},
		{"another link", map[string]string{"/a": "->b"}, nil, `"storage": {"links": [{"path": "/a", "target": "c"}]}`, "/a links to b, and overwrite is false"},
		{"a link over a file", map[string]string{"/a": "x"}, nil, `"storage": {"links": [{"path": "/a", "target": "c"}]}`, "/a is a file, and overwrite is false"},
		{"a hard link of nothing", nil, nil, `"storage": {"links": [{"path": "/a", "target": "/c", "hard": true}]}`, "its target /c is missing"},
		{"a hard link of a directory", nil, nil, `"storage": {"links": [{"path": "/a", "target": "/etc", "hard": true}]}`, "its target /etc is a directory"},
		{"a hard link over another file", map[string]string{"/a": "x", "/c": "y"}, nil, `"storage": {"links": [{"path": "/a", "target": "/c", "hard": true}]}`, "overwrite is false"},
		{"a directory over a file", map[string]string{"/a": "x"}, nil, `"storage": {"directories": [{"path": "/a"}]}`, "/a is a file, and overwrite is false"},
		{"overwrite of a directory with more in it", map[string]string{"/d/x": ""}, nil, `"storage": {"directories": [{"path": "/d", "overwrite": true}]}`, "would delete /d/x"},
		{"two paths of one place", map[string]string{"/l": "->/srv"}, nil, `"storage": {"files": [{"path": "/srv/a"}, {"path": "/l/a"}]}`, "/srv/a and /l/a are one place"},
		{"an unknown user", nil, nil, `"storage": {"files": [{"path": "/a", "user": {"name": "nobody-here"}}]}`, "no user nobody-here"},
		{"an unknown group", nil, nil, `"storage": {"files": [{"path": "/a", "group": {"name": "nobody-here"}}]}`, "no group nobody-here"},
		{"accounts that can't be read", nil, func(r string) error {
			return errors.Join(os.RemoveAll(r+"/etc/passwd"), syscall.Mkfifo(r+"/etc/passwd", 0o600))
		},
			`"storage": {"files": [{"path": "/a", "user": {"name": "root"}}]}`, "/etc/passwd is a FIFO"},
		{"a wrong hash", nil, nil, `"storage": {"files": [{"path": "/a", "contents": {"source": "data:,x", "verification": {"hash": "sha256-2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}}]}`, "but the config wants sha256-2cf2"},
		{"what isn't gzip", nil, nil, `"storage": {"files": [{"path": "/a", "contents": {"compression": "gzip", "source": "data:,hello"}}]}`, "it isn't gzip"},
		{"s3", nil, nil, `"storage": {"files": [{"path": "/a", "contents": {"source": "s3://bucket/x"}}]}`, "s3: URLs are fetched only by Ignition"},
		{"tftp", nil, nil, `"storage": {"files": [{"path": "/a", "contents": {"source": "tftp://host/x"}}]}`, "tftp: URLs are fetched only by Ignition"},
		{"a name of ours", nil, nil, `"storage": {"files": [{"path": "/` + tempPrefix + `1"}]}`, "names that begin with"},
		{"a long name", nil, nil, `"storage": {"files": [{"path": "/` + strings.Repeat("x", 256) + `"}]}`, "longer than 255"},
		{"a NUL byte", nil, nil, `"storage": {"files": [{"path": "/a\u0000b"}]}`, "NUL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := image(t, with(c.root))
			if c.odd != nil {
				if err := c.odd(root); err != nil {
					t.Fatal(err)
				}
			}
			before := treeOf(t, root)
			in := ignition(t, c.in)
			more := ignition(t, `"storage": {"files": [{"path": "/possible"}]}`)
			in.Config.Storage.Files = append(in.Config.Storage.Files, more.Config.Storage.Files...)
			a := applier(t, Options{Root: root})
			if _, err := a.Plan(t.Context(), in); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("planned with %v, not %q", err, c.want)
			}
			if _, err := a.Apply(t.Context(), in); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("applied with %v, not %q", err, c.want)
			}
			if diff := changed(before, treeOf(t, root)); diff != "" {
				t.Errorf("it changed\n%s", diff)
			}
		})
	}
}

// What is read-only is refused before anything is changed; if it has already what
// the config wants, that is fine.
func TestReadOnlyUsr(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	root := image(t, with(map[string]string{"/usr/share/a": "here\n"}))
	usr := root + "/usr"
	for _, flags := range []uintptr{syscall.MS_BIND, syscall.MS_BIND | syscall.MS_REMOUNT | syscall.MS_RDONLY} {
		if err := syscall.Mount(usr, usr, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(usr, 0); err != nil {
			t.Error(err)
		}
	})
	a := applier(t, Options{Root: root})
	_, err := a.Apply(t.Context(), ignition(t, `"storage": {"files": [{"path": "/new"}, {"path": "/usr/share/b/c"}]}`))
	if err == nil || !strings.Contains(err.Error(), "/usr/share/b/c: /usr/share is read-only") {
		t.Errorf("it says %v", err)
	}
	if _, err := os.Lstat(root + "/new"); err == nil {
		t.Error("it changed something")
	}
	in := ignition(t, `"storage": {"files": [{"path": "/usr/share/a", "contents": {"source": "data:,here%0A"}}]}`)
	if report, err := a.Apply(t.Context(), in); err != nil || report.Changed() {
		t.Errorf("what is there already: %v, %v", report.Changes, err)
	}
}
