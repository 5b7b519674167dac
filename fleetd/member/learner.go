package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/fleetd/durable"
	"github.com/fleet-project/fleet/fleetd/peers"
)

// CheckPeer refuses what others could not reach this host by.
func (s Settings) CheckPeer() error { return s.checkPeer() }

// PeerURLs are the URLs that others reach this member by, as etcd writes them.
func (s Settings) PeerURLs() []string { return s.peerURLs() }

// ReplacePath is the file that is there while this host is put in the place of a
// member, until there is a note. RemoveNote removes it.
func (s Settings) ReplacePath() string {
	return filepath.Join(filepath.Dir(s.notePath()), "replace.json")
}

// lostData refuses a host that is in ETCD_INITIAL_CLUSTER and has no data, though
// it has run before. etcd itself sees that only as long as the member has the
// very ID that it had at the beginning.
func (r *runner) lostData(ctx context.Context, s Settings, disk Disk) error {
	if disk.Log || s.Cluster.Initial == "" {
		return nil
	}
	if _, err := os.Stat(s.ReplacePath()); err == nil {
		return refuse("fleetd etcd replace has begun on this host, and was cut off: run it again")
	}
	asker, err := peers.New(s.PeerTLS)
	if err != nil {
		return &Refusal{err}
	}
	defer asker.Close()
	own := s.peerURLs()
	for entry := range strings.SplitSeq(s.Cluster.Initial, ",") {
		_, url, _ := strings.Cut(entry, "=")
		if slices.Contains(own, url) {
			continue
		}
		_, members, err := asker.Ask(ctx, url)
		if err != nil {
			continue // none may be there yet
		}
		if !slices.ContainsFunc(members, func(m peers.Member) bool { return overlaps(m.PeerURLs, own) }) {
			return refuse("the etcd cluster that ETCD_INITIAL_CLUSTER names runs, and this host (%s) is none of its members: to take the place of one, run fleetd etcd replace --member NAME; to be one more, etcdctl member add", strings.Join(own, ","))
		}
		for _, m := range members {
			// It published its client URLs when it first ran.
			if len(m.ClientURLs) > 0 && overlaps(m.PeerURLs, own) {
				return refuse("this host is member %s of the etcd cluster and has run before, but there is no data in %s: if it came back as the same member, it would break the cluster\n%s", m, s.DataDir, s.replaceHelp(fmt.Sprintf("%x", m.ID)))
			}
		}
	}
	return nil
}

func overlaps(a, b []string) bool {
	return slices.ContainsFunc(a, func(u string) bool { return slices.Contains(b, u) })
}

// replaceHelp is how a host becomes a member anew, with its own URLs in it.
func (s Settings) replaceHelp(id string) string {
	return fmt.Sprintf(`To make this host a member again, with new data, while most of the others run, as root:
    fleetd etcd replace --dry-run
    fleetd etcd replace
By hand, the same is, on a host whose etcd runs:
    etcdctl member remove %s
    etcdctl member add %s --learner --peer-urls=%s
and then to start etcd here with what that prints.
If no member is left that has its data, the cluster is lost: restore a snapshot, or make a new URL for all hosts.`,
		id, s.Name, strings.Join(s.peerURLs(), ","))
}

// noLongerProxy forgets that this host was a proxy: it is to be a member now, and
// etcd would start no member beside a proxy's memory.
func (s Settings) noLongerProxy() error {
	if err := os.RemoveAll(s.ProxyDir()); err != nil {
		return err
	}
	return durable.SyncDir(s.DataDir)
}

// promote makes this host, a learner, a full member as soon as it has caught up,
// and then forgets the note. It is there for the case that fleetd etcd replace,
// which does the same, was cut off.
func (r *runner) promote(ctx context.Context, s Settings, note *Note) {
	asker, err := peers.New(s.PeerTLS)
	if err != nil {
		r.Log.Warn(err)
		return
	}
	defer asker.Close()
	said := ""
	for {
		done, err := promoteOnce(ctx, asker, s.peerURLs(), note)
		if done {
			if err := s.RemoveNote(); err != nil {
				r.Log.WithError(err).Warn("cannot forget that this host was a learner")
			}
			r.progress("this host is a full member of its etcd cluster")
			return
		}
		if text := err.Error(); text != said {
			said = text
			r.progress("this host is a learner, a member without a vote: " + text)
		}
		select {
		case <-time.After(cmp.Or(r.Promotion, time.Second)): // etcd doesn't tell when it is in sync
		case <-ctx.Done():
			return
		}
	}
}

// promoteOnce asks the others to make this host a full member, and reports
// whether it is one.
func promoteOnce(ctx context.Context, asker *peers.Asker, own []string, note *Note) (done bool, err error) {
	err = errors.New("no other member answers")
	for entry := range strings.SplitSeq(note.InitialCluster, ",") {
		_, url, _ := strings.Cut(entry, "=")
		if slices.Contains(own, url) {
			continue
		}
		_, members, askErr := asker.Ask(ctx, url)
		if askErr != nil {
			err = askErr
			continue
		}
		i := slices.IndexFunc(members, func(m peers.Member) bool { return m.ID == note.MemberID })
		if i < 0 {
			err = errors.New("the others don't know it yet, or no more")
			continue
		}
		if !members[i].Learner {
			return true, nil
		}
		if err = asker.Promote(ctx, url, note.MemberID); errors.Is(err, peers.ErrForbidden) {
			err = errors.New("etcd has users, so only one of them can make it a full member: fleetd etcd replace --user root")
		}
		if err == nil {
			return true, nil
		}
	}
	return false, err
}
