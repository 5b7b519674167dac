package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

func TestRegister(t *testing.T) {
	at := func(s int) time.Time {
		if s < 0 {
			return time.Time{}
		}
		return time.Unix(int64(s), 0)
	}
	type w struct {
		began, acked int
		value        string
	}
	for _, tt := range []struct {
		name   string
		writes []w
		want   []string
	}{
		{"nothing was written", nil, []string{"old"}},
		{"one after the other", []w{{1, 2, "a"}, {3, 4, "b"}}, []string{"b"}},
		{"at once", []w{{1, 4, "a"}, {2, 3, "b"}}, []string{"a", "b"}},
		{"at once, noted the other way around", []w{{2, 3, "b"}, {1, 4, "a"}}, []string{"b", "a"}},
		{"both overtaken", []w{{1, 4, "a"}, {2, 3, "b"}, {5, 6, "c"}}, []string{"c"}},
		{"one overtaken", []w{{1, 6, "a"}, {2, 3, "b"}, {5, 7, "c"}}, []string{"a", "c"}},
		{"unanswered", []w{{1, -1, "a"}}, []string{"old", "a"}},
		{"unanswered may come late", []w{{1, -1, "a"}, {3, 4, "b"}}, []string{"a", "b"}},
		{"noted late, but overtaken", []w{{3, 4, "b"}, {1, 2, "a"}}, []string{"b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r register[string]
			r.reset("old", at(0))
			for _, w := range tt.writes {
				r.note(write[string]{at(w.began), at(w.acked), []string{w.value}})
			}
			if d := cmp.Diff(tt.want, r.possible()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPromises(t *testing.T) {
	text := func(s string) func(unit.Name) []byte { return func(unit.Name) []byte { return []byte(s) } }
	hash := func(s string) unit.Hash { return unit.HashOf([]byte(s)) }
	name := []unit.Name{"u.service"}
	start := command{units: name, becomes: []unit.Target{unit.TargetLaunched}, text: text("a")}
	replace := command{units: name, becomes: []unit.Target{unit.TargetLaunched}, text: text("b"), replaces: true}
	destroy := command{units: name, becomes: []unit.Target{unit.TargetDestroyed}}
	failed := errors.New("no answer")
	type done struct {
		command
		err error
	}
	running := func(s string) map[unit.Name]stored {
		return map[unit.Name]stored{"u.service": {unit.TargetLaunched, hash(s)}}
	}
	for _, tt := range []struct {
		name string
		done []done
		now  map[unit.Name]stored
		want string // of what is broken; empty: nothing is
	}{
		{"nothing", nil, nil, ""},
		{"started", []done{{start, nil}}, running("a"), ""},
		{"started and lost", []done{{start, nil}}, nil, "is destroyed in etcd; acknowledged was [launched]"},
		{"started in vain", []done{{start, failed}}, nil, ""},
		{"started after all", []done{{start, failed}}, running("a"), ""},
		{"replaced", []done{{start, nil}, {replace, nil}}, running("b"), ""},
		{"replaced and lost", []done{{start, nil}, {replace, nil}}, running("a"), "has the text"},
		{"started again, which keeps the text", []done{{replace, nil}, {start, nil}}, running("b"), ""},
		{"destroyed", []done{{start, nil}, {destroy, nil}}, nil, ""},
		{"still being destroyed", []done{{start, nil}, {destroy, nil}}, map[unit.Name]stored{"u.service": {unit.TargetDestroyed, hash("a")}}, ""},
		{"back from the dead", []done{{start, nil}, {destroy, nil}}, running("a"), "is launched in etcd; acknowledged was [destroyed]"},
		{"from nowhere", nil, running("a"), "is launched in etcd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPromises()
			for _, d := range tt.done {
				p.note(d.command, time.Now(), d.err)
			}
			got := strings.Join(p.broken(tt.now), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if again := p.broken(tt.now); len(again) > 0 {
				t.Errorf("told twice: %q", again)
			}
		})
	}
}
