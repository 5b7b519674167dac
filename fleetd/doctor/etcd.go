package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/registry"
)

const (
	// slowEtcd is when an answer is a worry: half of what a request may take by
	// default. It includes the connection's making.
	slowEtcd = 500 * time.Millisecond
	// fullQuota is how much of its quota a database should take at most.
	fullQuota = 0.8
	// clocksApart is how far clocks may be apart; what was promised holds whatever
	// they say, but logs and certificates don't.
	clocksApart = 2 * time.Second
)

// etcd examines the endpoints that this host is given, all members, and the clocks
// of whichever answers.
func (h Host) etcd(ctx context.Context) []api.Finding {
	var endpoints []registry.Endpoint
	var members []registry.Member
	var unknown error
	var asking sync.WaitGroup
	asking.Go(func() { endpoints = h.Etcd.Endpoints(ctx) })
	asking.Go(func() { members, unknown = h.Etcd.Members(ctx) })
	asking.Wait()
	all := judgeEndpoints(endpoints)
	if unknown == nil { // else the endpoints say why
		all = append(all, judgeMembers(members)...)
	}
	urls := map[string]bool{}
	for _, m := range members {
		endpoints = append(endpoints, m.Endpoints...)
	}
	for _, e := range endpoints {
		if e.Error == "" {
			urls[e.URL] = true
		}
	}
	return append(all, h.clocks(ctx, urls)...)
}

// judgeEndpoints is whether each of etcd_servers answers, and any at all.
func judgeEndpoints(endpoints []registry.Endpoint) []api.Finding {
	const check = "etcd"
	answering := map[string]bool{} // hosts
	for _, e := range endpoints {
		if e.Error == "" {
			answering[hostOf(e.URL)] = true
		}
	}
	var all []api.Finding
	for _, e := range endpoints {
		switch {
		case e.Error != "" && answering[hostOf(e.URL)]: // by default two ports are tried
			all = append(all, fine(check, e.URL, "nothing there, and etcd answers on another port of that host"))
		case e.Error != "" && len(answering) > 0:
			all = append(all, warning(check, e.URL, "does not answer: "+e.Error,
				"another of etcd_servers does; start etcd there (systemctl status etcd2), or take it out of etcd_servers in fleet.conf"))
		case e.Error != "":
			all = append(all, failure(check, e.URL, "does not answer: "+e.Error,
				"is etcd up there (systemctl status etcd2; journalctl -u etcd2 -n 50), and reachable from this host? everything that runs keeps running meanwhile"))
		default:
			all = append(all, answered(check, e.URL, e))
		}
	}
	return all
}

// hostOf is the host of a URL, its own text if that is none.
func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return endpoint
	}
	return u.Hostname()
}

// judgeMembers is how the cluster's members are, whichever of them this host uses.
func judgeMembers(members []registry.Member) []api.Finding {
	const check = "etcd member"
	var all []api.Finding
	versions := map[string]bool{}
	for _, m := range members {
		if m.Name == "" {
			all = append(all, warning(check, "a new one", "was added, and has never started",
				"start it, or take it out: etcdctl member list, etcdctl member remove ID; until then it counts for the majority"))
			continue
		}
		for _, e := range m.Endpoints {
			subject := m.Name + " at " + e.URL
			if e.Error != "" {
				all = append(all, failure(check, subject, "does not answer: "+e.Error,
					"start it (systemctl status etcd2 there); if its data are lost: fleetd etcd replace; without more than half of them nothing works"))
				continue
			}
			versions[e.Version] = true
			all = append(all, answered(check, subject, e))
		}
		if m.Learner {
			all = append(all, warning(check, m.Name, "is a learner: it has no vote", "when it has caught up: etcdctl member promote"))
		}
	}
	if len(members)%2 == 0 {
		all = append(all, warning(check, fmt.Sprintf("%d members", len(members)),
			fmt.Sprintf("as many may be lost as with %d: %d", len(members)-1, (len(members)-1)/2), "an odd number of members is better: add one, or take one away"))
	}
	if len(versions) > 1 {
		all = append(all, warning(check, "versions", strings.Join(sorted(versions), ", "), "fine while you upgrade; else upgrade the older ones"))
	}
	return all
}

// answered judges an endpoint that answers.
func answered(check, subject string, e registry.Endpoint) api.Finding {
	for _, alarm := range e.Alarms {
		if strings.Contains(alarm, "NOSPACE") {
			return failure(check, subject, "its database is full ("+alarm+"): nothing can be written",
				"as root on a host with etcd: fleetd etcd free; then raise its quota (ETCD_QUOTA_BACKEND_BYTES)")
		}
	}
	found := fmt.Sprintf("etcd %s answers in %s", e.Version, e.Took.Round(100*time.Microsecond))
	if e.Leader {
		found += ", leads"
	}
	switch {
	case e.Leaderless:
		return failure(check, subject, found+", but knows of no leader",
			"more than half of the members must be up and reach each other on their peer URLs (port 2380)")
	case len(e.Alarms) > 0:
		return failure(check, subject, found+"; it raises an alarm: "+strings.Join(e.Alarms, "; "), "etcdctl alarm list; journalctl -u etcd2 -n 100 there")
	case e.Quota > 0 && float64(e.DBSize) > fullQuota*float64(e.Quota):
		return warning(check, subject, fmt.Sprintf("%s; its database takes %s of %s", found, bytes(uint64(e.DBSize)), bytes(uint64(e.Quota))),
			"fleetd etcd free makes room; or raise its quota (ETCD_QUOTA_BACKEND_BYTES): a full database takes no writes")
	case e.Took > slowEtcd:
		return warning(check, subject, found+": slow", "etcd wants an SSD that nobody else writes to, and a network without loss")
	}
	return fine(check, subject, found)
}

// clocks compares this host's with those of etcd's hosts.
func (h Host) clocks(ctx context.Context, urls map[string]bool) []api.Finding {
	var mu sync.Mutex
	var asking sync.WaitGroup
	var all []api.Finding
	for at := range urls {
		asking.Go(func() {
			ahead, err := h.Etcd.ClockOf(ctx, at)
			if err != nil {
				return // a proxy or a socket doesn't tell the time
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, clock(at, ahead))
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b api.Finding) int { return strings.Compare(a.Subject, b.Subject) })
	return all
}

func clock(at string, ahead time.Duration) api.Finding {
	const check = "clock"
	const remedy = "timedatectl on both hosts; have one of systemd-timesyncd, chrony or ntpd set their clocks. fleet itself goes by no clock, but certificates and logs do"
	switch {
	case ahead >= clocksApart:
		return warning(check, at, fmt.Sprintf("the clock there is %s ahead of this host's", ahead.Round(time.Second)), remedy)
	case -ahead >= clocksApart:
		return warning(check, at, fmt.Sprintf("the clock there is %s behind this host's", (-ahead).Round(time.Second)), remedy)
	}
	return fine(check, at, "agrees with this host's to two seconds")
}
