package replace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/peers"
)

func peer(n int) string { return fmt.Sprintf("http://10.0.0.%d:2380", n) }

// view is a cluster of that many members as the first one sees it, whose data is
// lost; so many of the others are well.
func view(size, well int) View {
	v := View{Service: "etcd-member.service", Us: []string{peer(1)}, DataDir: "/data", Health: map[uint64]error{}, Running: map[uint64]bool{}}
	for n := 1; n <= size; n++ {
		v.Members = append(v.Members, peers.Member{ID: uint64(n), Name: fmt.Sprint("n", n), PeerURLs: []string{peer(n)}, ClientURLs: []string{"x"}})
		if n > 1 && n <= well+1 {
			v.Running[uint64(n)] = true
		} else {
			v.Health[uint64(n)] = errors.New("silent")
		}
	}
	return v
}

// Whether a member may be replaced, by how many there are and are well.
func TestQuorum(t *testing.T) {
	for size := 1; size <= 7; size++ {
		for well := range size {
			_, err := Make(view(size, well))
			// With the dead one, the others must be most; two never are.
			if may := well >= size/2+1; may != (err == nil) {
				t.Errorf("%d of %d are well: %v", well, size, err)
			}
			if err != nil && !strings.Contains(err.Error(), "Disaster") {
				t.Errorf("%d of %d: it doesn't say what to do: %v", well, size, err)
			}
		}
	}
}

func TestMake(t *testing.T) {
	note := &member.Note{Phase: member.PhaseLearner, MemberID: 1}
	for _, tc := range []struct {
		name   string
		change func(*View)
		want   string // the steps, or the error
	}{
		{"its former self", func(*View) {}, "take member 1 (n1, http://10.0.0.1:2380) out|add this host (http://10.0.0.1:2380)|restart etcd-member.service|wait"},
		{"by name", func(v *View) { v.Us = []string{peer(9)}; v.Target, v.Running[3] = "n3", false; v.Health[1] = nil }, "take member 3|add this host (http://10.0.0.9:2380)|restart|wait"},
		{"one more", func(v *View) { v.Us, v.Add, v.Health[1] = []string{peer(9)}, true, nil }, "add this host (http://10.0.0.9:2380)|restart|wait"},
		{"by ID", func(v *View) { v.Us = []string{peer(9)}; v.Target, v.Running[3] = "3", false; v.Health[1] = nil }, "take member 3|add|restart|wait"},
		{"cut off when it was out", func(v *View) { v.Us, v.Removed = []string{peer(9)}, 8 }, "add this host|restart|wait"},
		{"cut off when it was noted", func(v *View) { v.Note, v.Members[0].Learner, v.Members[0].Name = note, true, "" }, "restart|wait"},
		{"cut off when etcd ran", func(v *View) { v.Note, v.Members[0].Learner, v.HasData = note, true, true }, "wait"},
		{"cut off before it was noted", func(v *View) { v.Members[0].Learner, v.Members[0].Name = true, "" }, "take member 1|add|restart|wait"},
		{"a learner that started and lost its data", func(v *View) { v.Note, v.Members[0].Learner = note, true }, "take member 1|add|restart|wait"},
		{"data", func(v *View) { v.HasData = true }, "nothing to replace"},
		{"another one's data", func(v *View) { v.HasData, v.Us = true, []string{peer(9)} }, "doesn't have (any more)"},
		{"it runs", func(v *View) { v.Running[1] = true }, "only one that is lost"},
		{"nobody's URL", func(v *View) { v.Us = []string{peer(9)} }, "--member NAME"},
		{"no such member", func(v *View) { v.Us, v.Target = []string{peer(9)}, "n7" }, `no member "n7"; it has 1 (n1`},
		{"another one's place with its own", func(v *View) { v.Target = "n2" }, "it can take no other's place"},
		{"another learner", func(v *View) {
			v.Members = append(v.Members, peers.Member{ID: 7, PeerURLs: []string{peer(7)}, Learner: true})
		}, "one at a time"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := view(3, 2)
			tc.change(&v)
			plan, err := Make(v)
			steps := plan.Steps(v)
			if err != nil {
				steps = []string{err.Error()}
			}
			want := strings.Split(tc.want, "|")
			if len(steps) != len(want) {
				t.Fatalf("%q", steps)
			}
			for i, part := range want {
				if !strings.Contains(steps[i], part) {
					t.Errorf("%q does not have %q", steps[i], part)
				}
			}
		})
	}
}

func TestParseEnvironment(t *testing.T) {
	got := parseEnvironment("# a comment\n; another\nETCD_NAME=n1\n ETCD_DATA_DIR=\"/a b\"\nX='y'\nnothing\nEMPTY=\n")
	want := []string{"ETCD_NAME=n1", "ETCD_DATA_DIR=/a b", "X=y", "EMPTY="}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}

func TestExpand(t *testing.T) {
	environ := []string{"NAME=n1", "MORE=--snapshot-count 100", "EMPTY="}
	got := expand([]string{"--name=${NAME}", "--data-dir", "/data/${NAME}.etcd", "$MORE", "$EMPTY", "--x=$NAME", "${UNSET}"}, environ)
	want := []string{"--name=n1", "--data-dir", "/data/n1.etcd", "--snapshot-count", "100", "--x=$NAME", ""}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
