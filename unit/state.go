package unit

import "fmt"

// Target is what the user wants of a unit, and what a machine is told to do
// with it.
type Target string

// The targets, in the order in which a unit climbs them. TargetNone and
// TargetDestroyed are instructions, never a user's desired state: fleet takes
// nothing away without an instruction that is written (a key that is merely
// missing stops nothing).
const (
	// TargetInactive: known to the cluster, placed on no machine.
	TargetInactive Target = "inactive"
	// TargetLoaded: placed on a machine and known to its systemd, not started.
	TargetLoaded Target = "loaded"
	// TargetLaunched: placed on a machine and started.
	TargetLaunched Target = "launched"
	// TargetNone tells one machine to stop and forget the unit.
	TargetNone Target = "none"
	// TargetDestroyed tells the cluster to withdraw the unit everywhere and
	// then to forget it.
	TargetDestroyed Target = "destroyed"
)

// ParseTarget accepts the three desired states a user may ask for: inactive,
// loaded and launched, in these very words.
func ParseTarget(s string) (Target, error) {
	switch t := Target(s); t {
	case TargetInactive, TargetLoaded, TargetLaunched:
		return t, nil
	}
	return "", fmt.Errorf("desired state %q: want %s, %s or %s", s, TargetInactive, TargetLoaded, TargetLaunched)
}

// Wanted reports whether the target asks for a place on a machine.
func (t Target) Wanted() bool { return t == TargetLoaded || t == TargetLaunched }

// ActiveStates are the words that systemd has for SystemdState.Active.
func ActiveStates() []string {
	return []string{"active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance", "refreshing"}
}

// SystemdState is systemd's own account of a unit, in systemd's words,
// unchanged (see systemctl(1)).
type SystemdState struct {
	Load   string `json:"load"`             // loaded, not-found, error, masked, …
	Active string `json:"active"`           // active, inactive, failed, activating, deactivating, reloading
	Sub    string `json:"sub"`              // running, exited, dead, start-pre, auto-restart, …
	Result string `json:"result,omitempty"` // Service's Result when not success: exit-code, signal, timeout, …
}
