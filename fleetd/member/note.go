package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fleet-project/fleet/fleetd/durable"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// Phase is how far a host has come on its way to be a member.
type Phase string

// Phases, in their order. Once etcd has written its log there is no note any more.
const (
	// PhaseRegistered: it has registered with the URL, or was about to.
	PhaseRegistered Phase = "registered"
	// PhaseComplete: it knows all members; etcd is to be started.
	PhaseComplete Phase = "complete"
	// PhaseLearner: it was added to a cluster that runs; etcd is to be started.
	PhaseLearner Phase = "learner"
)

// Note is what a host that has not run etcd yet remembers of joining. It is what
// tells a host that was cut off while it joined from one that has lost its data.
type Note struct {
	Phase          Phase  `json:"phase"`
	URL            string `json:"url,omitempty"` // the discovery URL
	InitialCluster string `json:"initialCluster,omitempty"`
	Token          string `json:"token,omitempty"`
	Peer           string `json:"peer,omitempty"`     // as what it registered: name=URL,...
	MemberID       uint64 `json:"memberID,omitempty"` // a learner's
}

// Disk is what is on a host's disk.
type Disk struct {
	Log   bool  // etcd has run: its write-ahead log is there
	Empty bool  // ... but there is nothing in it, and the note says why: see begun
	Proxy bool  // it is a proxy
	Note  *Note // it is on its way to be a member
}

// ProxyDir is where a proxy remembers the members. etcd 2 did so there, too.
func (s Settings) ProxyDir() string { return filepath.Join(s.DataDir, "proxy") }

func (s Settings) notePath() string { return filepath.Join(s.DataDir, "fleet", "join.json") }

// HasLog reports whether etcd has run here.
func (s Settings) HasLog() bool { return wal.Exist(s.WALDir) }

// ReadDisk looks at what is there.
func (s Settings) ReadDisk() (Disk, error) {
	d := Disk{Log: s.HasLog()}
	switch entries, err := os.ReadDir(s.ProxyDir()); {
	case err == nil:
		d.Proxy = len(entries) > 0
	case !errors.Is(err, fs.ErrNotExist):
		return d, err
	}
	text, err := os.ReadFile(s.notePath())
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	d.Note = new(Note)
	if err := json.Unmarshal(text, d.Note); err != nil {
		return d, &Refusal{fmt.Errorf("%s, which says how far this host has joined its cluster, is damaged (%w): "+
			"if etcd never ran here, remove it, and give this host a peer URL of its own that nobody has registered", s.notePath(), err)}
	}
	if d.Log && d.Note.Phase == PhaseComplete {
		begun, err := s.begun() // on an error, etcd will say what is wrong with its log
		d.Empty = !begun && err == nil
		d.Log = !d.Empty
	}
	return d, nil
}

// begun reports whether this member has promised anything to the others. etcd
// makes its log first and puts the new cluster's members into it later; if it is
// killed between, it finds a log without members the next time, and waits for ever.
// Such a log may be thrown away: etcd sends nothing that isn't in its log yet.
func (s Settings) begun() (bool, error) {
	w, err := wal.OpenForRead(zap.NewNop(), s.WALDir, new(walpb.Snapshot))
	if err != nil {
		return false, err
	}
	defer w.Close()
	_, state, _, err := w.ReadAll()
	return state.GetCommit() > 0 || state.GetVote() > 0, err
}

// clear throws such a log away, and what was left of an earlier member whose log is
// lost: etcd would go on from that and end with a panic. The log goes first.
func (s Settings) clear() error {
	return errors.Join(os.RemoveAll(s.WALDir), os.RemoveAll(s.memberDir()))
}

func (s Settings) memberDir() string { return filepath.Join(s.DataDir, "member") }

// checkRest refuses a host that is about to be a new member, while there is data
// without a log: it may be of use, so it isn't for us to throw away.
func (s Settings) checkRest() error {
	rest, err := os.ReadDir(filepath.Join(s.memberDir(), "snap"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(rest) == 0 {
		return nil
	}
	return refuse("%s is what is left of a member's data, without its log (%s): etcd would start with what an earlier cluster had. "+
		"Is a disk not mounted? If it is of no use any more: mv %[1]s %[3]s.old", s.memberDir(), s.WALDir, s.DataDir)
}

// WriteNote writes the note down, for good when it returns.
func (s Settings) WriteNote(n Note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return durable.Write(s.notePath(), append(text, '\n'))
}

// RemoveNote forgets: etcd's own log is there.
func (s Settings) RemoveNote() error {
	dir := filepath.Dir(s.notePath())
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return durable.SyncDir(s.DataDir)
}
