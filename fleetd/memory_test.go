package main

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMemoryIsGivenBackOnceAfterWork(t *testing.T) {
	const idle, work = 25 * time.Millisecond, 800 * time.Millisecond
	r, used := restFrom(0), time.Duration(0)
	for i, step := range []struct {
		did  time.Duration
		want bool
	}{{work, false}, {work, false}, {idle, true}, {idle, false}, {0, false}, {work, false}, {idle, true}, {busy, false}, {busy - 1, true}} {
		used += step.did
		if got := r.begins(used); got != step.want {
			t.Errorf("step %d, after %s: rest begins: %v, want %v", i, step.did, got, step.want)
		}
	}
}

// The test's own program is a large one, too.
func TestProgramIsDropped(t *testing.T) {
	before := residentProgram(t)
	if err := dropProgram(); err != nil {
		t.Fatal(err)
	}
	if after := residentProgram(t); after >= before {
		t.Errorf("of the program %d kB are resident, and were %d", after, before)
	}
}

// What was written to is not in the file any more: to drop it would lose it.
func TestOnlyWhatIsAsInTheFileIsDropped(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 08:01 7    /usr/bin/fleetd
Size:               1024 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 08:01 7    /usr/bin/fleetd
Anonymous:          1016 kB
00600000-00700000 rw-p 00200000 08:01 7    /usr/bin/fleetd
Anonymous:             0 kB
00700000-00800000 r--p 00000000 08:01 8    /usr/lib/ld.so
Anonymous:             0 kB
00800000-00900000 rw-p 00000000 00:00 0
Anonymous:             0 kB
00900000-00a00000 r--p 00300000 08:01 7    /usr/bin/fleetd
Anonymous:             0 kB
`
	got, err := clean(strings.NewReader(smaps), "/usr/bin/fleetd")
	if want := []mapping{{0x400000, 0x500000}, {0x900000, 0xa00000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}

// residentProgram is RssFile, in kB.
func residentProgram(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssFile:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb
}
