package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/fleetd/peers"
)

// follower keeps the upstream's endpoints, and the file, as the members are.
type follower struct {
	opts    Options
	known   Cluster // now
	kept    Cluster // on disk
	ask     func(ctx context.Context, peerURL string) (cluster string, members []peers.Member, err error)
	own     func(url.URL) bool
	up      interface{ set([]endpoint, error) }
	metrics *metrics

	kicked chan struct{}
	said   string // last, of how things are
}

// kick makes a way to have the members asked soon.
func (f *follower) kick() func() {
	f.kicked = make(chan struct{}, 1)
	return func() {
		select {
		case f.kicked <- struct{}{}:
		default:
		}
	}
}

// run asks until ctx ends. There is no event of etcd's that tells of a changed
// membership; but a member that goes away breaks its connections, which is one.
func (f *follower) run(ctx context.Context) error {
	for {
		wait := f.opts.Refresh
		if !f.round(ctx) {
			wait = f.opts.Retry
		}
		// One question at a time, with a pause: a member that is down fails every
		// connection, many times a second.
		if err := sleep(ctx, min(wait, f.opts.Retry), nil); err != nil {
			return err
		}
		if err := sleep(ctx, wait-min(wait, f.opts.Retry), f.kicked); err != nil {
			return err
		}
	}
}

// sleep waits for d or until it is woken.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
	case <-t.C:
	}
	return nil
}

// heard is what one peer URL said.
type heard struct {
	from, cluster string
	members       []peers.Member
	err           error
}

// asked asks the members, and those that they name.
func (f *follower) asked(ctx context.Context) (answers []heard, found Cluster, trouble error) {
	found = f.known
	for next := found.PeerURLs; len(next) > 0 && ctx.Err() == nil; {
		these := make([]heard, len(next))
		var asking sync.WaitGroup
		for i, u := range next {
			asking.Go(func() {
				these[i].from = u
				these[i].cluster, these[i].members, these[i].err = f.ask(ctx, u)
			})
		}
		asking.Wait()
		answers = append(answers, these...)
		found, trouble = f.known.merge(answers)
		next = slices.DeleteFunc(slices.Clone(found.PeerURLs), func(u string) bool {
			return slices.ContainsFunc(answers, func(a heard) bool { return a.from == u })
		})
	}
	return answers, found, trouble
}

// round asks all members once, and reports whether all are there and well.
func (f *follower) round(ctx context.Context) (settled bool) {
	answers, found, trouble := f.asked(ctx)
	if ctx.Err() != nil {
		return false
	}
	if f.known.ID == "" && found.ID == "" {
		f.up.set(nil, trouble)
		f.metrics.members.Set(0)
		f.say(f.nobody(trouble), true)
		return false
	}
	f.known = found
	if !found.equal(f.kept) {
		if err := found.save(f.opts.Dir); err != nil {
			f.opts.Log.Warn(err)
			trouble = errors.Join(trouble, err) // and tried again soon
		} else {
			f.kept = found
		}
	}
	endpoints, settled := f.endpoints(answers)
	if len(endpoints) == 0 && trouble == nil {
		trouble = errors.New("those that do have not quite started, or are learners")
	}
	f.up.set(endpoints, trouble)
	f.metrics.members.Set(float64(len(endpoints)))
	switch {
	case len(endpoints) == 0:
		f.say(f.nobody(trouble), true)
	case trouble != nil:
		f.say(fmt.Sprintf("proxy of etcd cluster %s, for %s; not all are well: %v", found.ID, found.names(), trouble), true)
	default:
		f.say(fmt.Sprintf("proxy of etcd cluster %s, for %s", found.ID, found.names()), false)
	}
	return settled && trouble == nil
}

// nobody is what to say when there is no member to go to.
func (f *follower) nobody(trouble error) string {
	hint := ""
	if f.known.ID == "" && f.opts.From != "" {
		hint = fmt.Sprintf("; they are from %s: if that was used for an earlier cluster, which is gone, make a new one for this cluster's hosts", f.opts.From)
	} else if f.known.ID != "" {
		hint = fmt.Sprintf("; they are kept in %s: if all of them are gone for good, write a member's URL there, or delete it to begin anew", file(f.opts.Dir))
	}
	return fmt.Sprintf("this host is a proxy of the etcd cluster, and none of the members answers: %v; trying on%s", trouble, hint)
}

// say logs how things are, once.
func (f *follower) say(text string, bad bool) {
	if text == f.said {
		return
	}
	f.said = text
	if bad {
		f.opts.Log.Warn(text)
	} else {
		f.opts.Log.Info(text)
	}
}

// endpoints gives the client URLs of members that can be gone to, and whether
// that is all of them. A member whose peer URL is silent is left out while others
// answer: its host may have become a proxy itself, at the same client URL.
func (f *follower) endpoints(answers []heard) (out []endpoint, all bool) {
	answered := map[string]bool{}
	for _, a := range answers {
		answered[a.from] = a.err == nil && a.cluster == f.known.ID
	}
	anyAlive := slices.ContainsFunc(f.known.Members, func(m peers.Member) bool { return alive(m, answered) })
	all = true
	for _, m := range f.known.Members {
		if m.Learner || len(m.ClientURLs) == 0 || anyAlive && !alive(m, answered) {
			all = false
			continue
		}
		var e endpoint
		for _, text := range m.ClientURLs {
			u, err := url.Parse(text)
			if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Port() != "" && !f.own(*u) && (!loopback(*u) || local(m)) {
				e = append(e, *u)
			}
		}
		if len(e) == 0 {
			all = false
			f.opts.Log.Warnf("etcd member %s says that its clients reach it at %s, which is no use from here: set its ETCD_ADVERTISE_CLIENT_URLS to its own address",
				m.Name, strings.Join(m.ClientURLs, ","))
			continue
		}
		out = append(out, e)
	}
	return out, all
}

func alive(m peers.Member, answers map[string]bool) bool {
	return slices.ContainsFunc(m.PeerURLs, func(u string) bool { return answers[u] })
}

// local reports whether all of the cluster is on this host.
func local(m peers.Member) bool {
	return slices.ContainsFunc(m.PeerURLs, func(text string) bool {
		u, err := url.Parse(text)
		return err == nil && loopback(*u)
	})
}

func loopback(u url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// ownAddresses tells this proxy's own URLs from others: a member that this host
// once was may still be listed.
func ownAddresses(listen []url.URL) func(url.URL) bool {
	return func(u url.URL) bool {
		for _, l := range listen {
			if l.Port() != u.Port() {
				continue
			}
			if l.Hostname() == u.Hostname() {
				return true
			}
			if ip := net.ParseIP(l.Hostname()); ip != nil && ip.IsUnspecified() && onThisHost(u.Hostname()) {
				return true
			}
		}
		return false
	}
}

func onThisHost(host string) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	}))
}
