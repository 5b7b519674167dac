package proxy

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/fleetd/peers"
)

func members(letters string) (out []peers.Member) {
	for _, l := range letters {
		out = append(out, peers.Member{ID: uint64(l), Name: string(l), PeerURLs: []string{string(l)}})
	}
	return out
}

// A member is forgotten only when most members say that it is none.
func TestMerge(t *testing.T) {
	for _, tc := range []struct {
		name, known string
		answers     map[string]string // who says what; "": silence
		want        string
	}{
		{"all agree", "abc", map[string]string{"a": "abc", "b": "abc", "c": "abc"}, "abc"},
		{"one was replaced", "abc", map[string]string{"a": "abd", "b": "abd", "c": ""}, "abd"},
		{"nobody answers", "abc", map[string]string{"a": "", "b": "", "c": ""}, "abc"},
		{"only one that was cut off", "bcd", map[string]string{"a": "abc"}, "abcd"},
		{"one against two", "abc", map[string]string{"a": "abc", "b": "bcd", "c": "bcd"}, "bcd"},
		{"one of two", "ab", map[string]string{"a": "a", "b": ""}, "a"},
		{"one that is none any more", "abc", map[string]string{"x": "abc", "a": "abd"}, "abcd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var answers []heard
			for from, said := range tc.answers {
				a := heard{from: from, cluster: "1", members: members(said)}
				if said == "" {
					a.err = errors.New("silent")
				}
				answers = append(answers, a)
			}
			got, _ := Cluster{ID: "1", Members: members(tc.known)}.merge(answers)
			names := ""
			for _, m := range got.Members {
				names += m.Name
			}
			if names != tc.want {
				t.Errorf("%s", names)
			}
		})
	}
}

// What etcd 2's proxy kept is taken; what says nothing is refused, with the remedy.
func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "proxy")
	if c, err := Load(dir); err != nil || len(c.PeerURLs) > 0 {
		t.Error(c, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{`{"PeerURLs":["http://10.0.0.1:2380"]}`: "", `{}`: "names no peer URL", "": "begin anew", `{"PeerURLs"`: "begin anew"} {
		if err := os.WriteFile(file(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(dir)
		if says == "" && (err != nil || c.PeerURLs[0] != "http://10.0.0.1:2380") || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v %v", text, c, err)
		}
	}
}

// A proxy never goes to itself: a member that its host was may still be listed.
func TestOwnAddresses(t *testing.T) {
	own := ownAddresses([]url.URL{{Scheme: "http", Host: "0.0.0.0:2379"}, {Scheme: "http", Host: "10.0.0.9:4001"}})
	for host, want := range map[string]bool{"127.0.0.1:2379": true, "localhost:2379": true, "10.0.0.9:4001": true, "192.0.2.1:2379": false, "127.0.0.1:4001": false} {
		if got := own(url.URL{Scheme: "http", Host: host}); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
