package token_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/token"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const id = token.ID("0123456789abcdef0123456789abcdef")

func TestJoin(t *testing.T) {
	began, err := token.New(id, 2, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	one, err := began.Join("a", "n1=http://10.0.0.1:2380,n1=http://10.0.1.1:2380")
	if err != nil {
		t.Fatal(err)
	}
	two, err := one.Join("b", "n2=http://10.0.0.2:2380")
	if err != nil {
		t.Fatal(err)
	}
	imaged, err := began.Join("a", string(id)+"=http://10.0.0.1:2380")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		to     token.Token
		member token.MemberID
		value  string
		kind   token.Kind
		says   string
	}{
		{"again", one, "a", "n1=http://10.0.0.1:2380", token.Exists, "joined as n1="},
		{"again when complete", two, "a", "n1=http://10.0.0.1:2380", token.Exists, "joined as n1="},
		{"full", two, "c", "n3=http://10.0.0.3:2380", token.Full, "2 of 2"},
		{"a name twice", one, "b", "n1=http://10.0.0.2:2380", token.NameTaken, "ETCD_NAME"},
		{"a machine id twice", imaged, "b", string(id) + "=http://10.0.0.2:2380", token.NameTaken, "/etc/machine-id"},
		{"an address twice", one, "b", "n2=http://10.0.1.1:2380", token.AddressTaken, "ADVERTISE_PEER_URLS"},
		{"no value", one, "b", "", token.BadValue, "NAME=URL"},
		{"no name", one, "b", "=http://10.0.0.2:2380", token.BadValue, "NAME=URL"},
		{"two names", one, "b", "x=http://10.0.0.2:2380,y=http://10.0.0.3:2380", token.BadValue, "two names"},
		{"no port", one, "b", "x=http://10.0.0.2", token.BadValue, "a port"},
		{"no address", one, "b", "x=http://:2380", token.BadValue, "an address"},
		{"any address", one, "b", "x=http://0.0.0.0:2380", token.BadValue, "cannot reach"},
		{"a path", one, "b", "x=http://10.0.0.2:2380/", token.BadValue, "nothing may follow"},
		{"another scheme", one, "b", "x=ftp://10.0.0.2:2380", token.BadValue, "http://"},
		{"a bad port", one, "b", "x=http://10.0.0.2:99999", token.BadValue, "not a port"},
		{"a name with a space", one, "b", "a b=http://10.0.0.2:2380", token.BadValue, "' '"},
		{"too long", one, "b", strings.Repeat("x", 5000), token.BadValue, "longer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after, err := tc.to.Join(tc.member, tc.value)
			var refusal *token.Refusal
			if !errors.As(err, &refusal) || refusal.Kind != tc.kind || !strings.Contains(refusal.Why, tc.says) {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(tc.to, after); diff != "" {
				t.Error("a refusal changed it", diff)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for size, good := range map[int]bool{-1: false, 0: false, 1: true, 3: true, 31: true, 32: false} {
		if _, err := token.New(id, size, time.Time{}); (err == nil) != good {
			t.Errorf("%d: %v", size, err)
		}
	}
}

func TestIDs(t *testing.T) {
	made, err := token.NewID(bytes.NewReader(bytes.Repeat([]byte{0xab}, 16)))
	if err != nil || made != token.ID(strings.Repeat("ab", 16)) {
		t.Errorf("%q, %v", made, err)
	}
	if _, err := token.NewID(bytes.NewReader(nil)); err == nil {
		t.Error("no random bytes, and no error")
	}
	for text, good := range map[string]bool{string(id): true, strings.ToUpper(string(id)): false, "": false, string(id)[1:]: false, string(id) + "0": false} {
		if _, ok := token.ParseID(text); ok != good {
			t.Errorf("%q: %v", text, ok)
		}
	}
	for text, good := range map[string]bool{"b6b1c8f5e3d3a1b2": true, "node-1.x_y": true, "": false, "_config": false, "..": false, "a/b": false, strings.Repeat("a", 65): false} {
		if _, ok := token.ParseMemberID(text); ok != good {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

// In any order of its URLs a member has one id, and that without leading zeros, as
// etcd writes it (functional: TestOldEtcdFormsByOurURL compares it with etcd's).
func TestIDIsEtcds(t *testing.T) {
	got := token.IDOf([]string{"http://10.0.0.12:2380", "http://10.0.0.11:2380"}, "http://discovery/"+string(id))
	if again := token.IDOf([]string{"http://10.0.0.11:2380", "http://10.0.0.12:2380"}, "http://discovery/"+string(id)); got != again || got != "b74c55635103906" {
		t.Errorf("%s, %s", got, again)
	}
}

func TestExpiry(t *testing.T) {
	life := token.Lifetime{Unfinished: time.Hour, Complete: 3 * time.Hour}
	began, _ := token.New(id, 1, time.Unix(0, 0))
	full, _ := began.Join("a", "n1=http://10.0.0.1:2380")
	if got := began.Expires(life).Unix(); got != 3600 {
		t.Error(got)
	}
	if got := full.Expires(life).Unix(); got != 3*3600 {
		t.Error(got)
	}
}

// However hosts come: never more than size, in the order of their coming, each
// for good, and a watcher that begins at any index sees each that follows, once.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		tok, _ := token.New(id, size, time.Time{})
		var joined []token.Member
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			n := rapid.IntRange(1, 8).Draw(t, "host")
			name := rapid.IntRange(1, 8).Draw(t, "name")
			m := token.Member{ID: token.MemberID(fmt.Sprint("h", n)), Value: fmt.Sprintf("n%d=http://10.0.0.%d:2380", name, n)}
			before := tok
			after, err := tok.Join(m.ID, m.Value)
			if err == nil {
				joined = append(joined, m)
			}
			if before.Index()+1 != after.Index() && err == nil || err != nil && before.Index() != after.Index() {
				t.Fatalf("index %d, then %d, %v", before.Index(), after.Index(), err)
			}
			tok = after
		}
		if len(tok.Members) > size || !cmp.Equal(tok.Members, joined) {
			t.Fatalf("size %d, joined %v, has %v", size, joined, tok.Members)
		}
		from := rapid.IntRange(1, size+3).Draw(t, "from")
		var seen []token.Member
		for index := uint64(from); ; {
			m, at, ok := tok.Since(index)
			if !ok {
				break
			}
			seen, index = append(seen, m), at+1
		}
		want := joined[min(len(joined), max(0, from-2)):]
		if len(seen) != len(want) || len(want) > 0 && !cmp.Equal(seen, want) {
			t.Fatalf("from %d: saw %v, want %v", from, seen, want)
		}
	})
}
