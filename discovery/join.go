package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/discovery/token"
)

// Options say who joins what.
type Options struct {
	URL      string   // as /new?size=3 gave it
	Name     string   // this member's name
	PeerURLs []string // where the others reach it
	Proxy    string   // for HTTP; "": as the environment says

	// Resume says that this host knows that it registered with this URL and never
	// started etcd: it was cut off while it joined. Else, if it is a member of a
	// complete cluster already, it is taken for one that lost its data.
	Resume bool
	// BeforeRegister is called when this host is about to register for the first
	// time, so that it can note that on its disk, for Resume. An error ends Join.
	BeforeRegister func() error
	// Progress is told whenever there is something new, in words.
	Progress func(string)

	Request time.Duration // for one request: 10 s
	Poll    time.Duration // for one that waits: 5 minutes
	Backoff Backoff
}

// Backoff is how long to wait after an error before asking again: twice as long
// each time, from First to Most.
type Backoff struct{ First, Most time.Duration }

// Cluster is a cluster whose members have all joined.
type Cluster struct {
	Token   string // the URL: etcd's initial-cluster-token
	Members []Member
}

// Member is one of them.
type Member struct {
	ID    string
	Value string // name=URL[,name=URL]
}

// InitialCluster is the members as etcd's initial-cluster takes them.
func (c Cluster) InitialCluster() string {
	var values []string
	for _, m := range c.Members {
		values = append(values, m.Value)
	}
	return strings.Join(values, ",")
}

// Join registers this host, waits until all members have, and says who they are.
// While the service can't be reached it tries again, until ctx ends.
func Join(ctx context.Context, opts Options) (Cluster, error) {
	me := token.Peer{Name: opts.Name, URLs: opts.PeerURLs}
	if err := token.CheckName(opts.Name); err != nil {
		return Cluster{}, err
	}
	if len(opts.PeerURLs) == 0 {
		return Cluster{}, errors.New("a member needs a peer URL (ETCD_INITIAL_ADVERTISE_PEER_URLS)")
	}
	for _, u := range opts.PeerURLs {
		if err := token.CheckPeerURL(u); err != nil {
			return Cluster{}, err
		}
	}
	return run(ctx, &joining{Options: opts, id: string(token.IDOf(opts.PeerURLs, opts.URL)), value: me.Value()})
}

// Members waits until all members have joined, and says who they are. It does not
// register.
func Members(ctx context.Context, opts Options) (Cluster, error) {
	return run(ctx, &joining{Options: opts, looksOn: true})
}

func run(ctx context.Context, j *joining) (Cluster, error) {
	opts := &j.Options
	opts.Request = cmp.Or(opts.Request, 10*time.Second)
	opts.Poll = cmp.Or(opts.Poll, 5*time.Minute)
	opts.Backoff = Backoff{First: cmp.Or(opts.Backoff.First, time.Second), Most: cmp.Or(opts.Backoff.Most, 15*time.Second)}
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	c, err := newClient(*opts)
	if err != nil {
		return Cluster{}, err
	}
	defer c.close()
	j.client, j.seen = c, -1
	cluster, err := j.run(ctx)
	if full := (*FullError)(nil); err != nil && !errors.As(err, &full) {
		err = fmt.Errorf("discovery %s: %w", opts.URL, err)
	}
	return cluster, err
}

// joining is one host that joins, or looks on.
type joining struct {
	Options
	client    *client
	looksOn   bool   // it is to be none of the members
	id, value string // what it registers

	size  int  // how many members there are to be; 0 before the service has said so
	mine  bool // this Join has registered, or tried to
	seen  int  // how many members the last look saw; -1 before the first
	said  string
	fails int
}

func (j *joining) run(ctx context.Context) (Cluster, error) {
	for {
		seen, began := j.seen, time.Now()
		cluster, done, err := j.step(ctx)
		var again temporary
		switch {
		case done:
			return cluster, nil
		case err == nil && j.seen == seen && time.Since(began) < j.Backoff.First:
			j.pause(ctx) // a service whose waits end at once must not be flooded
		case err == nil:
			j.fails = 0
		case ctx.Err() != nil:
			return Cluster{}, fmt.Errorf("gave up (%w); the last answer: %w", context.Cause(ctx), err)
		case !errors.As(err, &again) && (j.seen < 0 || !errors.Is(err, errUnable)): // once it did know the URL
			return Cluster{}, err
		default:
			j.say(fmt.Sprintf("discovery %s does not answer (%s): trying again, at least every %s", j.URL, why(err), j.Backoff.Most))
			j.pause(ctx)
		}
	}
}

// ownPort is this host's end of a connection, as errors tell it.
var ownPort = regexp.MustCompile(`[^\s"]+:\d+->`)

// why is an error without what is another each time, this host's port, and without
// the URL, which is said already: the same trouble is told once.
func why(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return ownPort.ReplaceAllString(err.Error(), "")
}

// pause waits before the service is asked again.
func (j *joining) pause(ctx context.Context) {
	delay := min(j.Backoff.First<<min(j.fails, 20), j.Backoff.Most)
	j.fails++
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
}

