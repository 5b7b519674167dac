package member

import (
	"errors"
	"fmt"
)

// Role is what a host is to do now.
type Role int

// Roles.
const (
	// RunEtcd: start etcd as the settings say; it has its data, or knows its
	// cluster.
	RunEtcd Role = iota
	// RunNoted: start etcd with the members that are in the note.
	RunNoted
	// RunProxy: be a proxy.
	RunProxy
	// RunJoin: ask the discovery URL.
	RunJoin
	// RunAlone: start etcd as a cluster of its own. Nobody has told of another.
	RunAlone
)

// Decide says what a host is to do. What is on its disk comes before what it is
// told: a host that is a member, or a proxy, stays that.
func Decide(s Settings, d Disk) (Role, error) {
	note := d.Note
	if note != nil && note.Phase != PhaseLearner && s.Discovery.URL != note.URL && s.Discovery.URL != "" {
		note = nil // it is to join another cluster; in the first it never was
	}
	switch {
	case s.ConfigFile != "":
		if s.Discovery.URL != "" {
			return 0, refuse("both ETCD_DISCOVERY and ETCD_CONFIG_FILE (%s) are set: etcd takes nothing but the file then, and would form a cluster of its own", s.ConfigFile)
		}
		return RunEtcd, checkConfigFile(s.ConfigFile)
	case d.Log && d.Proxy:
		return 0, refuse("%s has both a member's data (%s) and a proxy's (%s): etcd would not start. If this host is a member, remove %[3]s; if it is a proxy, move the rest away",
			s.DataDir, s.WALDir, s.ProxyDir())
	case d.Log:
		return RunEtcd, nil
	case note != nil && note.Phase != PhaseRegistered:
		return RunNoted, nil
	case d.Proxy:
		return RunProxy, nil
	case s.Discovery.URL != "" && s.Cluster.Static():
		return 0, refuse("ETCD_DISCOVERY is set, and so is %s: only one can say who the members are; take the other away", s.Cluster.source())
	case s.Discovery.URL != "" && s.Cluster.Existing:
		return 0, refuse("ETCD_DISCOVERY is set, and ETCD_INITIAL_CLUSTER_STATE=existing: by a URL a new cluster forms; take one of them away")
	case s.Proxy == ProxyOn || s.Proxy == ProxyReadonly:
		if s.Discovery.URL == "" && !s.Cluster.Static() {
			return 0, refuse("ETCD_PROXY=%s, but nothing says who the members are: set ETCD_DISCOVERY, ETCD_INITIAL_CLUSTER or ETCD_DISCOVERY_SRV", s.Proxy)
		}
		return RunProxy, nil
	case s.Discovery.URL != "":
		return RunJoin, nil
	case s.Cluster.Static():
		return RunEtcd, nil
	case note != nil:
		return 0, refuse("this host has begun to join by %s, which ETCD_DISCOVERY no longer names: set it again; or, for a cluster of its own, remove %s", note.URL, s.notePath())
	}
	return RunAlone, nil
}

// source names what says who the members are.
func (c Cluster) source() string {
	switch {
	case c.Initial != "":
		return "ETCD_INITIAL_CLUSTER"
	case c.SRV != "":
		return "ETCD_DISCOVERY_SRV"
	}
	return "ETCD_DISCOVERY_ENDPOINTS"
}

func refuse(format string, args ...any) error { return &Refusal{fmt.Errorf(format, args...)} }

// ExitCode is the exit status that an error of this package asks for; 1 if none.
func ExitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}
