package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// diary writes down the runs of one host's units, with seconds since its boot.
type diary struct {
	booted time.Time
	lines  []string
}

func (d *diary) Began(i Instance) {
	d.lines = append(d.lines, fmt.Sprintf("%g begins %s", i.Since.Sub(d.booted).Seconds(), i.Unit))
}

func (d *diary) Ended(i Instance, at time.Time) {
	d.lines = append(d.lines, fmt.Sprintf("%g ends %s", at.Sub(d.booted).Seconds(), i.Unit))
}

type bench struct {
	*machineSystemd
	diary *diary
}

func newBench(does Behaviour) bench {
	d := &diary{booted: time.Unix(1e9, 0)}
	s := newMachineSystemd(HostOptions{
		Machine: machine.Machine{ID: "m"}, Witness: d, Rand: rand.New(rand.NewPCG(1, 2)),
		Behave: func([]byte) Behaviour { return does },
	})
	s.now = d.booted
	s.Watch("a.service")
	_, _ = s.Write(context.Background(), []systemd.File{{Name: "a.service", Text: []byte("[Service]\n")}})
	return bench{s, d}
}

func (b bench) pass(d time.Duration) { b.advance(b.now.Add(d)) }

func TestModelOfSystemd(t *testing.T) {
	ctx := context.Background()
	const name = unit.Name("a.service")
	slow := Behaviour{Start: time.Second, Stop: 2 * time.Second}
	start := func(b bench) (<-chan string, error) { return b.Start(ctx, name) }
	restart := func(b bench) (<-chan string, error) { return b.Restart(ctx, name) }
	stop := func(b bench) (<-chan string, error) { return b.Stop(ctx, name) }
	kill := func(b bench) (<-chan string, error) { return nil, b.Kill(ctx, name) }
	type call func(bench) (<-chan string, error)
	for _, c := range []struct {
		name  string
		does  Behaviour
		calls []call // half a second apart
		runs  string // in ten seconds
		jobs  string // how they end
		state string
	}{
		{"started", slow, []call{start}, "0 begins", "done", "active"},
		{"started twice", slow, []call{start, start}, "0 begins", "done done", "active"},
		{"stopped while it starts", slow, []call{start, stop}, "0 begins, 2.5 ends", "canceled done", "inactive"},
		{"restarted", slow, []call{start, nil, nil, restart}, "0 begins, 3.5 ends, 3.5 begins", "done done", "active"},
		{"started while it stops", slow, []call{start, nil, nil, stop, start}, "0 begins, 3.5 ends, 3.5 begins", "done canceled done", "active"},
		{"stopped after all", slow, []call{start, nil, nil, restart, stop}, "0 begins, 3.5 ends", "done canceled done", "inactive"},
		{"killed while it stops", slow, []call{start, nil, nil, stop, kill}, "0 begins, 2 ends", "done done", "inactive"},
		{"killed", slow, []call{start, nil, nil, kill}, "0 begins, 1.5 ends", "done", "failed"},
		{"stopped though it is down", slow, []call{stop}, "", "done", "inactive"},
		{"refuses to start", Behaviour{Start: time.Second, Refuses: 100}, []call{start}, "0 begins, 1 ends", "failed", "failed"},
		{"simple", Behaviour{Simple: true, Start: time.Second, Refuses: 100}, []call{start}, "0 begins, 1 ends", "done", "failed"},
		{"comes back", Behaviour{Simple: true, Restarts: true}, []call{start, kill}, "0 begins, 0.5 ends, 0.6 begins", "done", "active"},
		{"stopped between two runs", Behaviour{Start: time.Second, Refuses: 100, Restarts: true}, []call{start, nil, stop}, "0 begins, 1 ends", "failed done", "inactive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(c.does)
			var jobs []<-chan string
			for _, call := range c.calls {
				if call != nil {
					job, err := call(b)
					if err != nil {
						t.Fatal(err)
					}
					if job != nil {
						jobs = append(jobs, job)
					}
				}
				b.pass(500 * time.Millisecond)
			}
			b.pass(10 * time.Second)
			var ends []string
			for _, j := range jobs {
				select {
				case end := <-j:
					ends = append(ends, end)
				default:
					ends = append(ends, "under way")
				}
			}
			runs := strings.ReplaceAll(strings.Join(b.diary.lines, ", "), " a.service", "")
			if got := strings.Join(ends, " "); runs != c.runs || got != c.jobs {
				t.Errorf("runs: %s\nwant: %s\njobs: %s, want %s", runs, c.runs, got, c.jobs)
			}
			said := b.Take().States[name]
			asked, err := b.States(ctx, []unit.Name{name})
			if err != nil || said.Active != c.state || said != asked[name] {
				t.Errorf("signalled %+v, answers %+v (%v), want %s", said, asked[name], err, c.state)
			}
			if running := len(b.running()) == 1; running != (c.state == "active") {
				t.Errorf("it runs: %v", running)
			}
		})
	}
}

func TestModelOfSystemdKeepsWhatIsTheHosts(t *testing.T) {
	b := newBench(Behaviour{})
	b.foreign["sshd.service"] = true
	refused, err := b.Claim(context.Background(), []systemd.File{
		{Name: "sshd.service"}, {Name: "new.service"}, {Name: "a.service", Text: []byte("[Service]\n")},
	})
	if err != nil || len(refused) != 1 || !errors.As(refused["sshd.service"], new(*systemd.ForeignError)) {
		t.Errorf("refused %v, %v", refused, err)
	}
}

func TestModelOfSystemdIsAway(t *testing.T) {
	ctx := context.Background()
	b := newBench(Behaviour{Start: time.Second})
	job, err := b.Start(ctx, "a.service")
	if err != nil {
		t.Fatal(err)
	}
	b.disconnect(true)
	if end, open := <-job; open {
		t.Errorf("the job's end is told: %s", end)
	}
	if _, err := b.States(ctx, []unit.Name{"a.service"}); !errors.Is(err, systemd.ErrDisconnected) {
		t.Errorf("it answers: %v", err)
	}
	b.pass(2 * time.Second)
	if len(b.Take().States) > 1 { // of before
		t.Error("it signals")
	}
	b.disconnect(false)
	if !b.Take().Resync {
		t.Error("nobody says that signals were missed")
	}
	b.off(b.now)
	if want := []string{"0 begins a.service", "2 ends a.service"}; !slices.Equal(b.diary.lines, want) {
		t.Errorf("runs: %v", b.diary.lines)
	}
}
