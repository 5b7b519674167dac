// Package token is one cluster that is being formed, as a discovery service knows
// it: how many members it wants, and who has joined, in which order. It is pure:
// no I/O, no clock, no logging. A Token is a value; what changes it gives a new
// one, to be stored before anybody hears of it.
package token

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"
)

// ID names a token: 32 hexadecimal digits, the last part of a discovery URL.
// Whoever knows it may join, so it is not to be guessed.
type ID string

const idBytes = 16

// NewID makes an ID of random bytes.
func NewID(random io.Reader) (ID, error) {
	b := make([]byte, idBytes)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("random bytes for a token: %w", err)
	}
	return ID(hex.EncodeToString(b)), nil
}

// ParseID takes what looks like an ID.
func ParseID(s string) (ID, bool) {
	if len(s) != 2*idBytes {
		return "", false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return ID(s), true
}

// The size of a cluster. etcd is slow beyond seven members and hardly ever has
// more than nine; hosts beyond the size become proxies.
const (
	MinSize     = 1
	MaxSize     = 31
	DefaultSize = 3
)

// Token is a cluster that is being formed.
type Token struct {
	ID      ID        `json:"id"`
	Size    int       `json:"size"`
	Created time.Time `json:"created"`
	// Members are in the order in which they joined: never more than Size, and
	// never changed. Hosts that saw them start etcd with them.
	Members []Member `json:"members,omitempty"`
}

// Member is who has joined.
type Member struct {
	ID    MemberID `json:"id"`
	Value string   `json:"value"` // name=URL[,name=URL], as it was sent
}

// New begins a token.
func New(id ID, size int, now time.Time) (Token, error) {
	if size < MinSize || size > MaxSize {
		return Token{}, refuse(BadValue, "size=%d: a cluster has from %d to %d members; 3 or 5 are usual", size, MinSize, MaxSize)
	}
	return Token{ID: id, Size: size, Created: now}, nil
}

// Index counts what has happened to the token: 1 when it was made, one more with
// each member. It never is 0, which etcd's clients take for "from now on".
func (t Token) Index() uint64 { return uint64(len(t.Members)) + 1 }

// IndexOf is when the i-th member joined.
func (t Token) IndexOf(i int) uint64 { return uint64(i) + 2 }

// Complete reports whether all members have joined.
func (t Token) Complete() bool { return len(t.Members) >= t.Size }

// Missing is how many members have yet to join.
func (t Token) Missing() int { return t.Size - len(t.Members) }

// Find gives a member and when it joined.
func (t Token) Find(id MemberID) (m Member, index uint64, ok bool) {
	for i, m := range t.Members {
		if m.ID == id {
			return m, t.IndexOf(i), true
		}
	}
	return Member{}, 0, false
}

// Since gives the first member that joined at index or later.
func (t Token) Since(index uint64) (m Member, at uint64, ok bool) {
	for i, m := range t.Members {
		if at := t.IndexOf(i); at >= index {
			return m, at, true
		}
	}
	return Member{}, 0, false
}

// Join adds a member. It refuses what would break the whole cluster once it
// starts: a name or an address that another member has. Joining is for good: the
// other hosts may have read of it already, and must all start with the same
// members. So nothing takes a member away, and nothing changes one.
func (t Token) Join(id MemberID, value string) (Token, error) {
	if m, _, there := t.Find(id); there {
		return t, refuse(Exists, "member %s has joined as %s", id, m.Value)
	}
	peer, err := ParsePeer(value)
	if err != nil {
		return t, refuse(BadValue, "%v", err)
	}
	if t.Complete() {
		return t, refuse(Full, "%d of %d members have joined: this host can only be a proxy, or a new cluster's member with a new URL", len(t.Members), t.Size)
	}
	for _, m := range t.Members {
		other, err := ParsePeer(m.Value)
		if err != nil {
			continue // was taken by an earlier, laxer version; its members say so
		}
		if other.Name == peer.Name {
			remedy := "give each host a name of its own (ETCD_NAME; etcd's default name is the same everywhere)"
			if _, hex := ParseID(peer.Name); hex { // etcd2.service has %m
				remedy = "as a machine id it must be one host's alone, so none may be in an image: on this host, rm /etc/machine-id, systemd-machine-id-setup, and reboot"
			}
			return t, refuse(NameTaken, "the name %s is member %s's (%s): %s", peer.Name, m.ID, m.Value, remedy)
		}
		for _, u := range peer.URLs {
			if slices.Contains(other.URLs, u) {
				return t, refuse(AddressTaken, "the peer URL %s is member %s's (%s): give each host its own address (ETCD_INITIAL_ADVERTISE_PEER_URLS)", u, m.ID, m.Value)
			}
		}
	}
	t.Members = append(slices.Clip(t.Members), Member{ID: id, Value: value})
	return t, nil
}

// Lifetime is how long tokens are kept, from when they were made.
type Lifetime struct {
	Unfinished time.Duration // while members are missing
	// Complete is longer: hosts that come later ask who the members are, to be
	// their proxies.
	Complete time.Duration
}

// Expires is when the token will be forgotten.
func (t Token) Expires(l Lifetime) time.Time {
	if t.Complete() {
		return t.Created.Add(l.Complete)
	}
	return t.Created.Add(l.Unfinished)
}
