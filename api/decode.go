package api

import (
	"bytes"
	"encoding/json"

	"github.com/fleet-project/fleet/unit"
)

// encoding/json reads every byte of a page several times over. What follows
// reads it once, if it is written as fleetd writes it: no spaces, no fields but
// those that are known, each once. Anything else is encoding/json's to read, so
// that the two never differ in what they make of a page.

// page is what a page of a list has.
type page[T any] struct {
	rows []T
	next string // nextPageToken
}

// decodePage reads a page, whose rows are under field.
func decodePage[T any](body []byte, field string, r *reader) (page[T], error) {
	var out page[T]
	r.rest, r.ok = body, true
	if out.read(r, field) {
		return out, nil
	}
	out = page[T]{}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return out, err
	}
	for name, into := range map[string]any{field: &out.rows, "nextPageToken": &out.next} {
		if raw := fields[name]; raw != nil {
			if err := json.Unmarshal(raw, into); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// read is the quick way; false says that it is not the way to read this page.
func (p *page[T]) read(r *reader, field string) bool {
	row := rowReader[T]()
	if row == nil || !r.skip(`{"`+field+`":[`) {
		return false
	}
	p.rows = make([]T, 0, r.expected)
	for more := !r.skip(`]`); more; more = !r.skip(`]`) {
		if len(p.rows) > 0 && !r.skip(`,`) {
			return false
		}
		var one T
		if row(r, &one); !r.ok {
			return false
		}
		p.rows = append(p.rows, one)
	}
	if r.skip(`,"nextPageToken":`) {
		p.next = r.text()
	}
	r.expected = len(p.rows) // the next page is likely to be as long
	return r.skip(`}`) && r.ok && len(bytes.TrimRight(r.rest, "\n")) == 0
}

// rowReader gives what reads a row of that type; nil if only encoding/json does.
func rowReader[T any]() func(*reader, *T) {
	var read any
	switch any((*T)(nil)).(type) {
	case *Unit:
		read = (*reader).unit
	case *UnitState:
		read = (*reader).state
	}
	row, _ := read.(func(*reader, *T))
	return row
}

func (r *reader) unit(u *Unit) {
	r.object(func(key string) {
		switch key {
		case "name":
			u.Name = unit.Name(r.text())
		case "options":
			u.Options = r.options()
		case "desiredState":
			u.DesiredState = unit.Target(r.word())
		case "currentState":
			u.CurrentState = unit.Target(r.word())
		case "machineID":
			u.MachineID = r.word()
		case "primaryIP":
			u.PrimaryIP = r.word()
		case "hash":
			u.Hash = unit.Hash(r.word())
		default: // a list has no texts
			r.ok = false
		}
	})
}

func (r *reader) state(s *UnitState) {
	r.object(func(key string) {
		switch key {
		case "name":
			s.Name = unit.Name(r.text())
		case "hash":
			s.Hash = unit.Hash(r.word())
		case "machineID":
			s.MachineID = r.word()
		case "systemdLoadState":
			s.SystemdLoadState = r.word()
		case "systemdActiveState":
			s.SystemdActiveState = r.word()
		case "systemdSubState":
			s.SystemdSubState = r.word()
		case "primaryIP":
			s.PrimaryIP = r.word()
		case "result":
			s.Result = r.word()
		case "error":
			s.Error = r.text()
		case "log":
			s.Log = r.text()
		default:
			r.ok = false
		}
	})
}

// reader goes through a page's bytes. Once it is not ok, it reads nothing more
// that counts.
type reader struct {
	rest     []byte
	ok       bool
	expected int // rows in a page
	// words are strings that come again and again, kept once.
	words map[string]string
	// The options last read, as JSON and as what they came to: lists are sorted,
	// so the next unit is likely to be of the same template. All of them share
	// the slice.
	written []byte
	read    []unit.Option
}

func newReader() *reader { return &reader{words: map[string]string{}} }

// skip passes over a text, if it comes next.
func (r *reader) skip(text string) bool {
	if len(r.rest) < len(text) || string(r.rest[:len(text)]) != text {
		return false
	}
	r.rest = r.rest[len(text):]
	return true
}

func (r *reader) want(text string) { r.ok = r.skip(text) && r.ok }

// object calls field with each key, which has it read the value. A key that
// comes twice is not for this reader.
func (r *reader) object(field func(key string)) {
	var keys [16]string
	n := 0
	r.want(`{`)
	for r.ok && !r.skip(`}`) {
		if n > 0 {
			r.want(`,`)
		}
		key := r.word()
		r.want(`:`)
		for _, k := range keys[:n] {
			r.ok = r.ok && k != key
		}
		if r.ok = r.ok && n < len(keys); r.ok {
			keys[n] = key
			n++
			field(key)
		}
	}
}

// raw gives what is between the quotes of a string, and whether that is the
// string itself.
func (r *reader) raw() (inside []byte, itself bool) {
	r.want(`"`)
	itself = true
	for i := 0; r.ok && i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			inside, r.rest = r.rest[:i], r.rest[i+1:]
			return inside, itself
		case c == '\\':
			itself = false
			i++
		case c < ' ' || c > '~':
			itself = false
		}
	}
	r.ok = false
	return nil, false
}

// text reads a string.
func (r *reader) text() string {
	before := r.rest
	inside, itself := r.raw()
	if itself || !r.ok {
		return string(inside)
	}
	var s string
	r.ok = json.Unmarshal(before[:len(inside)+2], &s) == nil
	return s
}

// word reads a string that others are likely to be equal to.
func (r *reader) word() string {
	before := r.rest
	inside, itself := r.raw()
	if !itself {
		r.rest = before
		return r.text()
	}
	if s, known := r.words[string(inside)]; known {
		return s
	}
	s := string(inside)
	r.words[s] = s
	return s
}

func (r *reader) options() []unit.Option {
	if len(r.written) > 0 && bytes.HasPrefix(r.rest, r.written) {
		r.rest = r.rest[len(r.written):]
		return r.read
	}
	before := r.rest
	var all []unit.Option
	r.want(`[`)
	for r.ok && !r.skip(`]`) {
		if len(all) > 0 {
			r.want(`,`)
		}
		var o unit.Option
		r.object(func(key string) {
			switch key {
			case "section":
				o.Section = r.word()
			case "name":
				o.Name = r.word()
			case "value":
				o.Value = r.text()
			default:
				r.ok = false
			}
		})
		all = append(all, o)
	}
	if r.ok {
		r.written = append(r.written[:0], before[:len(before)-len(r.rest)]...)
		r.read = all
	}
	if r.ok && all == nil { // as encoding/json has it
		all = []unit.Option{}
	}
	return all
}
