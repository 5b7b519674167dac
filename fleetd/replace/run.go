package replace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/peers"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Options say what is to be done, and with what.
type Options struct {
	Settings       member.Settings // of the service
	Service        Service         // what runs etcd here: etcd2.service
	Target         string          // a member's name or ID; "": this host's former self
	Add            bool            // if it has none: as one more member
	Endpoints      []string        // client URLs at which the cluster is; none: found
	User, Password string          // of etcd's, who may change its members
	DryRun         bool
	// Restart has fleetd etcd start anew.
	Restart func(context.Context) error
	// Say tells the operator, a line at a time.
	Say func(string)
	// Pause is how long to wait before looking again: a second.
	Pause time.Duration
}

type run struct {
	Options
	asker *peers.Asker
}

// Run replaces the member, or says why not.
func Run(ctx context.Context, opts Options) error {
	opts.Pause = cmp.Or(opts.Pause, time.Second)
	opts.Service = cmp.Or(opts.Service, "etcd2.service")
	if err := opts.Settings.CheckPeer(); err != nil {
		return err
	}
	asker, err := peers.New(opts.Settings.PeerTLS)
	if err != nil {
		return err
	}
	defer asker.Close()
	r := &run{Options: opts, asker: asker}
	v, err := r.look(ctx)
	if err != nil {
		return userHint(err, r.User)
	}
	plan, err := Make(v)
	if err != nil {
		return userHint(err, r.User)
	}
	for i, step := range plan.Steps(v) {
		r.Say(fmt.Sprintf("%d. %s", i+1, step))
	}
	if r.DryRun {
		r.Say("Nothing was done: --dry-run.")
		return nil
	}
	return r.carryOut(ctx, v, plan)
}

func (r *run) carryOut(ctx context.Context, v View, plan Plan) error {
	c, err := r.client(endpoints(v, plan.Remove))
	if err != nil {
		return err
	}
	defer c.Close()
	id := plan.Wait
	if plan.Add {
		if id, err = r.change(ctx, c, v, plan.Remove); err != nil {
			return userHint(err, r.User)
		}
	}
	if plan.Start {
		if err := r.Restart(ctx); err != nil {
			return fmt.Errorf("this host is member %x now, but etcd did not start (run this again, or systemctl start %s): %w", id, r.Service, err)
		}
	}
	if err := r.promote(ctx, c, id); err != nil {
		return userHint(err, r.User)
	}
	return r.Settings.RemoveNote()
}

// endpoints are the client URLs of the members that are well.
func endpoints(v View, but *peers.Member) (out []string) {
	for _, m := range v.Members {
		if v.Health[m.ID] == nil && !m.Learner && (but == nil || m.ID != but.ID) {
			out = append(out, m.ClientURLs...)
		}
	}
	return out
}

