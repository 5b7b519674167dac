package machine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ParseID checks a whole machine-id: 32 lower-case hexadecimal digits, not all
// of them zero.
func ParseID(s string) (ID, error) {
	switch {
	case len(s) != 32:
		return "", fmt.Errorf("machine id %q: has %d characters instead of 32", s, len(s))
	case strings.Trim(s, "0123456789abcdef") != "":
		return "", fmt.Errorf("machine id %q: want lower-case hexadecimal digits only", s)
	case strings.Trim(s, "0") == "":
		return "", fmt.Errorf("machine id %q: all zero, which is no id", s)
	}
	return ID(s), nil
}

const idRemedy = "run systemd-machine-id-setup"

// readID reads the host's machine-id. A file that says "uninitialized" is what
// an image has before its first boot.
func readID(path string) (ID, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("this host has no machine id (%s is missing): %s", path, idRemedy)
	case err != nil:
		return "", fmt.Errorf("this host's machine id: %w", err)
	}
	s := strings.TrimSpace(string(text))
	if s == "" || s == "uninitialized" {
		return "", fmt.Errorf("this host has no machine id yet (%s is %s): %s", path, cmp.Or(s, "empty"), idRemedy)
	}
	id, err := ParseID(s)
	if err != nil {
		return "", fmt.Errorf("%s: %w: remove the file and %s", path, err, idRemedy)
	}
	return id, nil
}

// readBootID reads the kernel's id of this boot: a UUID with dashes.
func readBootID(path string) (BootID, error) {
	s, err := readLine(path)
	if err != nil {
		return "", fmt.Errorf("this host's boot id: %w", err)
	}
	if len(s) != 36 || strings.Trim(s, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("this host's boot id: %s has %q instead of a UUID", path, s)
	}
	return BootID(s), nil
}

// readLine reads a file of one line.
func readLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// Boot is the id of this boot.
func Boot() (BootID, error) { return readBootID("/proc/sys/kernel/random/boot_id") }
