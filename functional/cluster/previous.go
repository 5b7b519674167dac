package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// PreviousVersion is what the build of the previous commit calls itself: packagers
// take it for an earlier one than any that the tree can have.
const PreviousVersion = "2.0.0-before"

// keepPrevious is for how long a package of an earlier commit is kept unused.
const keepPrevious = 7 * 24 * time.Hour

// Previous is the .deb of the previous commit: the first parent of the one that is
// checked out. It is built as that commit builds it, once, and kept where costly
// things are (FLEET_CACHE); Go's own cache has most of what it takes.
func Previous(ctx context.Context, out io.Writer) (string, error) {
	commit, err := git(ctx, "rev-parse", "--verify", "--quiet", "HEAD^")
	if err != nil {
		return "", errors.New("the previous commit is not in this clone, and upgrading from it can't be tested without: run git fetch --deepen 1 (in CI, check out two commits or more: fetch-depth: 2)")
	}
	cache := os.Getenv("FLEET_CACHE")
	if cache == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, "fleet")
	}
	dir := filepath.Join(cache, "previous")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	deb := filepath.Join(dir, "fleet_"+commit+".deb")
	if _, err := os.Stat(deb); err == nil {
		now := time.Now()
		return deb, os.Chtimes(deb, now, now)
	}
	forgetOld(dir)
	fmt.Fprintf(out, "building the previous commit, %.12s\n", commit)
	return deb, buildAt(ctx, commit, dir, deb)
}

func git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = Root()
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// forgetOld makes room: of each commit there is a package.
func forgetOld(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, "*")) // the pattern is well-formed
	for _, path := range old {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > keepPrevious {
			os.RemoveAll(path)
		}
	}
}

// buildAt builds a commit's package in a directory of its own, and puts it into its
// place at once.
func buildAt(ctx context.Context, commit, dir, deb string) error {
	work, err := os.MkdirTemp(dir, ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	epoch, err := git(ctx, "log", "-1", "--format=%ct", commit)
	if err != nil {
		return fmt.Errorf("the time of commit %s: %w", commit, err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-ec", `git archive "$1" | tar -x -C "$2"
exec make -C "$2" packages VERSION="$3" COMMIT="$1"`, "sh", commit, work, PreviousVersion)
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, "FLEET_CACHE="+filepath.Dir(dir))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the previous commit %s: %w\n%s", commit, err, said.String())
	}
	made, _ := filepath.Glob(filepath.Join(work, "dist/out/fleet_*.deb")) // the pattern is well-formed
	if len(made) != 1 {
		return fmt.Errorf("building the previous commit %s made %d packages:\n%s", commit, len(made), said.String())
	}
	return os.Rename(made[0], deb)
}
