package proxy

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/fleetd/peers"
)

// merge gives what is known after the answers, and what is wrong with those that
// are missing. A member is forgotten only when most of the members agree that it is
// none: one that is cut off from the others still tells of how things were.
func (c Cluster) merge(answers []heard) (Cluster, error) {
	id, trouble := c.ID, troubles(nil)
	for _, a := range answers {
		switch {
		case a.err != nil:
			trouble = append(trouble, fmt.Errorf("%s: %w", a.from, a.err))
		case id == "":
			id = a.cluster
		case a.cluster != id && c.ID == "":
			return c, fmt.Errorf("%s is of etcd cluster %s, and another one of these of cluster %s: name one cluster's members alone", a.from, a.cluster, id)
		case a.cluster != id:
			trouble = append(trouble, fmt.Errorf("%s is of another etcd cluster now (%s, not %s)", a.from, a.cluster, id))
		}
	}
	merged, sure := agreed(answers, id)
	if !sure {
		merged = union(merged, c.Members)
	}
	out := Cluster{ID: id, Members: merged}
	for _, m := range merged {
		out.PeerURLs = append(out.PeerURLs, m.PeerURLs...)
	}
	if !sure { // those that one began with may be members that nobody named yet
		out.PeerURLs = append(out.PeerURLs, c.PeerURLs...)
	}
	slices.Sort(out.PeerURLs)
	out.PeerURLs = slices.Compact(out.PeerURLs)
	return out, trouble.err()
}

// troubles are errors in one line.
type troubles []error

func (t troubles) err() error {
	if len(t) == 0 {
		return nil
	}
	return t
}

// Error gives all of them.
func (t troubles) Error() string {
	text := make([]string, len(t))
	for i, err := range t {
		text[i] = err.Error()
	}
	return strings.Join(text, "; ")
}

// Unwrap is the errors package's.
func (t troubles) Unwrap() []error { return t }

// agreed gives the members that most of them agree on; else all that any of them
// names.
func agreed(answers []heard, id string) (members []peers.Member, sure bool) {
	votes := map[string]map[uint64]bool{}
	for _, a := range answers {
		if a.err != nil || a.cluster != id {
			continue
		}
		these := normal(a.members)
		members = union(members, these)
		who := slices.IndexFunc(these, func(m peers.Member) bool { return !m.Learner && slices.Contains(m.PeerURLs, a.from) })
		if who < 0 {
			continue
		}
		key := fmt.Sprint(these)
		if votes[key] == nil {
			votes[key] = map[uint64]bool{}
		}
		votes[key][these[who].ID] = true
		if len(votes[key]) > voters(these)/2 {
			return these, true
		}
	}
	return members, false
}

// normal is in an order of its own, so that equal answers are equal.
func normal(members []peers.Member) []peers.Member {
	out := slices.Clone(members)
	slices.SortFunc(out, func(a, b peers.Member) int { return cmp.Compare(a.ID, b.ID) })
	for i := range out {
		out[i].PeerURLs = slices.Sorted(slices.Values(out[i].PeerURLs))
		out[i].ClientURLs = slices.Sorted(slices.Values(out[i].ClientURLs))
	}
	return out
}

func voters(members []peers.Member) int {
	n := 0
	for _, m := range members {
		if !m.Learner {
			n++
		}
	}
	return n
}

// union adds to the first what only the second has.
func union(first, second []peers.Member) []peers.Member {
	out := slices.Clone(first)
	for _, m := range second {
		if !slices.ContainsFunc(out, func(o peers.Member) bool { return o.ID == m.ID }) {
			out = append(out, m)
		}
	}
	return normal(out)
}

func (c Cluster) equal(o Cluster) bool { return reflect.DeepEqual(c, o) }

// names are the members', for people.
func (c Cluster) names() string {
	out := make([]string, len(c.Members))
	for i, m := range c.Members {
		out[i] = cmp.Or(m.Name, fmt.Sprintf("%x (not started yet)", m.ID)) + "=" + strings.Join(m.PeerURLs, ",")
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
