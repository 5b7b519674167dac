package api

import (
	"slices"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// Unit is a unit file and what is wanted of it.
type Unit struct {
	Name unit.Name `json:"name"`
	// Options is the unit file as assignments, values that go on over lines with
	// their backslashes and line breaks. A client may send them instead
	// of Text; fleet then writes the file.
	Options      []unit.Option `json:"options,omitempty"`
	DesiredState unit.Target   `json:"desiredState,omitempty"`
	CurrentState unit.Target   `json:"currentState,omitempty"`
	// MachineID is where the unit is placed; empty for a global unit.
	MachineID string `json:"machineID,omitempty"`

	// PrimaryIP is that machine's address.
	PrimaryIP string `json:"primaryIP,omitempty"`
	// Text is the unit file's exact text, comments and all. Lists leave it out.
	Text string `json:"text,omitempty"`
	// Hash is the hash of the text.
	Hash unit.Hash `json:"hash,omitempty"`
}

// UnitState is what one machine's systemd says of a unit.
type UnitState struct {
	Name               unit.Name `json:"name"`
	Hash               unit.Hash `json:"hash"`
	MachineID          string    `json:"machineID"`
	SystemdLoadState   string    `json:"systemdLoadState"`
	SystemdActiveState string    `json:"systemdActiveState"`
	SystemdSubState    string    `json:"systemdSubState"`

	PrimaryIP string `json:"primaryIP,omitempty"` // of the machine
	// Result is how the unit's service ended, in systemd's words, unless well.
	Result string `json:"result,omitempty"`
	// Error says why the machine could not do what it was told.
	Error string `json:"error,omitempty"`
	// Log is the end of the unit's log, while it is failed or refused: lines
	// with line breaks between them, none after the last.
	Log string `json:"log,omitempty"`
}

// Machine is a host of the cluster.
type Machine struct {
	ID        string            `json:"id"`
	PrimaryIP string            `json:"primaryIP"`
	Metadata  map[string]string `json:"metadata,omitempty"`

	Hostname string `json:"hostname,omitempty"`
	Version  string `json:"version,omitempty"` // of its fleetd
	// Cordoned: nothing new is placed there.
	Cordoned bool `json:"cordoned,omitempty"`
	// Leaving: it hands its units over before it goes.
	Leaving bool     `json:"leaving,omitempty"`
	Manager *Manager `json:"manager,omitempty"`
}

// Manager says how to reach the systemd that runs fleet's units on a host, from
// that host.
type Manager struct {
	Scope string `json:"scope"` // system, user or private
	// Systemctl and Journalctl are the commands to add arguments to; empty
	// means plain systemctl and journalctl.
	Systemctl  []string `json:"systemctl,omitempty"`
	Journalctl []string `json:"journalctl,omitempty"`
}

// Explanation says where a unit may run and why not elsewhere.
type Explanation struct {
	Unit    unit.Name `json:"unit"`
	Summary string    `json:"summary"`
	// Problem says why nothing can be decided about the unit; empty if all is
	// well.
	Problem string `json:"problem,omitempty"`
	// Placed lists the machines on which the unit is placed.
	Placed []string `json:"placed,omitempty"`
	// Fits: there is a machine that would take it, or may keep it.
	Fits     bool      `json:"fits"`
	Machines []Verdict `json:"machines"`
}

// Verdict says whether a machine would take a unit.
type Verdict struct {
	MachineID string   `json:"machineID"`
	PrimaryIP string   `json:"primaryIP,omitempty"`
	Hostname  string   `json:"hostname,omitempty"`
	Fits      bool     `json:"fits"`
	Placed    bool     `json:"placed,omitempty"` // it is placed here
	Reasons   []string `json:"reasons,omitempty"`
}

// Restarted answers a restart.
type Restarted struct {
	// Restart counts the restarts asked for so far, and the stops of a unit that
	// was launched; of a restart on one machine only, those that concern it. A
	// machine that has restarted the unit says so by this number,
	// or a higher one, in its state (UnitStatus).
	Restart uint64 `json:"restart"`
}

// Event is one line of a watch. One of its fields is set.
type Event struct {
	// Status is how a unit is now: first each unit that was asked for, then
	// each change.
	Status *UnitStatus `json:"status,omitempty"`
	// Heartbeat says that the watch lives, though nothing changed.
	Heartbeat bool `json:"heartbeat,omitempty"`
	// Trouble says why the watch may be behind the truth, such as that etcd
	// does not answer; Recovered that the trouble is over.
	Trouble   string `json:"trouble,omitempty"`
	Recovered bool   `json:"recovered,omitempty"`
}

// EventType says what became of a row of a list that is watched. The names are
// Kubernetes'.
type EventType string

// What becomes of rows.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	// Bookmark has no row. The first one says that the list is complete, later
	// ones that the watch lives.
	Bookmark EventType = "BOOKMARK"
)

