package platform

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const (
	inotifyLimit = "/proc/sys/fs/inotify/max_user_instances"
	// enoughInotify is for hundreds of hosts: each takes some ten instances, and
	// the kernel's default, 128 for all that root runs, is meant for one host.
	enoughInotify = 8192
)

// raiseLimits lets more hosts run on this machine than the kernel's default does:
// beyond it, PID 1 of the next host ends with "too many open files". It lasts until
// the machine boots anew.
func raiseLimits(out io.Writer) {
	text, err := os.ReadFile(inotifyLimit)
	if err != nil {
		return // a kernel without inotify: what needs it says so
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || n >= enoughInotify {
		return
	}
	if err := os.WriteFile(inotifyLimit, []byte(strconv.Itoa(enoughInotify)), 0); err != nil {
		fmt.Fprintf(out, "fs.inotify.max_user_instances stays at %s, which is enough for about ten hosts: %v\n", strings.TrimSpace(string(text)), err)
		return
	}
	fmt.Fprintf(out, "fs.inotify.max_user_instances is %d now (it was %s), for many hosts to run\n", enoughInotify, strings.TrimSpace(string(text)))
}
