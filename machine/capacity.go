package machine

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// readCapacity measures what the host, or the container that it is, has: the
// CPUs that this process may run on, and the memory that the kernel has or, if
// that is less, that the root cgroup may use. Only the root's limit counts:
// one on fleetd's own cgroup doesn't bind the units beside it.
func readCapacity(path func(string) string) (Capacity, error) {
	c := Capacity{CPUs: runtime.NumCPU()}
	text, err := os.ReadFile(path("/proc/meminfo"))
	if err != nil {
		return c, fmt.Errorf("this host's memory: %w", err)
	}
	if c.MemoryBytes, err = memTotal(string(text)); err != nil {
		return c, fmt.Errorf("this host's memory: %s: %w", path("/proc/meminfo"), err)
	}
	// cgroup v2, then v1; a real host's root cgroup has no such file.
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path(name))
		if err != nil {
			continue
		}
		if limit, ok := memLimit(string(text)); ok && limit < c.MemoryBytes {
			c.MemoryBytes = limit
		}
		break
	}
	return c, nil
}

// memTotal finds the size of memory, in bytes, in the text of /proc/meminfo.
func memTotal(text string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		kib, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		n, err := strconv.ParseInt(strings.TrimSpace(kib), 10, 64)
		if !ok || err != nil || n <= 0 || n > 1<<52 {
			return 0, fmt.Errorf("can't read %q", strings.TrimSpace(line))
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("has no MemTotal")
}

// memLimit reads a cgroup's limit in bytes; false for none ("max").
func memLimit(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil && n > 0
}
