package history

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// at makes an operation of a history by hand.
func at(client int, call, end int64, verb Verb, text, target string, out Answer) porcupine.Operation {
	if out.Lost {
		end = 1 << 62
	}
	return porcupine.Operation{ClientId: client, Input: Request{Unit: "a.service", Verb: verb, Text: text, Target: target}, Call: call, Output: out, Return: end}
}

// The checker accepts what can have been, and nothing else.
func TestCheck(t *testing.T) {
	absent, done, lost := Answer{Absent: true}, Answer{}, Answer{Lost: true}
	is := func(text, target string) Answer { return Answer{Text: text, Target: target} }
	for name, c := range map[string]struct {
		ops   []porcupine.Operation
		right bool
	}{
		"one after the other": {[]porcupine.Operation{
			at(1, 0, 1, Get, "", "", absent), at(1, 2, 3, Put, "x", "launched", done), at(2, 4, 5, Get, "", "", is("x", "launched")),
			at(1, 6, 7, Aim, "", "loaded", done), at(1, 8, 9, Submit, "x", "", done), at(2, 10, 11, Get, "", "", is("x", "loaded")),
			at(1, 12, 13, Submit, "y", "", done), at(2, 14, 15, Get, "", "", is("y", "inactive")),
			at(1, 16, 17, Delete, "", "", done), at(2, 18, 19, Delete, "", "", absent), at(2, 20, 21, Aim, "", "loaded", absent),
		}, true},
		"at the same time, either order": {[]porcupine.Operation{
			at(1, 0, 9, Put, "x", "launched", done), at(2, 0, 9, Put, "y", "loaded", done), at(3, 10, 11, Get, "", "", is("x", "launched")),
		}, true},
		"an old read": {[]porcupine.Operation{
			at(1, 0, 1, Put, "x", "launched", done), at(1, 2, 3, Put, "y", "launched", done), at(2, 4, 5, Get, "", "", is("x", "launched")),
		}, false},
		"half of one and half of the other": {[]porcupine.Operation{
			at(1, 0, 9, Put, "x", "launched", done), at(2, 0, 9, Put, "y", "loaded", done), at(3, 10, 11, Get, "", "", is("x", "loaded")),
		}, false},
		"an acknowledged write that is lost": {[]porcupine.Operation{
			at(1, 0, 1, Put, "x", "launched", done), at(2, 2, 3, Get, "", "", absent),
		}, false},
		"an answer that is lost, the write happened late": {[]porcupine.Operation{
			at(1, 0, 0, Put, "x", "launched", lost), at(2, 2, 3, Get, "", "", absent), at(2, 4, 5, Get, "", "", is("x", "launched")),
		}, true},
		"it didn't happen": {[]porcupine.Operation{
			at(1, 0, 0, Put, "x", "launched", lost), at(2, 2, 3, Get, "", "", absent),
		}, true},
		"it can't happen and not have happened": {[]porcupine.Operation{
			at(1, 0, 0, Put, "x", "launched", lost), at(2, 2, 3, Get, "", "", is("x", "launched")), at(2, 4, 5, Get, "", "", absent),
		}, false},
		"destroyed twice": {[]porcupine.Operation{
			at(1, 0, 1, Put, "x", "launched", done), at(1, 2, 9, Delete, "", "", done), at(2, 2, 9, Delete, "", "", done),
		}, false},
		"a submission that stops what runs": {[]porcupine.Operation{
			at(1, 0, 1, Put, "x", "launched", done), at(2, 2, 3, Submit, "x", "", done), at(1, 4, 5, Get, "", "", is("x", "inactive")),
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &History{ops: c.ops}
			dir := t.TempDir()
			err := h.Check(dir, time.Minute)
			if (err == nil) != c.right {
				t.Error(err)
			}
			if _, shown := os.Stat(filepath.Join(dir, "history-a.service.html")); (shown == nil) == c.right {
				t.Errorf("shown: %v", shown)
			}
		})
	}
}

func TestAsk(t *testing.T) {
	h := New()
	h.Ask(1, Request{Unit: "a.service", Verb: Get}, func() Answer { return Answer{Lost: true} })
	h.Ask(1, Request{Unit: "a.service", Verb: Delete}, func() Answer { return Answer{Lost: true} })
	h.Ask(1, Request{Unit: "a.service", Verb: Get}, func() Answer { return Answer{Absent: true} })
	if asked, lost := h.Counts(); asked != 2 || lost != 2 {
		t.Errorf("%d noted, %d lost", asked, lost)
	}
	if err := h.Check(t.TempDir(), time.Minute); err != nil {
		t.Error(err)
	}
}
