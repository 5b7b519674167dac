package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// following is a fleetctl that goes on while a transcript does.
type following struct {
	cmd  *exec.Cmd
	done chan error
}

type followingKey struct{}

// followCommand runs fleetctl beside the transcript: follow FILE COMMAND...
// What it prints is in FILE, and its standard error in FILE.err.
func followCommand(ts *testscript.TestScript, _ bool, args []string) {
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	errOut, err := os.Create(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	f := &following{cmd: exec.Command("env", args[1:]...), done: make(chan error, 1)}
	f.cmd.Dir, f.cmd.Stdout, f.cmd.Stderr = ts.Getenv("WORK"), out, errOut
	for _, name := range []string{"PATH", "HOME", "FLEETCTL_ENDPOINT", "MACHINE_ID_FILE"} {
		f.cmd.Env = append(f.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(f.cmd.Start())
	go func() {
		f.done <- f.cmd.Wait()
		out.Close()
		errOut.Close()
	}()
	ts.Value(followingKey{}).(map[string]*following)[args[0]] = f
	ts.Defer(func() { _ = f.cmd.Process.Kill() }) // it has ended, unless the transcript failed
}

// untilCommand waits until a file says something, whatever the space between:
// until FILE WORDS...
func untilCommand(ts *testscript.TestScript, _ bool, args []string) {
	want := strings.Join(args[1:], " ")
	for deadline := time.Now().Add(10 * time.Second); ; {
		text := ts.ReadFile(args[0])
		if strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %q in %s:\n%s\n%s", want, args[0], text, ts.ReadFile(args[0]+".err"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// interruptCommand presses ^C in a fleetctl that goes on, and checks its exit
// code: interrupt FILE CODE.
func interruptCommand(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(followingKey{}).(map[string]*following)[args[0]]
	ts.Check(f.cmd.Process.Signal(syscall.SIGINT))
	var failed *exec.ExitError
	if err := <-f.done; !errors.As(err, &failed) || strconv.Itoa(failed.ExitCode()) != args[1] {
		ts.Fatalf("ended with %v, want exit code %s", err, args[1])
	}
}

// What a watch prints of what it is told, events that come in odd ways included.
func TestWatchedTable(t *testing.T) {
	row := func(machine, sub string) *unitRow { return &unitRow{Unit: "web.service", Machine: machine, Sub: sub} }
	added, modified, deleted := api.Added, api.Modified, api.Deleted
	tests := []struct {
		name        string
		events      []api.ListEvent[unitRow]
		out, errOut string
	}{
		{"nothing before the list is complete", []api.ListEvent[unitRow]{{Type: added, Object: row("a", "x")}}, "", ""},
		{
			"a row that goes and comes, and one that goes, before the list is complete",
			[]api.ListEvent[unitRow]{
				{Type: added, Object: row("a", "x")}, {Type: added, Object: row("b", "x")}, {Type: deleted, Object: row("a", "x")},
				{Type: deleted, Object: row("b", "x")}, {Type: added, Object: row("a", "y")}, {Type: api.Bookmark},
			},
			"MACHINE\tSUB\na\ty\n", "",
		},
		{
			"what has no column is not told",
			[]api.ListEvent[unitRow]{
				{Type: added, Object: row("a", "x")}, {Type: api.Bookmark},
				{Type: modified, Object: &unitRow{Unit: "other", Machine: "a", Sub: "x"}}, {Type: modified, Object: row("a", "y")},
			},
			"MACHINE\tSUB\na\tx\na\ty\n", "",
		},
		{
			"a row that grows",
			[]api.ListEvent[unitRow]{
				{Type: added, Object: row("a", "x")}, {Type: api.Bookmark},
				{Type: added, Object: row("number-2", "x")}, {Type: modified, Object: row("a", "y")}, {Type: deleted, Object: row("a", "y")},
			},
			"MACHINE\tSUB\na\tx\nnumber-2\tx\na\t\ty\na\t\ty\t(gone)\n", "",
		},
		{
			"trouble",
			[]api.ListEvent[unitRow]{
				{Type: api.Bookmark, Trouble: "lost"}, {Type: api.Bookmark}, {Type: api.Bookmark, Trouble: "etcd"}, {Type: api.Bookmark}, {Type: api.Bookmark},
			},
			"MACHINE\tSUB\n", "lost\nfleetd answers again\netcd\nfleetd answers again\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut strings.Builder
			w := &tableWatch[unitRow]{
				cli: &cli{stderr: &errOut}, key: func(u unitRow) string { return u.Machine }, rows: map[string]unitRow{},
			}
			w.out = &rowWriter[unitRow]{out: &out, fields: []string{"machine", "sub"}, columns: columnsOf([]string{"machine", "sub"}, unitColumns), key: w.key, shown: map[string][]string{}}
			for _, e := range tt.events {
				if err := w.take(e); err != nil {
					t.Fatal(err)
				}
			}
			if out.String() != tt.out || errOut.String() != tt.errOut {
				t.Errorf("got\n%q %q, want\n%q %q", out.String(), errOut.String(), tt.out, tt.errOut)
			}
		})
	}
}
