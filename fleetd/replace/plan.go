// Package replace makes this host a member of an etcd cluster in the place of one
// that is lost: this host's own former self, whose data is gone, or another's. It
// takes the old member out, adds this host as a learner, which has no vote, has
// fleetd etcd start as that, and waits until it is in sync and a full member.
//
// Whatever moment it is cut off at, it can be run again. It never touches a
// cluster in which too few members are well, nor one whose member runs.
package replace

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/peers"
)

// View is all that a plan is made of.
type View struct {
	Members []peers.Member
	Health  map[uint64]error // of each member; nil is well
	// Running are members that something was heard of, well or not.
	Running map[uint64]bool

	Service Service  // what runs etcd here
	Us      []string // this host's peer URLs
	HasData bool     // etcd has run here
	DataDir string
	Note    *member.Note
	Target  string // a member's name or ID; "": this host's former self
	Add     bool   // if it has none: as one more member
	// Removed is the member that an earlier run, which was cut off, was to remove.
	Removed uint64
}

// Plan is what is to be done.
type Plan struct {
	Remove *peers.Member // nil: nothing, an earlier run has done that
	Add    bool          // this host, as a learner
	Start  bool          // the service
	Wait   uint64        // for the member that this host already is
}

// Make says what to do, or why nothing may be done.
func Make(v View) (Plan, error) {
	ours := slices.IndexFunc(v.Members, func(m peers.Member) bool { return overlap(m.PeerURLs, v.Us) })
	learner := v.Note != nil && v.Note.Phase == member.PhaseLearner && ours >= 0 && v.Members[ours].ID == v.Note.MemberID
	switch {
	case v.HasData && learner:
		return Plan{Wait: v.Note.MemberID}, nil
	case v.HasData && ours >= 0:
		return Plan{}, fmt.Errorf("this host has data in %s, as member %s: there is nothing to replace. If that data is damaged, move it away and run this again: systemctl stop %[3]s; mv %[1]s %[1]s.bad", v.DataDir, v.Members[ours], v.Service)
	case v.HasData:
		return Plan{}, fmt.Errorf("this host has data in %s, of a member that the cluster doesn't have (any more): move it away and run this again: systemctl stop %[2]s; mv %[1]s %[1]s.bad", v.DataDir, v.Service)
	case learner && v.Members[ours].Learner && v.Members[ours].Name == "":
		return Plan{Start: true, Wait: v.Note.MemberID}, nil
	}
	old, err := v.old(ours)
	if err != nil {
		return Plan{}, err
	}
	if old != nil && v.Running[old.ID] {
		return Plan{}, fmt.Errorf("member %s runs: only one that is lost may be replaced. If it shall go, stop it first (systemctl stop etcd2, on its host)", old)
	}
	if err := v.check(old); err != nil {
		return Plan{}, err
	}
	return Plan{Remove: old, Add: true, Start: true}, nil
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(u string) bool { return slices.Contains(b, u) })
}

// old is the member whose place this host takes; nil if an earlier run took it out.
func (v View) old(ours int) (*peers.Member, error) {
	named := -1
	if v.Target != "" {
		named = slices.IndexFunc(v.Members, func(m peers.Member) bool {
			return m.Name == v.Target || strconv.FormatUint(m.ID, 16) == strings.TrimPrefix(v.Target, "0x")
		})
	}
	switch {
	case named >= 0 && ours >= 0 && named != ours:
		return nil, fmt.Errorf("this host's own peer URL (%s) is member %s's: it can take no other's place than that", strings.Join(v.Us, ","), v.Members[ours])
	case named >= 0:
		return &v.Members[named], nil
	case ours >= 0:
		return &v.Members[ours], nil
	case v.Removed != 0 && !slices.ContainsFunc(v.Members, func(m peers.Member) bool { return m.ID == v.Removed }):
		return nil, nil
	case v.Target != "":
		return nil, fmt.Errorf("the cluster has no member %q; it has %s", v.Target, list(v.Members))
	}
	if v.Add {
		return nil, nil
	}
	return nil, fmt.Errorf("no member has this host's peer URL (%s): say in whose place it shall be, with --member NAME, or that it is to be one more, with --add; the cluster has %s", strings.Join(v.Us, ","), list(v.Members))
}

func list(members []peers.Member) string {
	out := make([]string, len(members))
	for i, m := range members {
		out[i] = m.String()
	}
	return strings.Join(out, ", ")
}

// restore is what is left when there is no quorum.
const restore = "Start those that can be. If too many are lost for good, begin anew from what one of them has: docs/etcd.md, Disaster"

// check sees whether enough members are well to take one out and another one in.
// To change its members, a cluster needs most of those that it has; with one that
// is dead taken out, what was enough before is enough afterwards.
func (v View) check(old *peers.Member) error {
	voters, well := 0, 0
	var ill []error
	for _, m := range v.Members {
		if m.Learner {
			if old == nil || m.ID != old.ID {
				return fmt.Errorf("member %s is a learner, and etcd takes one at a time: wait until it is a full member, or take it out (etcdctl member remove %x)", m, m.ID)
			}
			continue
		}
		voters++
		if old != nil && m.ID == old.ID {
			continue
		}
		if err := v.Health[m.ID]; err != nil {
			ill = append(ill, fmt.Errorf("member %s: %w", m, err))
		} else {
			well++
		}
	}
	quorum := voters/2 + 1
	switch {
	case well >= quorum:
		return nil
	case voters == 1:
		return fmt.Errorf("the cluster has one member, and that is lost: there is nobody to get the data from. %s", restore)
	case voters == 2 && old != nil && !old.Learner:
		return fmt.Errorf("the cluster has two members, and to take one out both would have to agree: it cannot be done. %s", restore)
	}
	return fmt.Errorf("of %d members, %d are well, and %d must be to change anything: %w. %s", voters, well, quorum, errors.Join(ill...), restore)
}

// Steps are the plan in words.
func (p Plan) Steps(v View) []string {
	var out []string
	if p.Remove != nil {
		out = append(out, fmt.Sprintf("take member %s out of the cluster", p.Remove))
	}
	if p.Add {
		out = append(out, fmt.Sprintf("add this host (%s) as a learner, a member without a vote", strings.Join(v.Us, ",")))
	}
	if p.Start {
		out = append(out, fmt.Sprintf("restart %s, which starts as that member, with no data in %s", v.Service, v.DataDir))
	}
	return append(out, "wait until it has caught up, and make it a full member")
}
