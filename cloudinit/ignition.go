package cloudinit

import (
	"strings"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/coreos/vcontext/report"
)

// translateButane has Butane's own library make Ignition of it. What Butane
// only warns of as unknown is refused here.
func translateButane(text []byte) (Result, Problems) {
	raw, said, err := config.TranslateBytes(text, common.TranslateBytesOptions{Raw: true})
	ps := problemsOf(said)
	if err != nil || ps.Failed() {
		if !ps.Failed() {
			ps.add(1, Error, "%v", err)
		}
		return Result{}, ps
	}
	out, below := translateIgnition(raw)
	for i := range below {
		below[i].Line = 1 // they are lines of the JSON, which nobody wrote
	}
	return out, append(ps, below...)
}

func translateIgnition(text []byte) (Result, Problems) {
	cfg, said, err := v3.ParseCompatibleVersion(text)
	ps := problemsOf(said)
	if err != nil && !ps.Failed() {
		ps.add(1, Error, "%v", err)
	}
	r := &reader{}
	for _, u := range cfg.Systemd.Units {
		r.ignitionUnit(u)
	}
	ps = append(ps, r.problems...)
	if ps.Failed() {
		return Result{}, ps
	}
	return Result{Config: cfg}, ps
}

// ignitionUnit checks a unit's texts; JSON has them on one line, so that the
// unit's name must do.
func (r *reader) ignitionUnit(u types.Unit) {
	first := func(int) int { return 1 }
	if u.Contents != nil {
		r.unitFile(*u.Contents, u.Name, first)
	}
	for _, d := range u.Dropins {
		if d.Contents != nil {
			r.unitFile(*d.Contents, u.Name+" "+d.Name, first)
		}
	}
}

func problemsOf(said report.Report) Problems {
	var ps Problems
	for _, e := range said.Entries {
		line, level := 1, Warning
		if e.Marker.StartP != nil {
			line = int(e.Marker.StartP.Line)
		}
		if e.Kind.IsFatal() || isUnusedKey(e.Message) {
			level = Error
		}
		msg := e.Message
		if where := e.Context.String(); where != "" && where != "$" {
			msg = where + ": " + msg
		}
		ps.add(line, level, "%s", msg)
	}
	return ps
}

// isUnusedKey knows the libraries' words for a key that means nothing to them.
func isUnusedKey(msg string) bool {
	return strings.HasPrefix(msg, "unused key")
}
