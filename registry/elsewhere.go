package registry

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// By default a fleetd asks etcd on its own host. If that alone fails, the host would
// count as lost, though it and etcd are well. So a registry remembers who etcd's
// members are, and asks others of them while none of its endpoints can answer.

const (
	// relearn is how often it is asked who the members are: etcd tells nobody of a
	// change.
	relearn = 5 * time.Minute
	// goBack is how often it is looked whether an endpoint can answer again.
	goBack = 5 * time.Second
)

// elsewhere is where etcd is besides the endpoints.
type elsewhere struct {
	endpoints []string
	failed    chan struct{}  // has room for one: etcd didn't answer, look now
	learned   func([]string) // told of known, each time that etcd was asked; nil: nobody is

	mu    sync.Mutex
	known []string // client URLs of members
	used  []string // those of them that are asked now, in the endpoints' place
}

func newElsewhere(cfg Config) elsewhere {
	return elsewhere{endpoints: cfg.Endpoints, failed: make(chan struct{}, 1), learned: cfg.Learned, known: cfg.Members}
}

// unanswered has it looked for members that answer.
func (e *elsewhere) unanswered() {
	select {
	case e.failed <- struct{}{}:
	default:
	}
}

// using gives the members that are asked now in the endpoints' place.
func (e *elsewhere) using() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.used
}

// StayInTouch has requests go to members that answer when the endpoints don't, and to
// those again when they do, until ctx ends, which gives its error.
func (r *Registry) StayInTouch(ctx context.Context) error {
	pause := time.Duration(0)
	r.reroute(ctx) // what fails may have failed before this began
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			if len(r.elsewhere.using()) > 0 {
				r.reroute(ctx)
			}
		case <-r.elsewhere.failed:
			timer.Stop()
			r.reroute(ctx)
			if err := r.clock.Sleep(ctx, retryPause); err != nil { // whatever else fails meanwhile
				return err
			}
		}
		pause = relearn
		if !r.learnMembers(ctx) || len(r.elsewhere.using()) > 0 {
			pause = goBack
		}
	}
}

// learnMembers remembers who etcd's members are, and tells whether it answered; if it
// didn't, they are who they were.
func (r *Registry) learnMembers(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	resp, err := r.etcd.MemberList(asking, clientv3.WithSerializable())
	if err != nil {
		return false
	}
	e := &r.elsewhere
	known := reachable(resp.Members, e.endpoints)
	e.mu.Lock()
	if len(known) > 0 {
		e.known = known
	}
	e.mu.Unlock()
	if len(known) > 0 && e.learned != nil {
		e.learned(known)
	}
	return true
}

// reachable gives the client URLs of members with a vote that mean something on
// other hosts, but for those that are among the endpoints already.
func reachable(members []*pb.Member, endpoints []string) []string {
	var urls []string
	for _, m := range members {
		for _, u := range m.ClientURLs {
			at, err := url.Parse(u)
			if err == nil && strings.HasPrefix(at.Scheme, "http") && !m.IsLearner && !everyHostsOwn(at.Hostname()) && !slices.Contains(endpoints, u) {
				urls = append(urls, u)
			}
		}
	}
	return urls
}

// reroute has requests go to the endpoints if one of them can answer, else to the
// members that can, if there are any.
func (r *Registry) reroute(ctx context.Context) {
	e := &r.elsewhere
	e.mu.Lock()
	known, used := e.known, e.used
	e.mu.Unlock()
	if len(known) == 0 {
		return
	}
	for _, u := range known {
		r.connector.learn(u)
	}
	all := r.endpointsAt(ctx, slices.Concat(e.endpoints, known))
	if ctx.Err() != nil {
		return
	}
	own, others := answering(all[:len(e.endpoints)]), answering(all[len(e.endpoints):])
	switch {
	case len(own) > 0 && len(used) == 0, len(own) == 0 && len(others) == 0, len(own) == 0 && slices.Equal(others, used):
		return // no better way than the one it takes
	case len(own) > 0:
		r.log.Infof("etcd answers at %s again: asking there", strings.Join(own, " and "))
		others = nil
		r.etcd.SetEndpoints(e.endpoints...)
	default:
		r.log.Warnf("etcd does not answer at %s: asking its other members at %s until it does", strings.Join(e.endpoints, " or "), strings.Join(others, " and "))
		r.etcd.SetEndpoints(others...)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.used = others
}

// answering gives the URLs of those that know of a leader, and so can answer.
func answering(all []Endpoint) []string {
	var urls []string
	for _, e := range all {
		if e.Error == "" && !e.Leaderless {
			urls = append(urls, e.URL)
		}
	}
	return urls
}
