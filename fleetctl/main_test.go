package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the transcripts in testdata print into them")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// fleetctl itself, in a process of its own.
		"fleetctl": func() {
			c := &cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, machineIDFile: os.Getenv("MACHINE_ID_FILE")}
			os.Exit(c.run(os.Args[1:]))
		},
	})
}

type clusterKey struct{}

// TestTranscripts plays the sessions in testdata against a cluster in memory
// with two machines, of which 1111... is this host.
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			c := servertest.New(tb)
			c.SetMachine(node("1", "one", map[string]string{"region": "eu"}))
			c.SetMachine(node("2", "two", map[string]string{"region": "us", "disk": "ssd"}))
			env.Values[clusterKey{}] = c
			env.Values[followingKey{}] = map[string]*following{}
			id := filepath.Join(env.WorkDir, ".machine-id")
			env.Setenv("FLEETCTL_ENDPOINT", c.Serve(tb, server.Options{Doctor: examined}))
			env.Setenv("MACHINE_ID_FILE", id)
			env.Setenv("HOME", env.WorkDir)
			return os.WriteFile(id, []byte(string(node("1", "", nil).ID)+"\n"), 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster": clusterCommand,
			"mask":    maskCommand,
			"soon":    soonCommand,

			"follow":    followCommand,
			"until":     untilCommand,
			"interrupt": interruptCommand,
		},
	})
}

// examined is what the fleetd of the transcripts finds.
func examined(context.Context) api.Diagnosis {
	return api.Diagnosis{
		MachineID: string(node("1", "", nil).ID), Hostname: "one", Version: "2.0.0",
		Findings: []api.Finding{
			{Check: "fleetd", Subject: "one", Level: api.LevelOK, Found: "joined as 11111111 (10.0.0.1), 3 units"},
			{Check: "disk", Subject: "/", Level: api.LevelWarning, Found: "900 MiB free (4%)", Remedy: "make room: df -h /"},
			{Check: "etcd", Subject: "http://10.0.0.2:2379", Level: api.LevelError, Found: "does not answer: connection refused", Remedy: "start it"},
		},
	}
}

// node makes a machine: 1 is 1111..., at 10.0.0.1. Its systemctl and journalctl
// only print what they were asked.
func node(digit, hostname string, metadata map[string]string) machine.Machine {
	return machine.Machine{
		ID: machine.ID(strings.Repeat(digit, 32)), IP: "10.0.0." + digit, Hostname: hostname, Metadata: metadata, Version: "2.0.0",
		Manager: machine.Manager{
			Scope:      "private",
			Systemctl:  []string{"sh", "-c", `echo "systemctl $@"; case "$*" in *failing*) exit 3;; esac`, "systemctl"},
			Journalctl: []string{"echo", "journalctl"},
		},
	}
}

// clusterCommand changes the cluster under fleetctl:
//
//	cluster join N [k=v...]          cluster lose N
//	cluster pause|resume engine|agents
//	cluster etcd down|up
//	cluster cordon N                 cluster forget UNIT, the text of it
//	cluster script UNIT [AFTER:]ACTIVE/SUB[/RESULT[/LOG]]...
func clusterCommand(ts *testscript.TestScript, _ bool, args []string) {
	c := ts.Value(clusterKey{}).(*servertest.Cluster)
	switch args[0] {
	case "join":
		metadata := map[string]string{}
		for _, pair := range args[2:] {
			k, v, _ := strings.Cut(pair, "=")
			metadata[k] = v
		}
		c.SetMachine(node(args[1], "", metadata))
	case "lose":
		c.LoseMachine(node(args[1], "", nil).ID)
	case "cordon":
		id := node(args[1], "", nil).ID
		_, err := c.UpdateOverrides(context.Background(), []machine.ID{id}, func(_ machine.ID, o *record.Overrides) error {
			o.Cordoned, o.Metadata = true, map[string]string{"rack": "7"}
			return nil
		})
		ts.Check(err)
	case "forget":
		c.LoseText(unit.Name(args[1]))
	case "pause", "resume":
		if args[1] == "engine" {
			c.PauseEngine(args[0] == "pause")
		} else {
			c.PauseAgents(args[0] == "pause")
		}
	case "etcd":
		if c.Break(nil); args[1] == "down" {
			c.Break(errors.New("the cable is cut"))
		}
	case "script":
		var moments []servertest.Moment
		for _, arg := range args[2:] {
			var m servertest.Moment
			if after, rest, ok := strings.Cut(arg, ":"); ok {
				d, err := time.ParseDuration(after)
				ts.Check(err)
				m.After, arg = d, rest
			}
			words := append(strings.Split(arg, "/"), "", "")
			m.Log = words[3]
			m.State = unit.SystemdState{Load: "loaded", Active: words[0], Sub: words[1], Result: words[2]}
			moments = append(moments, m)
		}
		c.Script(unit.Name(args[1]), moments...)
	default:
		ts.Fatalf("cluster %v", args)
	}
}

// maskCommand writes an output of the last command into a file, with what
// changes from run to run masked: mask stdout FILE.
func maskCommand(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	text = strings.ReplaceAll(text, ts.Getenv("WORK"), "WORK")
	text = strings.ReplaceAll(text, ts.Getenv("FLEETCTL_ENDPOINT"), "ENDPOINT")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`revision \d+`).ReplaceAllString(text, "revision N")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// soonCommand repeats a command until its output has a word: soon WORD COMMAND...
func soonCommand(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if strings.Contains(strings.Join(strings.Fields(out), " "), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %q of %v: %v %s", args[0], args[1:], err, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func BenchmarkStart(b *testing.B) {
	b.ReportAllocs()
	c := servertest.New(b)
	c.SetMachine(node("1", "one", nil))
	endpoint := c.Serve(b, server.Options{})
	dir := b.TempDir()
	for i := range b.N {
		path := filepath.Join(dir, fmt.Sprintf("u%d.service", i))
		if err := os.WriteFile(path, []byte("[Service]\nType=exec\nExecStart=/bin/true\n"), 0o644); err != nil {
			b.Fatal(err)
		}
		var out bytes.Buffer
		cl := &cli{stdin: strings.NewReader(""), stdout: &out, stderr: &out}
		if code := cl.run([]string{"--endpoint", endpoint, "start", path}); code != 0 {
			b.Fatal(out.String())
		}
	}
}
