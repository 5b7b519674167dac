package cloudinit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	ignerrors "github.com/coreos/ignition/v2/config/shared/errors"
	v3 "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/coreos/vcontext/report"
)

const butaneHas = "fcos 1.0 to 1.7, flatcar 1.0 and 1.1, openshift, r4e and fiot"

// translateButane has Butane's own library make Ignition of it. What Butane
// only warns of as unknown is refused here.
func translateButane(text []byte) (Result, Problems) {
	r := &reader{}
	if r.root(text); r.problems.Failed() { // Butane would read the first document only
		return Result{}, r.problems
	}
	raw, said, err := config.TranslateBytes(text, common.TranslateBytesOptions{Raw: true})
	ps := problemsOf(said)
	if err != nil || ps.Failed() {
		if !ps.Failed() {
			ps.Add(LineOf(text, "version"), Error, "%v (Butane 0.29 has %s)", err, butaneHas)
		}
		for i, p := range ps {
			if strings.Contains(p.Msg, "--files-dir") {
				ps[i].Msg, _, _ = strings.Cut(p.Msg, ": local file paths")
				ps[i].Msg += ": local files are not read here: write contents: inline:, or run butane --files-dir first"
			}
		}
		return Result{}, ps
	}
	cfg, said, err := v3.ParseCompatibleVersion(raw)
	if errors.Is(err, ignerrors.ErrUnknownVersion) {
		ps.Add(LineOf(text, "version:"), Error, "experimental versions are not taken, as what they mean changes: write a version without -experimental (Butane 0.29 has %s)", butaneHas)
		return Result{}, ps
	}
	for _, p := range problemsOf(said) {
		if p.Level == Error { // of the rest Butane has told, with lines that somebody wrote
			ps.Add(1, p.Level, "as Ignition: %s", p.Msg)
		}
	}
	return ignitionResult(cfg, text, ps, err)
}

func translateIgnition(text []byte) (Result, Problems) {
	if line, key := keyTwice(text); key != "" {
		var ps Problems
		ps.Add(line, Error, "%.80s is given twice, and only one of them would be used", key)
		return Result{}, ps
	}
	cfg, said, err := v3.ParseCompatibleVersion(text)
	if errors.Is(err, ignerrors.ErrUnknownVersion) || errors.Is(err, ignerrors.ErrInvalidVersion) {
		var ps Problems
		ps.Add(LineOf(text, "ersion"), Error, "%v: Ignition 3.0 to 3.6 is taken; make 3.x of an older one with ign-converter, or of Butane", err)
		return Result{}, ps
	}
	return ignitionResult(cfg, text, problemsOf(said), err)
}

// keyTwice finds a key that an object of a JSON text has twice: the parsers
// take the last in silence.
func keyTwice(text []byte) (line int, key string) {
	type object struct {
		keys  map[string]bool // nil: an array
		isKey bool            // the next token is a key
	}
	var open []object
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return 0, "" // the parser has better words
		}
		top := len(open) - 1
		switch name, isText := token.(string); {
		case token == json.Delim('}') || token == json.Delim(']'):
			open = open[:top]
			continue
		case top >= 0 && open[top].isKey && isText:
			if open[top].keys[name] {
				return bytes.Count(text[:d.InputOffset()], []byte("\n")) + 1, name
			}
			open[top].keys[name], open[top].isKey = true, false
			continue
		case top >= 0 && open[top].keys != nil:
			open[top].isKey = true
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{map[string]bool{}, true})
		case json.Delim('['):
			open = append(open, object{})
		}
	}
}

func ignitionResult(cfg types.Config, source []byte, ps Problems, err error) (Result, Problems) {
	if err != nil && !ps.Failed() {
		ps.Add(1, Error, "%v", err)
	}
	if ps.Failed() {
		return Result{}, ps
	}
	r := &reader{}
	for _, u := range cfg.Systemd.Units {
		r.ignitionUnit(u, source)
	}
	for _, p := range paths(cfg) {
		if err := checkPath(p); err != nil {
			r.problems.Add(LineOf(source, p), Error, "%v", err)
		}
	}
	ps = append(ps, r.problems...)
	if ps.Failed() {
		return Result{}, ps
	}
	return Result{Config: cfg}, ps
}

// paths are those that a config makes something at.
func paths(cfg types.Config) (all []string) {
	for _, f := range cfg.Storage.Files {
		all = append(all, f.Path)
	}
	for _, d := range cfg.Storage.Directories {
		all = append(all, d.Path)
	}
	for _, l := range cfg.Storage.Links {
		all = append(all, l.Path)
	}
	return all
}

// ignitionUnit checks a unit's texts.
func (r *reader) ignitionUnit(u types.Unit, source []byte) {
	check := func(text *string, path string) {
		if text == nil {
			return
		}
		lines := strings.Split(*text, "\n")
		r.unitFile(*text, path, func(line int) int { return LineOf(source, u.Name, lines[min(line, len(lines))-1]) })
	}
	check(u.Contents, u.Name)
	for _, d := range u.Dropins {
		check(d.Contents, u.Name+" "+d.Name)
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
		if msg == common.ErrFieldElided.Error() { // a part of OpenShift's MachineConfig
			level, msg = Error, "only OpenShift's operator can do this: leave it out"
		}
		if where := e.Context.String(); where != "" && where != "$" {
			msg = where + ": " + msg
		}
		ps.Add(line, level, "%s", msg)
	}
	return ps
}

// isUnusedKey knows the libraries' words for a key that means nothing to them.
func isUnusedKey(msg string) bool {
	return strings.HasPrefix(msg, "unused key")
}
