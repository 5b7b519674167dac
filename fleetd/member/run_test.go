package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

// aRun is a run with an etcd that only notes what it was told.
type aRun struct {
	Options
	hook    *test.Hook
	status  []string
	started []string // etcd's command line and environment, in one line each time
}

func newRun(t *testing.T, environ ...string) *aRun {
	r := new(aRun)
	log, hook := test.NewNullLogger()
	log.SetOutput(io.Discard)
	r.hook = hook
	r.Options = Options{
		Environ: append([]string{"ETCD_DATA_DIR=" + t.TempDir()}, environ...),
		Lookup:  lookup, Log: logrus.NewEntry(log),
		Status: func(text string) { r.status = append(r.status, text) },
		Etcd: func(args []string, environ map[string]string) {
			line := strings.Join(args, " ")
			for name, value := range environ {
				line += " " + name + "=" + value
			}
			r.started = append(r.started, line)
		},
		Configured: func() error { return nil },
		Proxy:      func(context.Context, ProxyOptions) error { return errors.New("a proxy") },
	}
	return r
}

func (r *aRun) logged(text string) bool {
	for _, e := range r.hook.AllEntries() {
		if strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

// At boot, the network takes its time.
func TestRunWaitsForAnAddress(t *testing.T) {
	r := newRun(t, "ETCD_ADVERTISE_CLIENT_URLS=http://$private_ipv4:2379")
	asked := 0
	r.Lookup = func(name string) (string, error) {
		if asked++; asked == 1 {
			return "", errors.New("no network yet")
		}
		return lookup(name)
	}
	if err := Run(t.Context(), r.Options); err != nil {
		t.Fatal(err)
	}
	if len(r.started) != 1 || !strings.Contains(r.started[0], "ETCD_ADVERTISE_CLIENT_URLS=http://10.0.0.11:2379") {
		t.Errorf("%q", r.started)
	}
	if len(r.status) == 0 || !strings.Contains(r.status[0], "no network yet; waiting for it") {
		t.Errorf("%q", r.status)
	}
}

func TestRunGivesUpOnAnAddress(t *testing.T) {
	r := newRun(t, "ETCD_ADVERTISE_CLIENT_URLS=http://$public_ipv4:2379")
	r.Patience = time.Millisecond
	err := Run(t.Context(), r.Options)
	if !errors.As(err, new(*AddressError)) || ExitCode(err) != 1 || len(r.started) != 0 {
		t.Errorf("%v, and etcd was started %d times", err, len(r.started))
	}
	// Told to end while it waits, it ends without an error.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Patience = time.Hour
	if err := Run(ctx, r.Options); err != nil {
		t.Error(err)
	}
}

// A member whose log is lost was replaced: what is left of its data must not get
// into the new member's. etcd would begin with it, and end with a panic.
func TestRunNotedWithTheRestOfAMember(t *testing.T) {
	for _, phase := range []Phase{PhaseComplete, PhaseLearner} {
		t.Run(string(phase), func(t *testing.T) {
			r := newRun(t, "ETCD_NAME=a", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://10.0.0.1:2380")
			r.Promotion = time.Hour
			s, _, err := Parse(nil, r.Environ, lookup)
			if err != nil {
				t.Fatal(err)
			}
			rest := filepath.Join(s.DataDir, "member/snap/db")
			if err := errors.Join(os.MkdirAll(filepath.Dir(rest), 0o700), os.WriteFile(rest, []byte("old"), 0o600),
				s.WriteNote(Note{Phase: phase, InitialCluster: "a=http://10.0.0.1:2380", Peer: "a=http://10.0.0.1:2380"})); err != nil {
				t.Fatal(err)
			}
			r.Etcd = func([]string, map[string]string) {
				_, err := os.Stat(rest)
				r.started = append(r.started, fmt.Sprint(errors.Is(err, fs.ErrNotExist)))
			}
			if err := Run(t.Context(), r.Options); err != nil {
				t.Fatal(err)
			}
			if len(r.started) != 1 || r.started[0] != "true" {
				t.Errorf("etcd was started, the rest was gone: %q", r.started)
			}
		})
	}
}

// A host that is told nothing of others is alone, as etcd has it; but it says so.
func TestRunAlone(t *testing.T) {
	r := newRun(t, "ETCD_NAME=a", "ETCD_PROXY_READ_TIMEOUT=0")
	if err := Run(t.Context(), r.Options); err != nil {
		t.Fatal(err)
	}
	if len(r.started) != 1 || !r.logged("this host is a cluster of its own") || !r.logged("ETCD_PROXY_READ_TIMEOUT does nothing") {
		t.Errorf("%q, %v", r.started, r.hook.AllEntries())
	}
	if strings.Contains(r.started[0], "ETCD_PROXY_READ_TIMEOUT=0") {
		t.Error("etcd is told of what it doesn't know")
	}
}

// One whose config was not applied may be told of others once it is: begun now,
// a cluster of its own would stay.
func TestRunAloneWithoutItsConfig(t *testing.T) {
	r := newRun(t, "ETCD_NAME=a")
	r.Configured = func() error { return errors.New("no config") }
	err := Run(t.Context(), r.Options)
	if err == nil || !strings.HasSuffix(err.Error(), ": no config") || ExitCode(err) != 78 || len(r.started) != 0 {
		t.Errorf("%v, and etcd was started %d times", err, len(r.started))
	}
	r = newRun(t, "ETCD_NAME=a", "ETCD_INITIAL_CLUSTER=a=http://localhost:2380")
	r.Configured = func() error { return errors.New("no config") }
	if err := Run(t.Context(), r.Options); err != nil || len(r.started) != 1 {
		t.Errorf("told who the members are: %v", err)
	}
}
