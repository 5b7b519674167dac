package replace

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
	"github.com/fleet-project/fleet/fleetd/durable"
	"github.com/fleet-project/fleet/fleetd/peers"
	"github.com/fleet-project/fleet/fleetd/proxy"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// statusTimeout bounds a question to one member.
const statusTimeout = 3 * time.Second

// intent is what is kept while a member is replaced, so that a run that was cut
// off can go on.
type intent struct {
	Removed  uint64   // "0" if none was
	PeerURLs []string // the others', by which the cluster is found again
}

func (r *run) readIntent() (i intent, err error) {
	text, err := os.ReadFile(r.Settings.ReplacePath())
	if errors.Is(err, fs.ErrNotExist) {
		return i, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &i)
	}
	if err != nil {
		return i, fmt.Errorf("what an earlier run left: %w; remove %s, and say --member", err, r.Settings.ReplacePath())
	}
	return i, nil
}

func (r *run) writeIntent(i intent) error {
	text, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return durable.Write(r.Settings.ReplacePath(), text)
}

// sources are peer URLs at which the cluster may be found, and where each list is
// from.
func (r *run) sources(ctx context.Context, v View, i intent) (urls []string, from []string) {
	add := func(name string, more []string) {
		if len(more) > 0 {
			from = append(from, name)
			urls = append(urls, more...)
		}
	}
	s := r.Settings
	if v.Note != nil {
		add("the note of an earlier run", initialURLs(v.Note.InitialCluster))
	}
	add("an earlier run", i.PeerURLs)
	if kept, err := proxy.Load(s.ProxyDir()); err == nil {
		add("what the proxy on this host remembers", kept.PeerURLs)
	}
	add("ETCD_INITIAL_CLUSTER", initialURLs(s.Cluster.Initial))
	if s.Discovery.URL != "" {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		cluster, err := discovery.Members(ctx, discovery.Options{URL: s.Discovery.URL, Proxy: s.Discovery.Proxy})
		if full := (*discovery.FullError)(nil); errors.As(err, &full) {
			cluster = full.Cluster
		}
		var more []string
		for _, m := range cluster.Members {
			if p, err := token.ParsePeer(m.Value); err == nil {
				more = append(more, p.URLs...)
			}
		}
		add(s.Discovery.URL, more)
	}
	slices.Sort(urls)
	return slices.Compact(urls), from
}

// initialURLs are the URLs of name=url,...
func initialURLs(initial string) (out []string) {
	for entry := range strings.SplitSeq(initial, ",") {
		if _, url, ok := strings.Cut(entry, "="); ok {
			out = append(out, url)
		}
	}
	return out
}

// look finds out how things are.
func (r *run) look(ctx context.Context) (v View, err error) {
	s := r.Settings
	v = View{Service: r.Service, Us: s.PeerURLs(), DataDir: s.DataDir, Target: r.Target, Add: r.Add, Health: map[uint64]error{}, Running: map[uint64]bool{}}
	disk, err := s.ReadDisk()
	if err != nil {
		return v, err
	}
	v.HasData, v.Note = disk.Log, disk.Note
	i, err := r.readIntent()
	if err != nil {
		return v, err
	}
	v.Removed = i.Removed
	if v.Members, err = r.find(ctx, v, i); err != nil {
		return v, err
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, m := range v.Members {
		asking.Go(func() {
			running, err := r.health(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			v.Running[m.ID], v.Health[m.ID] = running, err
		})
	}
	asking.Wait()
	r.connected(ctx, &v)
	return v, ctx.Err()
}

// listening is how long others are listened to for a sign of life of a member: well
// beyond the heartbeats of etcd's.
const listening = 5 * time.Second

// connected adds the members that others hear of: that this host does not hear from
// one doesn't say that it is lost. A connection says little, for with TLS etcd keeps
// that of a host which lost its power for minutes: something must come by it. It is in
// etcd's metrics alone, which may not be served: then what was heard must do.
func (r *run) connected(ctx context.Context, v *View) {
	before := r.received(ctx, v)
	if !slices.ContainsFunc(v.Members, func(m peers.Member) bool { return !v.Running[m.ID] && len(before[m.ID]) > 0 }) {
		return
	}
	select {
	case <-time.After(listening):
	case <-ctx.Done():
		return
	}
	for id, from := range r.received(ctx, v) {
		for by, bytes := range from {
			if bytes > before[id][by] {
				v.Running[id] = true
			}
		}
	}
}

// received is how many bytes the members that are well have from each other one
// that they are connected to.
func (r *run) received(ctx context.Context, v *View) map[uint64]map[uint64]float64 {
	all := map[uint64]map[uint64]float64{}
	cfg, err := r.Settings.ClientTLS.ClientConfig()
	if err != nil {
		return all
	}
	cfg.ServerName = ""
	c := &http.Client{Timeout: statusTimeout, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	for _, m := range v.Members {
		if v.Health[m.ID] != nil || len(m.ClientURLs) == 0 {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(m.ClientURLs[0], "/")+"/metrics", nil)
		if err != nil {
			continue
		}
		resp, err := c.Do(req)
		if err != nil {
			continue
		}
		metrics := map[string]string{}
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), " ")
			metrics[name] = value
		}
		resp.Body.Close()
		for _, other := range v.Members {
			if links := metrics[fmt.Sprintf(`etcd_network_active_peers{Local="%x",Remote="%x"}`, m.ID, other.ID)]; links == "" || links == "0" {
				continue
			}
			bytes, err := strconv.ParseFloat(metrics[fmt.Sprintf(`etcd_network_peer_received_bytes_total{From="%x"}`, other.ID)], 64)
			if err != nil {
				bytes = 0 // nothing yet
			}
			if all[other.ID] == nil {
				all[other.ID] = map[uint64]float64{}
			}
			all[other.ID][m.ID] = bytes
		}
	}
	return all
}

