package platform

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArchive(t *testing.T) {
	t.Parallel()
	a := newArchive()
	a.dir("/root/.ssh", 0o700, 0)
	a.add("/etc/x", File{Content: "hi"})
	a.add("/usr/bin/su", File{Mode: 0o755 | os.ModeSetuid, UID: 1, GID: 2})
	a.add("/etc/l", File{Link: "x", Content: "ignored"})
	data, err := a.bytes()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(r)
		got = append(got, fmt.Sprintf("%s %o %d:%d %q %q", h.Name, h.Mode, h.Uid, h.Gid, h.Linkname, content))
	}
	want := []string{
		`root/.ssh/ 700 0:0 "" ""`,
		`etc/x 644 0:0 "" "hi"`,
		`usr/bin/su 4755 1:2 "" ""`,
		`etc/l 644 0:0 "x" ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"", "/", "etc/x", "/etc/../x", "/etc/"} {
		bad := newArchive()
		bad.add(name, File{})
		if _, err := bad.bytes(); err == nil {
			t.Errorf("file name %q was taken", name)
		}
	}
}

func TestOverlayOptions(t *testing.T) {
	t.Parallel()
	got, err := disk{"/d"}.overlay("/rootfs", []string{"/low", "/high"})
	if want := "lowerdir=/high:/low:/rootfs,upperdir=/d/upper,workdir=/d/work"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := (disk{"/d"}).overlay("/rootfs", []string{"/a:b"}); err == nil {
		t.Error("a path was taken that the mount option can't hold")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"n1": true, "a": true, "t-some-test-0a1b2c": true,
		"": false, "-a": false, "a-": false, "A": false, "a/b": false, "..": false, "a b": false,
		strings.Repeat("a", 40): true, strings.Repeat("a", 41): false,
	} {
		if err := checkName("host", name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, test := range []string{"TestX", "TestA/b_c d", "Test" + strings.Repeat("Long", 30), "Test/ü", "x-" + strings.Repeat("y", 22) + "-z"} {
		if err := checkName("platform", testPlatformName(test)); err != nil {
			t.Error(err)
		}
	}
}

func TestFailedDir(t *testing.T) {
	t.Setenv("FLEET_FAILED_DIR", "")
	if got := failedDir("TestA/b c"); !strings.HasSuffix(got, "/functional/failed/TestA_b_c") || strings.Contains(got, "platform") {
		t.Errorf("got %s", got)
	}
	t.Setenv("FLEET_FAILED_DIR", "/elsewhere")
	if got := failedDir("TestA"); got != "/elsewhere/TestA" {
		t.Errorf("got %s", got)
	}
}

func TestCommandError(t *testing.T) {
	t.Parallel()
	_, err := run(t.Context(), "sh", "-c", "echo out; exit 4")
	var failed *CommandError
	if !errors.As(err, &failed) || failed.Code != 4 {
		t.Fatalf("got %v", err)
	}
	if got, want := err.Error(), "sh -c echo out; exit 4: exit status 4: out"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := run(t.Context(), "no-such-command"); !errors.As(err, &failed) || failed.Code != -1 {
		t.Errorf("got %v", err)
	}
	if got := tail("first\nsecond\nthird", 9); got != "… third" {
		t.Errorf("tail: %q", got)
	}
}

func TestStep(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	startStep(&out, "waiting").done(nil)
	startStep(&out, "working").done(errors.New("no"))
	want := "waiting …\nwaiting: done after 0.0 s\nworking …\nworking: failed after 0.0 s\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if got := elapsed(time.Now().Add(-75 * time.Second)); got != "75 s" {
		t.Errorf("elapsed: %q", got)
	}
	var lines []string
	w := &lineWriter{emit: func(line string) { lines = append(lines, line) }}
	for _, part := range []string{"a", "b\nc", "\n\nd"} {
		fmt.Fprint(w, part)
	}
	if diff := cmp.Diff([]string{"ab", "c", ""}, lines); diff != "" {
		t.Error(diff)
	}
}

func TestEventValue(t *testing.T) {
	t.Parallel()
	data := []byte("populated 1\nfrozen 0\n")
	for key, want := range map[string]string{"populated": "1", "frozen": "0", "pop": ""} {
		if got := eventValue(data, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dir", "lock")
	first, err := tryLockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLockFile(path); !errors.Is(err, errLocked) {
		t.Fatalf("locked twice: %v", err)
	}
	first.Close()
	second, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestBadSpecs(t *testing.T) {
	t.Parallel()
	p := ForTest(t)
	if _, err := p.Boot(t.Context(), HostSpec{Name: "twice"}); err != nil {
		t.Fatal(err)
	}
	for want, spec := range map[string]HostSpec{
		"host name":                   {Name: "Bad_Name"},
		"32 hex digits":               {Name: "n1", MachineID: "short"},
		"has a host of that name":     {Name: "twice"},
		"/nowhere is not a directory": {Name: "n1", Layers: []string{"/nowhere"}},
		"clean absolute path":         {Name: "n1", Files: map[string]File{"etc/x": {}}},
		// The console has the reason when a host can't boot.
		"its console says": {Name: "n1", Files: map[string]File{"/usr/lib/systemd/systemd": {Content: "no program", Mode: 0o755}}},
	} {
		_, err := p.Boot(t.Context(), spec)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if n := len(p.Hosts()); n != 1 {
		t.Errorf("%d hosts are left, want 1", n)
	}
}
