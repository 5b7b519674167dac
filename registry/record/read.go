package record

import (
	"strconv"
	"strings"
	"unique"

	"github.com/fleet-project/fleet/unit"
)

// A leader that takes over reads three records a unit, and everybody one each
// time a unit changes. encoding/json takes several times as long for one as etcd
// for sending it. What follows reads records as fleet writes them: no spaces, each
// field at most once, no characters that JSON escapes. Anything else it leaves to
// encoding/json, so that the two never differ in what they make of a record.

// ReadJSON reads a unit as fleet writes it. If it reports false, the value is not
// for it to read, and what the unit holds means nothing.
func (u *Unit) ReadJSON(value []byte) bool {
	return readObject(value, func(r *reader, key string) {
		switch key {
		case "file":
			u.File = r.hash()
		case "target":
			u.Target = unit.Target(r.word())
		case "restart":
			u.Restart = r.number()
		default: // few units have counts of single machines
			r.ok = false
		}
	})
}

// ReadJSON is Unit's, for a Spec.
func (s *Spec) ReadJSON(value []byte) bool { return readObject(value, s.field) }

func (s *Spec) field(r *reader, key string) {
	switch key {
	case "target":
		s.Target = unit.Target(r.word())
	case "file":
		s.File = r.hash()
	case "restart":
		s.Restart = r.number()
	default:
		r.ok = false
	}
}

// ReadJSON is Unit's, for a State.
func (s *State) ReadJSON(value []byte) bool {
	return readObject(value, func(r *reader, key string) {
		switch key {
		case "load":
			s.Load = r.word()
		case "active":
			s.Active = r.word()
		case "sub":
			s.Sub = r.word()
		case "result":
			s.Result = r.word()
		case "error":
			s.Error = strings.Clone(r.text())
		case "log":
			s.Log = strings.Clone(r.text())
		default:
			s.field(r, key)
		}
	})
}

// reader goes through a record. Once it is not ok, what it gives means nothing.
type reader struct {
	rest string
	ok   bool
}

// readObject calls field with each key of an object, which reads the value.
func readObject(value []byte, field func(r *reader, key string)) bool {
	r := &reader{rest: string(value), ok: true}
	var keys [12]string
	n := 0
	r.want('{')
	for r.ok && !r.skip('}') {
		if n > 0 {
			r.want(',')
		}
		key := r.text()
		r.want(':')
		for _, k := range keys[:n] {
			r.ok = r.ok && k != key
		}
		if r.ok = r.ok && n < len(keys); r.ok {
			keys[n] = key
			n++
			field(r, key)
		}
	}
	return r.ok && r.rest == ""
}

func (r *reader) skip(c byte) bool {
	if r.rest == "" || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *reader) want(c byte) { r.ok = r.skip(c) && r.ok }

// text reads a string that has nothing to unescape. It is part of the record.
func (r *reader) text() string {
	r.want('"')
	for i := 0; r.ok && i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			s := r.rest[:i]
			r.rest = r.rest[i+1:]
			return s
		case c == '\\', c < ' ', c > '~':
			r.ok = false
		}
	}
	r.ok = false
	return ""
}

// hash reads a hash, which is kept once for all that have it: so many units have
// one file.
func (r *reader) hash() unit.Hash { return unit.Hash(unique.Make(r.text()).Value()) }

// word reads a string of which there are few.
func (r *reader) word() string {
	s := r.text()
	if known, ok := words[s]; ok {
		return known
	}
	return strings.Clone(s)
}

// words are those that fleet and systemd use most.
var words = func() map[string]string {
	all := map[string]string{}
	for w := range strings.FieldsSeq("inactive loaded launched none destroyed not-found masked error active activating deactivating " +
		"failed running exited dead start start-pre start-post stop stop-post auto-restart waiting listening exit-code signal timeout") {
		all[w] = w
	}
	return all
}()

func (r *reader) number() uint64 {
	digits := 0
	for digits < len(r.rest) && r.rest[digits] >= '0' && r.rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(r.rest[:digits], 10, 64)
	if err != nil || digits > 1 && r.rest[0] == '0' {
		r.ok = false
	}
	r.rest = r.rest[digits:]
	return n
}
