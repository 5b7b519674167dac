// Package durable keeps small files of state, such that a crash or a power cut
// leaves each as it was before or as it is now. What is in them is their owners'
// business.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces a file that only root reads, and makes the directories on its way.
// All of that is on the disk when Write returns.
func Write(path string, text []byte) error { return write(path, text, filepath.Dir(path)) }

// WriteAlone is Write for a directory in which anything at all means something:
// what isn't the file yet is made beside that directory.
func WriteAlone(path string, text []byte) error {
	return write(path, text, filepath.Dir(filepath.Dir(path)))
}

func write(path string, text []byte, beside string) error {
	changed, err := makeDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(beside, "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // what a failure leaves
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	for _, dir := range append(changed, filepath.Dir(path)) {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory, and tells which others got a new one by that.
func makeDir(dir string) (changed []string, err error) {
	for up := dir; ; up = filepath.Dir(up) {
		if _, err := os.Stat(up); !errors.Is(err, fs.ErrNotExist) {
			break // what it is otherwise, making it says
		}
		changed = append(changed, filepath.Dir(up))
	}
	return changed, os.MkdirAll(dir, 0o700)
}

// SyncDir has what was made, renamed and removed in a directory be on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