// ListEvent is one line of the watch of a list of T: of units, states or
// machines.
type ListEvent[T any] struct {
	Type EventType `json:"type"`
	// Object is the row as it is now; as it was, if it is gone.
	Object *T `json:"object,omitempty"`
	// Trouble, in a Bookmark, says why the list may be behind the truth, such as
	// that etcd does not answer. A Bookmark without it says that it isn't.
	Trouble string `json:"trouble,omitempty"`
}

// UnitStatus is all that the cluster knows of a unit at one moment.
type UnitStatus struct {
	Unit   unit.Name `json:"unit"`
	Exists bool      `json:"exists"`
	// Destroying: it was destroyed, and is being stopped.
	Destroying   bool        `json:"destroying,omitempty"`
	DesiredState unit.Target `json:"desiredState,omitempty"`
	CurrentState unit.Target `json:"currentState,omitempty"`
	Hash         unit.Hash   `json:"hash,omitempty"`
	Global       bool        `json:"global,omitempty"`
	// ServiceType is a service's Type= (simple, oneshot, notify, ...): what
	// "started" means for it. Empty for other units.
	ServiceType string `json:"serviceType,omitempty"`
	Restart     uint64 `json:"restart,omitempty"` // as Restarted has it
	// RestartOn has higher counts, of machines that were to restart it alone.
	RestartOn map[string]uint64 `json:"restartOn,omitempty"`
	// Placements is what machines are told to do with the unit.
	Placements []Placement `json:"placements,omitempty"`
	// States is what machines say of it.
	States []MachineState `json:"states,omitempty"`
	// Explanation is set while the unit is wanted and has no place, or only that
	// on a machine which is away.
	Explanation *Explanation `json:"explanation,omitempty"`

	// Lag is how old the states may be: of a fleet 1.0 server, which is asked now
	// and then. Options is the file of its units, which has no text.
	Lag     time.Duration `json:"-"`
	Options []unit.Option `json:"-"`
}

// RestartCount is the count of restarts that a machine is to speak for.
func (s UnitStatus) RestartCount(machineID string) uint64 {
	return max(s.Restart, s.RestartOn[machineID])
}

// IsOf reports whether the unit's file has this text. Of a fleet 1.0 server's
// unit it tells whether the file means the same.
func (s UnitStatus) IsOf(text []byte) bool {
	if s.Options == nil {
		return s.Hash == unit.HashOf(text)
	}
	f, err := unit.Parse(text)
	return err == nil && slices.EqualFunc(f.Options(), unit.FromOptions(s.Options).Options(), func(a, b unit.Option) bool {
		return a.Section == b.Section && a.Name == b.Name && a.Value == b.Value
	})
}

// Placement is what one machine is told to do with a unit.
type Placement struct {
	MachineID string      `json:"machineID"`
	PrimaryIP string      `json:"primaryIP,omitempty"`
	Target    unit.Target `json:"target"` // loaded, launched, or none: to be taken away
	Hash      unit.Hash   `json:"hash,omitempty"`
	Restart   uint64      `json:"restart,omitempty"`
}

// MachineState is what one machine has carried out, and what its systemd says.
type MachineState struct {
	MachineID string      `json:"machineID"`
	PrimaryIP string      `json:"primaryIP,omitempty"`
	Target    unit.Target `json:"target"` // carried out; none: taken away
	Hash      unit.Hash   `json:"hash,omitempty"`
	Restart   uint64      `json:"restart,omitempty"`
	unit.SystemdState
	Error string `json:"error,omitempty"`
	Log   string `json:"log,omitempty"` // as in UnitState
}

// UnitPage is a page of units.
type UnitPage struct {
	Units []Unit `json:"units"`
	// NextPageToken asks for the page after; it is empty on the last.
	NextPageToken string `json:"nextPageToken,omitempty"`
}

// UnitStatePage is a page of states.
type UnitStatePage struct {
	States        []UnitState `json:"states"`
	NextPageToken string      `json:"nextPageToken,omitempty"`
}

// MachinePage is a page of machines.
type MachinePage struct {
	Machines      []Machine `json:"machines"`
	NextPageToken string    `json:"nextPageToken,omitempty"`
}
