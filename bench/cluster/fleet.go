package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/bench/load"
)

// perTemplate is how many instances of each template there are.
const perTemplate = 50

func shapeOf(o options) load.Shape {
	return load.Shape{Templates: max(1, o.units/perTemplate), Instances: min(o.units, perTemplate), Machines: o.agents}
}

// etcdServer is a process that is etcd, with its data on the disk.
type etcdServer struct {
	*process
	url string
}

func startEtcd(ctx context.Context, o options, name string) (*etcdServer, error) {
	client, err := freePort()
	if err != nil {
		return nil, err
	}
	peer, err := freePort()
	if err != nil {
		return nil, err
	}
	e := &etcdServer{url: "http://127.0.0.1:" + client}
	peerURL := "http://127.0.0.1:" + peer
	e.process, err = begin(name, o.fleetd, "etcd", "--name", name, "--data-dir", filepath.Join(o.dir, name),
		"--listen-client-urls", e.url, "--advertise-client-urls", e.url, "--listen-peer-urls", peerURL,
		"--initial-advertise-peer-urls", peerURL, "--initial-cluster", name+"="+peerURL, "--log-level", "fatal", "--enable-pprof")
	if err != nil {
		return nil, fmt.Errorf("%w (build it: make build)", err)
	}
	for ctx.Err() == nil {
		if resp, err := http.Get(e.url + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return e, nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	e.kill()
	return nil, ctx.Err()
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// stop ends etcd in order.
func (e *etcdServer) stop() {
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
	_ = e.cmd.Wait() // it ends by the signal
}

// metric gives one of etcd's own metrics.
func (e *etcdServer) metric(name string) (float64, error) {
	return scrape(http.DefaultClient, e.url+"/metrics", name)
}

// scrape gives a metric of a process. The sum, if it has labels.
func scrape(c *http.Client, url, name string) (sum float64, err error) {
	resp, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(string(text)) {
		of, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if of != name && !strings.HasPrefix(of, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %s: %w", url, name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("%s has no %s", url, name)
	}
	return sum, nil
}

// fleet is all that is measured.
type fleet struct {
	o       options
	etcd    *etcdServer
	servers []*serving
	hosts   []*process
	scratch string // in memory: what hosts keep below /run
	profile string // how names of CPU profiles begin, while they are taken; else empty
}

// serving is a process with an engine and an API.
type serving struct {
	*process
	socket string
	client *api.Client
	http   *http.Client // for what the client doesn't do
}

// newFleet starts etcd, one engine and all hosts, and waits until they are there.
func newFleet(ctx context.Context, o options) (f *fleet, err error) {
	f = &fleet{o: o}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	memory := "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		memory = o.dir
	}
	if f.scratch, err = os.MkdirTemp(memory, "fleet-bench-"); err != nil {
		return nil, err
	}
	if f.etcd, err = startEtcd(ctx, o, "etcd"); err != nil {
		return nil, err
	}
	if _, err = f.addServer(); err != nil {
		return nil, err
	}
	for i := range o.processes {
		from, to := o.agents*i/o.processes, o.agents*(i+1)/o.processes
		p, err := f.self("hosts", "-from", strconv.Itoa(from), "-to", strconv.Itoa(to), "-latency", o.latency.String(), "-dir", f.scratch)
		if err != nil {
			return nil, err
		}
		f.hosts = append(f.hosts, p)
	}
	for _, p := range f.hosts {
		if err := p.awaitReady(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// self starts this program in a role.
func (f *fleet) self(role string, args ...string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return begin(role, program, append(args, "-role", role, "-etcd", f.etcd.url, "-ttl", f.o.ttl.String())...)
}

// addServer starts one more engine, with an API. The first one leads.
func (f *fleet) addServer() (*serving, error) {
	s := &serving{socket: filepath.Join(f.scratch, fmt.Sprintf("fleet%d.sock", len(f.servers)))}
	var err error
	if s.process, err = f.self("serve", "-socket", s.socket); err != nil {
		return nil, err
	}
	f.servers = append(f.servers, s)
	if err := s.awaitReady(); err != nil {
		return nil, err
	}
	if f.profile != "" {
		if err := s.order(fmt.Sprintf("cpu %sfleetd%d.pprof", f.profile, len(f.servers)-1)); err != nil {
			return nil, err
		}
	}
	if s.client, err = api.NewClient(api.ClientOptions{Endpoint: "unix://" + s.socket, Timeout: time.Minute}); err != nil {
		return nil, err
	}
	s.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	}}}
	return s, nil
}

// metric gives a metric of an engine's process.
func (s *serving) metric(name string) (float64, error) {
	return scrape(s.http, "http://fleetd/metrics", name)
}

// named gives the processes of ours that run, by what to call their profiles.
func (f *fleet) named() map[string]*process {
	out := map[string]*process{}
	for i, p := range f.hosts {
		out[fmt.Sprintf("hosts%d", i)] = p
	}
	for i, s := range f.servers {
		if s.cmd.ProcessState == nil {
			out[fmt.Sprintf("fleetd%d", i)] = s.process
		}
	}
	return out
}

// counted is what all hosts were told to do so far.
func (f *fleet) counted() (sum counted, err error) {
	for _, p := range f.hosts {
		var c counted
		if err := p.ask("count", &c); err != nil {
			return sum, err
		}
		sum.Starts, sum.Stops, sum.Warnings = sum.Starts+c.Starts, sum.Stops+c.Stops, sum.Warnings+c.Warnings
	}
	return sum, nil
}

// close ends all processes: the hosts at once, for there is nothing to hand over.
func (f *fleet) close() {
	for _, p := range f.hosts {
		p.kill()
	}
	for _, s := range f.servers {
		s.kill()
	}
	if f.etcd != nil {
		f.etcd.stop()
	}
	_ = errors.Join(os.RemoveAll(f.scratch)) // in memory, and small
}
