package functional

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/fleet-project/fleet/functional/platform"
)

// built is a program of others that tests need, built from a module of ours that
// pins it.
type built struct{ module, name, pkg string }

// buildOnce builds programs, and keeps them where what is costly is, until a
// module or Go changes.
func buildOnce(name string, programs []built) (dir string, err error) {
	key := sha256.New()
	fmt.Fprintln(key, runtime.Version())
	var modules []string
	for _, p := range programs {
		if slices.Contains(modules, p.module) {
			continue
		}
		modules = append(modules, p.module)
		for _, file := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(p.module, file))
			if err != nil {
				return "", err
			}
			key.Write(content)
		}
	}
	cache, err := platform.CacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, fmt.Sprintf("%s-%.6x", name, key.Sum(nil)))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	temp, err := os.MkdirTemp(cache, name+"-new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	for _, p := range programs {
		cmd := exec.Command("go", "build", "-C", p.module, "-trimpath", "-ldflags", "-s -w -X github.com/coreos/fleet/version.Version=v1.0.0",
			"-o", filepath.Join(temp, p.name), p.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s of %s: %w\n%s", p.name, p.module, err, out)
		}
	}
	if err := os.Rename(temp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		if _, other := os.Stat(dir); other != nil { // nobody else was quicker
			return "", err
		}
	}
	return dir, nil
}