// change takes the old member out and adds this host. When it returns, the disk
// has what fleetd etcd needs to start.
func (r *run) change(ctx context.Context, c *clientv3.Client, v View, old *peers.Member) (uint64, error) {
	kept := intent{Removed: v.Removed}
	for _, m := range v.Members {
		if !overlap(m.PeerURLs, v.Us) {
			kept.PeerURLs = append(kept.PeerURLs, m.PeerURLs...)
		}
	}
	if old != nil {
		kept.Removed = old.ID
	}
	if err := r.writeIntent(kept); err != nil {
		return 0, err
	}
	if old != nil {
		if err := r.patiently(ctx, func(ctx context.Context) error {
			_, err := c.MemberRemove(ctx, old.ID)
			if errors.Is(err, rpctypes.ErrMemberNotFound) {
				return nil
			}
			return err
		}); err != nil {
			return 0, fmt.Errorf("taking member %s out: %w", old, err)
		}
		r.Say(fmt.Sprintf("Member %x is out of the cluster.", old.ID))
	}
	var added *clientv3.MemberAddResponse
	if err := r.patiently(ctx, func(ctx context.Context) (err error) {
		added, err = c.MemberAddAsLearner(ctx, r.Settings.PeerURLs())
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			// A member's ID is made of its URL and the second; in this one, this ID
			// was taken out, for ever.
			err = rpctypes.ErrUnhealthy
		}
		return err
	}); err != nil {
		return 0, fmt.Errorf("adding this host as a learner (run this again): %w", err)
	}
	id := added.Member.ID
	var all []string
	for _, m := range added.Members {
		name := m.Name
		switch {
		case m.ID == id:
			name = r.Settings.Name
		case name == "" || name == r.Settings.Name || strings.ContainsAny(name, "=,"):
			name = fmt.Sprintf("%x", m.ID) // it is theirs to say; to etcd here, only the URLs matter
		}
		for _, u := range m.PeerURLs {
			all = append(all, name+"="+u)
		}
	}
	slices.Sort(all)
	r.Say(fmt.Sprintf("This host is member %x, a learner.", id))
	return id, r.Settings.WriteNote(member.Note{Phase: member.PhaseLearner, InitialCluster: strings.Join(all, ","), MemberID: id})
}

// settling is how long etcd may refuse to change its members because a change
// before, or a member's start, is too recent: it wants connections of 5 seconds.
const settling = time.Minute

// patiently tries again while etcd settles.
func (r *run) patiently(ctx context.Context, do func(context.Context) error) error {
	for end := time.Now().Add(settling); ; {
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := do(once)
		cancel()
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) || time.Now().After(end) {
			return err
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
}

func (r *run) pause(ctx context.Context) error {
	t := time.NewTimer(r.Pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// promote waits until the member has caught up, makes it a full one, and sees it
// serve. fleetd etcd on this host does the former, too: whoever comes first.
func (r *run) promote(ctx context.Context, c *clientv3.Client, id uint64) error {
	said := ""
	for {
		state, err := r.state(ctx, c, id)
		if err != nil && !temporary(err) {
			return err
		}
		if err != nil {
			state = err.Error()
		}
		if state == "" {
			r.Say(fmt.Sprintf("Member %x is a full member, and well.", id))
			return nil
		}
		if state != said {
			said = state
			r.Say("Waiting: " + state)
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
}

// state says what is missing; "" if nothing is.
func (r *run) state(ctx context.Context, c *clientv3.Client, id uint64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	resp, err := c.MemberList(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range resp.Members {
		if m.ID != id {
			continue
		}
		if m.IsLearner {
			switch _, err := c.MemberPromote(ctx, id); {
			case errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
				return fmt.Sprintf("it has not caught up yet; see journalctl -u %s", r.Service), nil
			case err != nil && !errors.Is(err, rpctypes.ErrMemberNotLearner):
				return "", err
			}
		}
		if len(m.ClientURLs) == 0 {
			return fmt.Sprintf("it is a full member, and starts; see journalctl -u %s", r.Service), nil
		}
		_, err := r.health(ctx, peers.Member{ID: m.ID, ClientURLs: m.ClientURLs})
		if err != nil {
			return "it is a full member, but not well: " + err.Error(), nil
		}
		return "", nil
	}
	return "", fmt.Errorf("member %x is none of the cluster any more: somebody took it out; systemctl stop %s, and run this again", id, r.Service)
}

// temporary reports whether etcd may yet answer otherwise.
func temporary(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpctypes.ErrNoLeader) || errors.Is(err, rpctypes.ErrTimeout) ||
		errors.Is(err, rpctypes.ErrLeaderChanged) || errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail) || clientv3.IsConnCanceled(err) ||
		strings.Contains(err.Error(), "Unavailable")
}

// userHint says how to be somebody.
func userHint(err error, user string) error {
	switch {
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("%w: etcd has users: run this again with --user root", err)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: etcd's user %s may not change its members: run this again with --user root", err, user)
	}
	return err
}
