package main

import (
	"os"
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
