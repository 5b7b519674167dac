package figure

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Where says of what and on what figures come about that are measured now.
func Where() string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("Commit %s, %s: %d × %s, %s of memory, Linux %s, %s.", strings.TrimSpace(string(commit)), time.Now().UTC().Format(time.DateOnly),
		runtime.NumCPU(), field("/proc/cpuinfo", "model name"), memory(), strings.TrimSpace(text("/proc/sys/kernel/osrelease")), runtime.Version())
}

func memory() string {
	kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"))
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

// field is the value of the first line of a file that begins with a name.
func field(path, name string) string {
	for line := range strings.Lines(text(path)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// text is what a file says, and "unknown" where there is none.
func text(path string) string {
	all, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return string(all)
}
