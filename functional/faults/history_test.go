package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/history"
	"github.com/fleet-project/fleet/functional/platform"
)

// historyRows hold what the API answers against what can have been.
var historyRows = []row{
	{
		name:     "history",
		fault:    "ten clients change the same units through all hosts' APIs while fleetds, etcd members and the network fail",
		promised: "every answer is true of one order in which all requests were carried out; the hosts run what the last of them left",
		some:     true,
		limit:    8 * time.Minute,
		run:      answers,
	},
}

const (
	clientCount = 10
	// An epoch's units are nobody's in the next: what is lost stays open to the end
	// of a unit's history, and makes that hard to check.
	epoch = 5 * time.Second
	// unitsAtOnce is how many units the clients are at.
	unitsAtOnce             = 3
	epochs, someEpochs      = 24, 8
	requestTime, clientRest = 3 * time.Second, 60 * time.Millisecond
	checkPatience           = time.Minute
)

// texts are what the units are made of, by name.
var texts = map[string]string{
	"x": "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/sleep infinity\n",
	"y": "[Unit]\nDescription=y\n[Service]\nExecStart=/bin/sleep infinity\n",
}

// answers has clients ask, breaks things meanwhile, and checks.
func answers(s *scene) {
	n := epochs
	if *chosen == "some" {
		n = someEpochs
	}
	h := history.New()
	s.begin()
	ctx, stop := context.WithTimeout(s.ctx, time.Duration(n)*epoch)
	defer stop()
	began := time.Now()
	var clients sync.WaitGroup
	for c := range clientCount {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1))
			for ctx.Err() == nil {
				name := fmt.Sprintf("hist-%d-%d.service", int(time.Since(began)/epoch), r.IntN(unitsAtOnce))
				s.ask(h, c, s.Hosts[r.IntN(len(s.Hosts))], someRequest(r, name))
				select {
				case <-ctx.Done():
				case <-time.After(clientRest):
				}
			}
		})
	}
	s.trouble(ctx)
	clients.Wait()
	s.must(s.AwaitMachines(s.ctx, len(s.Hosts)))
	s.must(s.Everywhere(func(h *platform.Host) error { // what was killed last may not be back
		return cluster.Await(s.ctx, h.Name()+"'s API to answer", func() (bool, string) {
			out, err := h.Run(s.ctx, "curl", "-sSf", "--unix-socket", "/run/fleet.sock", "http://fleet/fleet/v1/machines")
			return err == nil, fmt.Sprint(out, err)
		})
	}))
	running := map[string]bool{}
	units := n * unitsAtOnce
	for e := range n {
		for i := range unitsAtOnce {
			name := fmt.Sprintf("hist-%d-%d.service", e, i)
			for _, host := range s.Hosts { // whoever is asked
				out := s.ask(h, clientCount, host, history.Request{Unit: name, Verb: history.Get})
				if out.Lost {
					s.t.Errorf("%s doesn't answer for %s though all is well", host.Name(), name)
				}
				running[name] = out.Target == "launched"
			}
		}
	}
	asked, lost := h.Counts()
	if lost*2 > asked { // anything explains what nobody was told
		s.t.Errorf("%d of %d requests have no answer to rely on: that proves nothing", lost, asked)
	}
	verdict := "linearizable"
	if err := h.Check(filepath.Join(cluster.Root(), "functional/failed", "history"), checkPatience); err != nil {
		verdict = "NOT linearizable"
		s.t.Error(err)
	}
	s.endState(running)
	s.seen.Units, s.seen.Converged, s.seen.Uncounted = units, seconds(s.now().Sub(s.began)), true
	s.seen.Note = fmt.Sprintf("%d requests, %d of them without an answer to rely on: %s", asked, lost, verdict)
}

// endState awaits that each unit runs once if it is to run, and nowhere else.
func (s *scene) endState(running map[string]bool) {
	s.t.Helper()
	s.await("the hosts to run what was acknowledged last", func() (bool, string) {
		count := map[string]int{}
		for _, h := range s.Hosts {
			for line := range strings.Lines(s.run(h, "systemctl list-units --plain --no-legend --state=active 'hist-*'")) {
				count[strings.Fields(line)[0]]++
			}
		}
		for name, must := range running {
			if want := map[bool]int{true: 1}[must]; count[name] != want {
				return false, fmt.Sprintf("%s runs %d times, not %d", name, count[name], want)
			}
		}
		return true, ""
	})
}

