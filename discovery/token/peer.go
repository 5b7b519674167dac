package token

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MemberID names a member: etcd's own id of it, in hexadecimal without leading
// zeros.
type MemberID string

const maxMemberID = 64

// ParseMemberID takes what can be a member's id. etcd's are hexadecimal; etcd
// 0.4's were names.
func ParseMemberID(s string) (MemberID, bool) {
	if s == "" || len(s) > maxMemberID || s[0] == '_' || s[0] == '.' {
		return "", false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("._-", rune(c)) {
			return "", false
		}
	}
	return MemberID(s), true
}

// IDOf is the id that etcd gives a member: of its peer URLs and the cluster's
// token, which is the discovery URL. A host that comes again has the same.
func IDOf(peerURLs []string, discoveryURL string) MemberID {
	sum := sha1.Sum([]byte(strings.Join(slices.Sorted(slices.Values(peerURLs)), "") + discoveryURL))
	return MemberID(strconv.FormatUint(binary.BigEndian.Uint64(sum[:8]), 16))
}

// Peer is what a member tells of itself.
type Peer struct {
	Name string
	URLs []string
}

// maxValue bounds what is stored of a member.
const maxValue = 4096

// ParsePeer reads name=URL[,name=URL], all of one name.
func ParsePeer(value string) (Peer, error) {
	var p Peer
	if len(value) > maxValue {
		return p, fmt.Errorf("a member's name and URLs are longer than %d bytes", maxValue)
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return p, fmt.Errorf("%q has bytes in it that can't be shown", value) // on terminals, in logs
	}
	for part := range strings.SplitSeq(value, ",") {
		name, text, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return Peer{}, fmt.Errorf("%q is not NAME=URL[,NAME=URL], such as node1=http://10.0.0.11:2380", value)
		}
		if p.Name != "" && p.Name != name {
			return Peer{}, fmt.Errorf("%q has two names, %s and %s: a member has one", value, p.Name, name)
		}
		if err := CheckName(name); err != nil {
			return Peer{}, err
		}
		if err := CheckPeerURL(text); err != nil {
			return Peer{}, err
		}
		p.Name = name
		p.URLs = append(p.URLs, text)
	}
	return p, nil
}

// Value writes a peer as ParsePeer reads it.
func (p Peer) Value() string {
	var parts []string
	for _, u := range slices.Sorted(slices.Values(p.URLs)) {
		parts = append(parts, p.Name+"="+u)
	}
	return strings.Join(parts, ",")
}

// CheckName refuses a name that cannot stand in etcd's initial-cluster.
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("a member needs a name (ETCD_NAME)")
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || r == 0xfffd || strings.ContainsRune(",=&%+#?\"", r) {
			return fmt.Errorf("the name %q has %q in it: use letters, digits, dots and dashes", name, r)
		}
	}
	return nil
}

// CheckPeerURL refuses what etcd would refuse as a peer's URL.
func CheckPeerURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("peer URL %q: %w", text, err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("peer URL %q: it must begin with http:// or https://", text)
	case err != nil || port == "" || host == "":
		return fmt.Errorf("peer URL %q: it needs an address and a port, such as http://10.0.0.11:2380", text)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("peer URL %q: nothing may follow the port, nor stand before the address", text)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("peer URL %q: the others cannot reach %s, give this host's own address", text, host)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("peer URL %q: %s is not a port", text, port)
	}
	return nil
}
