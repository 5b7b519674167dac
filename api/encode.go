package api

import (
	"encoding/json"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// A list may have a hundred thousand rows. encoding/json takes several times as
// long for one as it takes to send it; what follows writes the very same bytes.

// AppendJSON appends the unit as encoding/json writes it. options is what
// EncodeOptions makes of its Options: units that have a file in common need that
// made only once.
func (u *Unit) AppendJSON(b []byte, options []byte) []byte {
	b = appendField(b, `{"name":`, string(u.Name))
	if len(options) > 0 {
		b = append(append(b, `,"options":`...), options...)
	}
	b = appendKnown(b, `,"desiredState":`, string(u.DesiredState))
	b = appendKnown(b, `,"currentState":`, string(u.CurrentState))
	b = appendKnown(b, `,"machineID":`, u.MachineID)
	b = appendKnown(b, `,"primaryIP":`, u.PrimaryIP)
	b = appendKnown(b, `,"text":`, u.Text)
	b = appendKnown(b, `,"hash":`, string(u.Hash))
	return append(b, '}')
}

// AppendJSON appends the state as encoding/json writes it.
func (s *UnitState) AppendJSON(b []byte) []byte {
	b = appendField(b, `{"name":`, string(s.Name))
	b = appendField(b, `,"hash":`, string(s.Hash))
	b = appendField(b, `,"machineID":`, s.MachineID)
	b = appendField(b, `,"systemdLoadState":`, s.SystemdLoadState)
	b = appendField(b, `,"systemdActiveState":`, s.SystemdActiveState)
	b = appendField(b, `,"systemdSubState":`, s.SystemdSubState)
	b = appendKnown(b, `,"primaryIP":`, s.PrimaryIP)
	b = appendKnown(b, `,"result":`, s.Result)
	b = appendKnown(b, `,"error":`, s.Error)
	b = appendKnown(b, `,"log":`, s.Log)
	return append(b, '}')
}

// EncodeOptions gives a unit file's options as JSON; nothing if there are none.
func EncodeOptions(options []unit.Option) []byte {
	if len(options) == 0 {
		return nil
	}
	text, err := json.Marshal(options)
	if err != nil {
		panic(err) // they are strings
	}
	return text
}

// appendKnown leaves a field out that is empty.
func appendKnown(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendField(b, key, value)
}

func appendField(b []byte, key, value string) []byte {
	b = append(b, key...)
	if !plain(value) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err) // it is a string
		}
		return append(b, text...)
	}
	b = append(b, '"')
	b = append(b, value...)
	return append(b, '"')
}

// plain reports whether a string is written as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			return false
		}
	}
	return true
}
