package faults

import (
	_ "embed"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// witnessScript is what a witness runs: bash alone, which starts no process for
// a beat, so that hundreds of witnesses cost next to nothing.
//
//go:embed witness.sh
var witnessScript string

const (
	// witnessPath is where the script lies on a host.
	witnessPath = "/usr/local/bin/witness"
	// logDir is where witnesses write, on a host's disk: a directory for each
	// unit, in it a file for each run, named by systemd's invocation id.
	logDir = "/var/lib/witness"
	// beat is how often a witness says that it lives.
	beat = 250 * time.Millisecond
)

// Files are what a host needs for witnesses to run on it.
func Files() map[string]platform.File {
	return map[string]platform.File{witnessPath: {Content: witnessScript, Mode: 0o755}}
}

// Witness is the text of a unit that writes its life down. Lines are further ones
// of its [X-Fleet] section.
func Witness(lines ...string) string { return witness("", 0, lines) }

// SlowWitness is a witness whose stop takes that long, in which it lives.
func SlowWitness(stop time.Duration, lines ...string) string {
	return witness(fmt.Sprintf("TimeoutStopSec=%d\n", int((stop+time.Minute).Seconds())), stop, lines)
}

// CrashingWitness is a witness that crashes after a while, whole seconds, and is
// started anew by systemd each time.
func CrashingWitness(life time.Duration, lines ...string) string {
	return "[Unit]\nStartLimitIntervalSec=0\n\n" + crashing(life, lines)
}

// GivingUpWitness is one that systemd starts three times, and then no more.
func GivingUpWitness(life time.Duration, lines ...string) string {
	return "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=3\n\n" + crashing(life, lines)
}

func crashing(life time.Duration, lines []string) string {
	text := witness("Restart=always\nRestartSec=100ms\n", 0, lines)
	return strings.Replace(text, "%n 0", fmt.Sprintf("%%n 0 %d", int(life.Seconds())), 1)
}

func witness(service string, stop time.Duration, lines []string) string {
	return fmt.Sprintf("[Service]\nExecStart=%s %%n %d\n%s\n[X-Fleet]\n%s\n", witnessPath, int(stop.Seconds()), service, strings.Join(lines, "\n"))
}

// Moment is a time of the machine's monotonic clock, which counts from its boot
// and which all hosts share.
type Moment time.Duration

// Now is this moment.
func Now() (Moment, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	up, _, _ := strings.Cut(string(text), " ")
	return parseMoment(up)
}

func parseMoment(seconds string) (Moment, error) {
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return 0, fmt.Errorf("a moment is seconds since boot: %w", err)
	}
	return Moment(s * float64(time.Second)), nil
}

// Sub is the time from another moment to this one.
func (m Moment) Sub(other Moment) time.Duration { return time.Duration(m - other) }

// Add is the moment so much later.
func (m Moment) Add(d time.Duration) Moment { return m + Moment(d) }
