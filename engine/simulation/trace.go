package simulation

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"github.com/sirupsen/logrus"
)

// trace is what happened, for a person to read. A run that is not traced is the
// same run: nothing but the trace depends on it.
type trace struct{ lines []traced }

type traced struct {
	at   time.Time
	unit unit.Name
	on   machine.ID
	text string
}

func (l traced) String() string {
	where := ""
	if l.on != "" {
		where = " " + string(l.on[:4])
	}
	about := ""
	if l.unit != "" {
		about = " " + string(l.unit)
	}
	return fmt.Sprintf("%9.3f%s%s: %s", l.at.Sub(epoch).Seconds(), where, about, l.text)
}

// note writes down what happened.
func (w *world) note(name unit.Name, on machine.ID, format string, args ...any) {
	if w.trace != nil {
		w.trace.lines = append(w.trace.lines, traced{w.now, name, on, fmt.Sprintf(format, args...)})
	}
}

// of gives the last lines that concern a unit or what is about everything.
func (t *trace) of(name unit.Name, n int) []traced {
	var out []traced
	for _, l := range t.lines {
		if name == "" || l.unit == name || l.unit == "" && !strings.Contains(l.text, ".service") || strings.Contains(l.text, string(name)) {
			out = append(out, l)
		}
	}
	return out[max(0, len(out)-n):]
}

// log gives what a part of the world logs to: the trace, if there is one.
func (w *world) log(who string) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.PanicLevel)
	if w.trace != nil {
		l.SetLevel(logrus.DebugLevel)
		l.SetFormatter(plain{})
		l.SetOutput(into{w, who})
	}
	return logrus.NewEntry(l)
}

// plain leaves a log's times out: they are the machine's.
type plain struct{}

func (plain) Format(e *logrus.Entry) ([]byte, error) {
	s := e.Level.String() + ": " + e.Message
	for _, k := range []string{"unit", logrus.ErrorKey} {
		if v, ok := e.Data[k]; ok {
			s += fmt.Sprintf(" %s=%v", k, v)
		}
	}
	return []byte(s), nil
}

// into writes a log into the trace.
type into struct {
	w   *world
	who string
}

func (t into) Write(b []byte) (int, error) {
	t.w.note("", "", "%s: %s", t.who, b)
	return len(b), nil
}
