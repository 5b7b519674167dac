package apply

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A user's own link isn't followed: it would send root's writes anywhere.
func TestUsersLinksAreNotFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to make another user's link")
	}
	root := image(t, with(map[string]string{"/home/eve/data": "->/etc", "/home/eve/.ssh": "->/root/.ssh", "/root/.ssh/": ""}))
	for _, l := range []string{"data", ".ssh"} {
		if err := os.Lchown(filepath.Join(root, "home/eve", l), 1001, 1001); err != nil {
			t.Fatal(err)
		}
	}
	addTo(t, root, map[string]string{"/etc/passwd": "root:x:0:0::/root:/bin/sh\neve:x:1001:1001::/home/eve:/bin/sh\n"})
	before := treeOf(t, root)
	for _, in := range []string{
		`"storage": {"files": [{"path": "/home/eve/data/cron.d/x"}]}`,
		`"passwd": {"users": [{"name": "eve", "sshAuthorizedKeys": ["ssh-ed25519 AAAA eve"]}]}`,
	} {
		_, err := applier(t, Options{Root: root}).Apply(t.Context(), ignition(t, in))
		if err == nil || !strings.Contains(err.Error(), "made by the user with id 1001") {
			t.Errorf("%s: %v", in, err)
		}
	}
	if diff := changed(before, treeOf(t, root)); diff != "" {
		t.Errorf("it changed\n%s", diff)
	}
}

// A link that appears after the plan was made isn't followed either.
func TestLinkThatAppearsMeanwhile(t *testing.T) {
	root := image(t, with(map[string]string{"/srv/": "", "/elsewhere/": ""}))
	swapped := false
	a := applier(t, Options{Root: root, hook: func(string) {
		if swapped {
			return
		}
		swapped = true
		for _, err := range []error{os.Rename(root+"/srv/d", root+"/srv/old"), os.Symlink("/elsewhere", root+"/srv/d")} {
			if err != nil {
				t.Error(err)
			}
		}
	}})
	addTo(t, root, map[string]string{"/srv/d/": ""})
	in := ignition(t, `"storage": {"files": [{"path": "/a"}, {"path": "/srv/d/x"}]}`)
	_, err := a.Apply(t.Context(), in)
	if err == nil || !strings.Contains(err.Error(), "/srv/d/x") {
		t.Fatalf("%v", err)
	}
	for _, says := range []string{"done before:\n  create /a", "not done: nothing", "run it again"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the error doesn't say %q: %v", says, err)
		}
	}
	if names, err := os.ReadDir(root + "/elsewhere"); len(names) > 0 || err != nil {
		t.Errorf("it wrote through the link: %v %v", names, err)
	}
}

// Whoever owns a directory may rename what root makes there, and put a link to
// another's file in its place: that file keeps its mode and owner.
func TestSwappedWhileItIsMade(t *testing.T) {
	for _, c := range []struct{ name, in, at string }{
		{"a directory, before chmod", `"directories": [{"path": "/home/eve/d", "mode": 511, "user": {"id": 1001}}]`, "chmod"},
		{"a directory, before chown", `"directories": [{"path": "/home/eve/d", "mode": 511, "user": {"id": 1001}}]`, "chown"},
		{"a file, before chmod", `"files": [{"path": "/home/eve/f", "mode": 511, "user": {"id": 1001}}]`, "chmod"},
		{"a file, before chown", `"files": [{"path": "/home/eve/f", "mode": 511, "user": {"id": 1001}}]`, "chown"},
		{"a link, before chown", `"links": [{"path": "/home/eve/l", "target": "/x", "user": {"id": 1001}}]`, "chown"},
	} {
		for by, link := range map[string]func(from, to string) error{"symbolic link": os.Symlink, "hard link": os.Link} {
			t.Run(c.name+", "+by, func(t *testing.T) {
				if c.at == "chown" && os.Geteuid() != 0 {
					t.Skip("only root can give files away")
				}
				root := image(t, with(map[string]string{"/home/eve/": "", "/etc/secret": "secret"}))
				if err := os.Chmod(root+"/etc/secret", 0o600); err != nil {
					t.Fatal(err)
				}
				secret := treeOf(t, root)["/etc/secret"]
				swapped := false
				a := applier(t, Options{Root: root, hook: func(op string) {
					made, err := filepath.Glob(root + "/home/eve/" + tempPrefix + "*")
					if err != nil || swapped || op != c.at || len(made) != 1 {
						return
					}
					swapped = true
					for _, err := range []error{os.Rename(made[0], root+"/home/eve/away"), link(root+"/etc/secret", made[0])} {
						if err != nil {
							t.Error(err)
						}
					}
				}})
				_, _ = a.Apply(t.Context(), ignition(t, `"storage": {`+c.in+`}`)) // that it fails is as well as that it doesn't
				if !swapped {
					t.Fatal("nothing was swapped")
				}
				if now := treeOf(t, root)["/etc/secret"]; now != secret {
					t.Errorf("another's file is %s, not %s", now, secret)
				}
			})
		}
	}
}

// A name as an earlier run would have left it keeps no config from being applied,
// whoever took it.
func TestWhatLooksLikeALeftover(t *testing.T) {
	root := image(t, with(map[string]string{"/home/eve/" + tempPrefix + "mine/file": "", "/home/eve/" + tempPrefix + "old": "", "/home/eve/" + tempPrefix + "dir/": ""}))
	taken := false
	a := applier(t, Options{Root: root, hook: func(op string) {
		if op == "unlink" && !taken {
			taken = true
			addTo(t, root, map[string]string{"/home/eve/" + tempPrefix + "dir/file": ""})
		}
	}})
	in := ignition(t, `"storage": {"files": [{"path": "/home/eve/f"}]}`)
	if _, err := a.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if !taken {
		t.Error("nothing was removed")
	}
	names, err := filepath.Glob(root + "/home/eve/" + tempPrefix + "*")
	if err != nil || len(names) != 2 {
		t.Errorf("left are %v, %v", names, err)
	}
	if report, err := a.Apply(t.Context(), in); err != nil || report.Changed() {
		t.Errorf("again: %v, %v", report.Changes, err)
	}
}

// Two runs at once: the later one is told.
func TestOnlyOneRun(t *testing.T) {
	root := image(t, with(nil))
	in := ignition(t, `"storage": {"files": [{"path": "/a"}]}`)
	var other error
	a := applier(t, Options{Root: root, hook: func(string) {
		if other == nil {
			_, other = applier(t, Options{Root: root}).Apply(context.Background(), in)
		}
	}})
	if _, err := a.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if other == nil || !strings.Contains(other.Error(), "another run") {
		t.Errorf("the other run ended with %v", other)
	}
}

// While another program changes accounts, a run waits; whoever ends it need not.
func TestLockedAccounts(t *testing.T) {
	image := image(t, map[string]string{"/etc/": ""})
	var held [2]int
	for i := range held {
		r, err := openRoot(image)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		ctx, cancel := context.WithCancel(t.Context())
		if i > 0 {
			cancel()
		}
		defer cancel()
		if held[i], err = r.lockAccounts(ctx); i > 0 {
			if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "another program is changing accounts") {
				t.Errorf("locked, it says %v", err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Close(held[0]); err != nil {
		t.Error(err)
	}
}
