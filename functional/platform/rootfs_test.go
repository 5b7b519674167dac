package platform

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeMmdebstrap puts a script in the place of mmdebstrap, and the cache
// elsewhere. The root to be made is its last argument but one.
func fakeMmdebstrap(t *testing.T, script string) (cache string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building a root filesystem takes root: it happens in namespaces of its own")
	}
	bin, cache := t.TempDir(), t.TempDir()
	const lead = "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\nroot=$1\nmkdir -p $root/etc\necho run >>$FLEET_CACHE/runs\n"
	if err := os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte(lead+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("FLEET_CACHE", cache)
	return cache
}

func entries(t *testing.T, pattern string) int {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestRootFSIsBuiltOnce(t *testing.T) {
	cache := fakeMmdebstrap(t, "sleep 0.2\necho built >$root/etc/motd\n")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var out bytes.Buffer
			dir, err := RootFS(context.Background(), &out)
			if err != nil {
				t.Error(err)
				return
			}
			if data, err := os.ReadFile(filepath.Join(dir, "etc/motd")); err != nil || string(data) != "built\n" {
				t.Errorf("root filesystem: %q, %v", data, err)
			}
		})
	}
	wg.Wait()
	if n := entries(t, cache+"/rootfs-*"); n != 1 {
		t.Errorf("%d root filesystems", n)
	}
	if runs, _ := os.ReadFile(filepath.Join(cache, "runs")); string(runs) != "run\n" {
		t.Errorf("mmdebstrap ran: %q, want once", runs)
	}
	if n := entries(t, cache+"/building-*"); n != 0 {
		t.Errorf("%d temporary directories are left", n)
	}
}

func TestFailedBuildLeavesNoRootFS(t *testing.T) {
	cache := fakeMmdebstrap(t, "echo E: no such suite; exit 3\n")
	_, err := RootFS(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(cache, "rootfs.log")) {
		t.Errorf("error %v doesn't name the log", err)
	}
	if log, _ := os.ReadFile(filepath.Join(cache, "rootfs.log")); !strings.Contains(string(log), "no such suite") {
		t.Errorf("the log has %q", log)
	}
	if n := entries(t, cache+"/rootfs-*") + entries(t, cache+"/building-*"); n != 0 {
		t.Errorf("%d directories are left", n)
	}
}

func TestInterruptedBuild(t *testing.T) {
	cache := fakeMmdebstrap(t, "sleep 60\n")
	// What a process killed while it built has left.
	if err := os.MkdirAll(filepath.Join(cache, "building-1/root/etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := RootFS(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if n := entries(t, cache+"/rootfs-*") + entries(t, cache+"/building-*"); n != 0 {
		t.Errorf("%d directories are left", n)
	}
}

func TestMirror(t *testing.T) {
	t.Setenv("FLEET_DEBIAN_MIRROR", "http://mirror.example:3142/")
	if got := rootSources(); !strings.Contains(got, "deb http://mirror.example:3142/debian bookworm main\n") {
		t.Errorf("sources:\n%s", got)
	}
}
