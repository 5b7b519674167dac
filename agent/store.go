package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Records is what an agent leaves for the next one on this host. It outlives
// fleetd, and is gone after a reboot.
type Records interface {
	// Load gives all records of this boot. One that can't be read is complained
	// of, and counts as none.
	Load(complain func(error)) ([]Record, error)
	Save(r *Record) error
	Remove(name unit.Name) error

	// Cluster is the one that the host belongs to, zero if it has joined none.
	Cluster() (record.Cluster, error)
	SaveCluster(c *record.Cluster) error

	// Renewal is when the lease was renewed, on the clock of the host's uptime,
	// which nobody sets.
	Renewal() (sinceBoot time.Duration, known bool)
	SaveRenewal(sinceBoot time.Duration) error
}

// store keeps a record per unit in a directory, and beside the directory which
// cluster the host belongs to, and when its lease was renewed. It is meant for a file system that a reboot
// wipes, and it never syncs: what it must survive is fleetd's death.
type store struct {
	dir  string
	boot machine.BootID
	ttl  time.Duration // of the lease
}

const recordSuffix = ".json"

// maxFileName is how long Linux lets a file's name be, in bytes.
const maxFileName = 255

func (s store) path(name unit.Name) string {
	base := string(name)
	if len(base)+len(recordSuffix) > maxFileName {
		base = fmt.Sprintf("%x", sha256.Sum256([]byte(base)))
	}
	return filepath.Join(s.dir, base+recordSuffix)
}

// Load drops the records of other boots.
func (s store) Load(complain func(error)) ([]Record, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what an earlier fleetd did: %w", err)
	}
	var out []Record
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), recordSuffix) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		r, err := readJSON[Record](path)
		switch {
		case err != nil:
			complain(err)
		case r.Boot != "" && s.boot != "" && r.Boot != s.boot:
			if err := os.Remove(path); err != nil {
				complain(err)
			}
		case s.path(r.Name) != path:
			complain(fmt.Errorf("%s: is a record of %q, which it isn't named after: ignored", path, r.Name))
		default:
			out = append(out, r)
		}
	}
	return out, nil
}

func (s store) Save(r *Record) error { return writeJSON(s.path(r.Name), r) }

func (s store) Remove(name unit.Name) error {
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s store) clusterPath() string {
	return filepath.Join(filepath.Dir(filepath.Clean(s.dir)), "cluster")
}

// KnownCluster gives the cluster that a host belongs to by what its agent, with
// its records in dir, has written down; the zero value if it has joined none
// since it booted.
func KnownCluster(dir string) (record.Cluster, error) { return store{dir: dir}.Cluster() }

func (s store) Cluster() (record.Cluster, error) {
	c, err := readJSON[record.Cluster](s.clusterPath())
	if errors.Is(err, fs.ErrNotExist) {
		return record.Cluster{}, nil
	}
	return c, err
}

func (s store) SaveCluster(c *record.Cluster) error { return writeJSON(s.clusterPath(), c) }

func (s store) leasePath() string { return filepath.Join(filepath.Dir(filepath.Clean(s.dir)), "lease") }

// lease is what is written down of a lease's renewal.
type lease struct {
	Boot    machine.BootID `json:"boot"`
	Renewed time.Duration  `json:"renewed"` // nanoseconds since boot
	TTL     time.Duration  `json:"ttl"`
}

// Renewal tells of a lease with another TTL, before agent_ttl was changed, when it
// would have been renewed to end then with ours.
func (s store) Renewal() (sinceBoot time.Duration, known bool) {
	l, err := readJSON[lease](s.leasePath())
	return l.Renewed + l.TTL - s.ttl, err == nil && l.Boot == s.boot
}

func (s store) SaveRenewal(sinceBoot time.Duration) error {
	return writeJSON(s.leasePath(), lease{Boot: s.boot, Renewed: sinceBoot, TTL: s.ttl})
}

func readJSON[T any](path string) (T, error) {
	var v T
	text, err := os.ReadFile(path)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// writeJSON replaces a file whole: fleetd may be killed at any instruction. Where
// the disk is full it writes over what is there: for a unit to be stopped there is
// space as long as there was space to start it.
func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	err = replaceFile(path, text)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if overwrite(path, text) == nil {
			return nil
		}
	}
	return err
}

func replaceFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-")
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			f, err = os.CreateTemp(dir, ".new-")
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// block is what every file takes up at least, on any file system that holds
// records.
const block = 4096

// overwrite writes a text over a file's, in one step that is done or not, and
// takes no more space than the file has. What was longer becomes blanks at the
// end, which mean nothing in JSON.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	was, err := f.Stat()
	if err != nil {
		return err
	}
	if was.Size() == 0 || len(text) > block || was.Size() > block {
		return fmt.Errorf("%s: can't be written over in one step", path)
	}
	text = append(text, bytes.Repeat([]byte(" "), max(0, int(was.Size())-len(text)))...)
	_, err = f.WriteAt(text, 0)
	return err
}