// find gives the members as a majority of them says, or else any.
func (r *run) find(ctx context.Context, v View, i intent) ([]peers.Member, error) {
	if len(r.Endpoints) > 0 {
		return r.listAt(ctx, r.Endpoints)
	}
	urls, from := r.sources(ctx, v, i)
	if len(urls) == 0 {
		return nil, errors.New("nothing says where the cluster is: name its members' client URLs with --endpoints")
	}
	var said []string
	for _, u := range urls {
		_, members, err := r.asker.Ask(ctx, u)
		if err != nil {
			said = append(said, fmt.Sprintf("%s: %v", u, err))
			continue
		}
		var endpoints []string
		for _, m := range members {
			if !overlap(m.PeerURLs, v.Us) && !m.Learner {
				endpoints = append(endpoints, m.ClientURLs...)
			}
		}
		if len(endpoints) == 0 {
			return members, nil // the plan says that it is alone
		}
		// What one member says may be old; etcd itself says what most know.
		if list, err := r.listAt(ctx, endpoints); err == nil {
			return list, nil
		}
		return members, nil // without a quorum; the plan says so
	}
	return nil, fmt.Errorf("no member of the cluster answers (by %s): %s. If they are elsewhere now, name their client URLs with --endpoints", strings.Join(from, ", "), strings.Join(said, "; "))
}

// listAt asks etcd, at client URLs.
func (r *run) listAt(ctx context.Context, endpoints []string) ([]peers.Member, error) {
	c, err := r.client(endpoints)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*statusTimeout)
	defer cancel()
	resp, err := c.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("who the members are, from %s: %w", strings.Join(endpoints, ","), err)
	}
	out := make([]peers.Member, len(resp.Members))
	for i, m := range resp.Members {
		out[i] = peers.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner}
	}
	return out, nil
}

// health asks one member how it is, and reports whether anything of it was heard.
func (r *run) health(ctx context.Context, m peers.Member) (running bool, err error) {
	for _, u := range m.PeerURLs {
		if _, members, err := r.asker.Ask(ctx, u); err == nil && slices.ContainsFunc(members, func(o peers.Member) bool { return o.ID == m.ID }) {
			running = true
		}
	}
	if len(m.ClientURLs) == 0 {
		return running, errors.New("it has not started yet")
	}
	c, err := r.client(m.ClientURLs)
	if err != nil {
		return running, err
	}
	defer c.Close()
	for _, u := range m.ClientURLs {
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		resp, statusErr := c.Status(ctx, u)
		cancel()
		switch {
		case statusErr != nil:
			err = fmt.Errorf("%s: %w", u, statusErr)
			continue
		case resp.Header.MemberId != m.ID: // a proxy, or another one's address
			err = fmt.Errorf("%s: member %x answers there", u, resp.Header.MemberId)
			continue
		case resp.Leader == 0:
			return true, errors.New("it sees no leader")
		case len(resp.Errors) > 0:
			return true, errors.New(strings.Join(resp.Errors, "; "))
		}
		return true, nil
	}
	return running, err
}

func (r *run) client(endpoints []string) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: endpoints, Username: r.User, Password: r.Password,
		DialTimeout: statusTimeout, Logger: zap.NewNop(),
	}
	if slices.ContainsFunc(endpoints, func(u string) bool { return strings.HasPrefix(u, "https:") }) {
		tls, err := r.Settings.ClientTLS.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("the files of ETCD_*: %w", err)
		}
		tls.ServerName = ""
		cfg.TLS = tls
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(endpoints, ","), err)
	}
	return c, nil
}