// say tells what is new.
func (j *joining) say(text string) {
	if text != j.said {
		j.said = text
		j.Progress(text)
	}
}

// step looks at who has joined, and does what comes next: register, wait, or
// nothing more. It doesn't count what waiting brings, but looks again: that is
// the same however often a wait ends empty or an answer is lost.
func (j *joining) step(ctx context.Context) (c Cluster, done bool, err error) {
	if j.size == 0 { // it is asked once, so that each answer brings this host further
		if j.size, err = j.client.size(ctx); err != nil {
			return c, false, err
		}
	}
	nodes, index, err := j.client.list(ctx)
	if err != nil {
		return c, false, err
	}
	members := firstOf(nodes, j.size)
	j.seen = len(members)
	at := slices.IndexFunc(members, func(m Member) bool { return m.ID == j.id })
	complete := len(members) == j.size
	switch {
	case at >= 0 && members[at].Value != j.value:
		return c, false, fmt.Errorf("%w: it is %s there, and %s here", ErrDuplicate, members[at].Value, j.value)
	case complete && at >= 0 && !j.mine && !j.Resume:
		return c, false, ErrDataLost
	case !j.looksOn && (!complete || at >= 0) && j.spelling(members, at >= 0) != nil:
		return c, false, j.spelling(members, at >= 0)
	case complete && (at >= 0 || j.looksOn):
		if err := checkMembers(members); err != nil {
			return c, false, err
		}
		return Cluster{Token: j.URL, Members: members}, true, nil
	case complete:
		return c, false, &FullError{URL: j.URL, Cluster: Cluster{Token: j.URL, Members: members}}
	case at < 0 && !j.looksOn:
		return c, false, j.register(ctx)
	}
	j.mine = !j.looksOn // nobody can have started before all have joined: we did not either
	j.say(fmt.Sprintf("%d of %d joined; waiting for %d more", len(members), j.size, j.size-len(members)))
	if err = j.client.wait(ctx, index+1); errors.As(err, new(temporary)) && ctx.Err() == nil {
		err = nil // a proxy cut it off, as many do; whether the service is away, the next look shows
	}
	return c, false, err
}

// register makes this host a member; the next look shows whether it is one.
func (j *joining) register(ctx context.Context) error {
	first := !j.mine
	if first && j.BeforeRegister != nil {
		if err := j.BeforeRegister(); err != nil {
			return err
		}
	}
	err := j.client.create(ctx, j.id, j.value)
	if errors.As(err, new(temporary)) && ctx.Err() == nil {
		// Once more, before looking who is there: one of two servers behind a name may be
		// down, and it would always be the same one's turn.
		j.mine = true // the first may have come through
		first = false
		err = j.client.create(ctx, j.id, j.value)
	}
	var f *Failure
	switch {
	case errors.As(err, &f) && f.Code == CodeNodeExists:
		if first && !j.Resume {
			return ErrDuplicate // it was free a moment ago, and this host had not asked for it yet
		}
		return nil // an earlier try came through, its answer did not
	case errors.As(err, &f) && f.Code == CodeFull:
		return nil // somebody was quicker: the next look says who
	case notFound(err):
		return fmt.Errorf("%w (%w)", ErrUnknownURL, err)
	case f != nil && (f.Code == CodeInvalidField || f.Code == CodeAddressTaken):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case err == nil || errors.As(err, new(temporary)):
		j.mine = true
	}
	return err
}

// spelling refuses to go on beside a member that joined by the same URL in other
// words: its id is made of its peer URLs and of the URL as it was given.
func (j *joining) spelling(members []Member, registered bool) error {
	for _, m := range members {
		p, err := token.ParsePeer(m.Value)
		switch {
		case err != nil || m.ID == string(token.IDOf(p.URLs, j.URL)):
		case registered:
			return fmt.Errorf("%w (%s): make a new one, and give all hosts the very same text", ErrSpelling, m.Value)
		default:
			return fmt.Errorf("%w (%s): give all hosts the very same text; this one has not registered", ErrSpelling, m.Value)
		}
	}
	return nil
}

// firstOf gives the members: those that joined first.
func firstOf(nodes []*Node, size int) []Member {
	slices.SortFunc(nodes, func(a, b *Node) int { return cmp.Compare(a.CreatedIndex, b.CreatedIndex) })
	var members []Member
	for _, n := range nodes[:min(size, len(nodes))] {
		members = append(members, Member{ID: path.Base(n.Key), Value: *n.Value})
	}
	return members
}

// checkMembers refuses members that etcd could not start with. Our own service
// never has such.
func checkMembers(members []Member) error {
	named := map[string]string{}
	for _, m := range members {
		p, err := token.ParsePeer(m.Value)
		if err != nil {
			return fmt.Errorf("member %s is not one: %w; make a new URL", m.ID, err)
		}
		if other, twice := named[p.Name]; twice {
			return fmt.Errorf("two members have the name %s: %s and %s; give each host a name of its own, and make a new URL", p.Name, other, m.Value)
		}
		named[p.Name] = m.Value
	}
	return nil
}