// trouble breaks one thing after the other until ctx ends, and mends all.
func (s *scene) trouble(ctx context.Context) {
	r := rand.New(rand.NewPCG(7, 7))
	leads := `curl -s --unix-socket /run/fleet.sock http://fleet/metrics | grep -q '^fleet_engine_is_leader 1'`
	for i := 0; ctx.Err() == nil; i++ {
		h := s.Hosts[r.IntN(len(s.Hosts))]
		switch i % 4 {
		case 0:
			s.run(h, "systemctl kill --signal=KILL fleet.service")
		case 1:
			s.must(h.CutOff(s.ctx))
			s.lull(ctx, 4*time.Second)
			s.must(h.Rejoin(s.ctx))
		case 2:
			s.run(h, "systemctl kill --signal=KILL etcd2.service")
		case 3:
			s.must(s.Everywhere(func(h *platform.Host) error {
				_, err := h.Run(s.ctx, "sh", "-c", leads+" && systemctl kill --signal=KILL fleet.service || :")
				return err
			}))
		}
		s.lull(ctx, 2*time.Second)
	}
}

// lull lets time pass for the clients.
func (s *scene) lull(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// someRequest draws one.
func someRequest(r *rand.Rand, name string) history.Request {
	req := history.Request{Unit: name, Text: []string{"x", "y"}[r.IntN(2)], Target: []string{"inactive", "loaded", "launched"}[r.IntN(3)]}
	switch n := r.IntN(20); {
	case n < 6:
		req.Verb = history.Get
	case n < 10:
		req.Verb = history.Put
	case n < 13:
		req.Verb = history.Submit
	case n < 17:
		req.Verb = history.Aim
	default:
		req.Verb = history.Delete
	}
	return req
}

// ask does one request through a host's API, on a connection of its own.
func (s *scene) ask(h *history.History, client int, on *platform.Host, r history.Request) history.Answer {
	r.Host = on.Name()
	return h.Ask(client, r, func() history.Answer {
		ctx, cancel := context.WithTimeout(s.ctx, requestTime)
		defer cancel()
		method, body := http.MethodGet, map[string]string{}
		switch r.Verb {
		case history.Delete:
			method = http.MethodDelete
		case history.Put:
			method, body = http.MethodPut, map[string]string{"text": texts[r.Text], "desiredState": r.Target}
		case history.Submit:
			method, body = http.MethodPut, map[string]string{"text": texts[r.Text]}
		case history.Aim:
			method, body = http.MethodPut, map[string]string{"desiredState": r.Target}
		}
		sent, err := json.Marshal(body)
		if err != nil {
			s.t.Error(err)
		}
		req, err := http.NewRequestWithContext(ctx, method, "http://fleet/fleet/v1/units/"+r.Unit, bytes.NewReader(sent))
		if err != nil {
			s.t.Error(err)
			return history.Answer{Lost: true}
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return on.DialUnix(ctx, "/run/fleet.sock")
		}}).RoundTrip(req)
		if err != nil {
			return history.Answer{Lost: true}
		}
		defer resp.Body.Close()
		return s.answer(r, resp)
	})
}

// answer understands one.
func (s *scene) answer(r history.Request, resp *http.Response) history.Answer {
	text, err := io.ReadAll(resp.Body)
	var got struct{ Text, DesiredState string }
	switch {
	case err != nil, resp.StatusCode >= 500:
		return history.Answer{Lost: true}
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusConflict && r.Verb == history.Aim:
		return history.Answer{Absent: true}
	case resp.StatusCode >= 300:
		s.t.Errorf("%+v: %s: %s", r, resp.Status, text)
		return history.Answer{Lost: true}
	case r.Verb != history.Get:
		return history.Answer{}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		s.t.Errorf("%+v: %s: %v", r, text, err)
	}
	for name, is := range texts {
		if is == got.Text {
			return history.Answer{Text: name, Target: got.DesiredState}
		}
	}
	s.t.Errorf("%+v: a text that nobody sent: %s", r, text)
	return history.Answer{Lost: true}
}
