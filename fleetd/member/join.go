package member

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
)

// join asks the discovery URL who the members are, this host among them, and
// has it on the disk when it returns.
func (r *runner) join(ctx context.Context, s Settings, note *Note) (Settings, error) {
	if err := s.checkPeer(); err != nil {
		return s, err
	}
	if err := discovery.CheckURL(s.Discovery.URL); err != nil {
		return s, refuse("ETCD_DISCOVERY: %w", err)
	}
	me := s.peer().Value()
	resume := note != nil && note.Phase == PhaseRegistered && note.URL == s.Discovery.URL
	if resume && note.Peer != me {
		return s, refuse("this host has registered with %s as %s, and is now %s: the others wait for the first. Give it back what it had, or make a new URL for all hosts",
			note.URL, note.Peer, me)
	}
	if err := s.WithMembers(me, s.Discovery.URL, false).checkStart(); err != nil {
		return s, err
	}
	registered := Note{Phase: PhaseRegistered, URL: s.Discovery.URL, Peer: me}
	cluster, err := discovery.Join(ctx, discovery.Options{
		URL: s.Discovery.URL, Name: s.Name, PeerURLs: s.peerURLs(), Proxy: s.Discovery.Proxy,
		Resume: resume,
		BeforeRegister: func() error {
			if err := s.checkRest(); err != nil {
				return err
			}
			return s.WriteNote(registered)
		},
		Progress: r.progress,
	})
	if err != nil {
		return s, s.explain(err, resume)
	}
	complete := registered
	complete.Phase, complete.InitialCluster, complete.Token = PhaseComplete, cluster.InitialCluster(), cluster.Token
	if err := s.WriteNote(complete); err != nil {
		return s, err
	}
	r.progress(fmt.Sprintf("all %d members have joined: %s", len(cluster.Members), cluster.InitialCluster()))
	return s.WithMembers(complete.InitialCluster, complete.Token, false), nil
}

// explain says what to do about an error of joining, and forgets what the note
// promised if it didn't come true.
func (s Settings) explain(err error, resume bool) error {
	full := (*discovery.FullError)(nil)
	switch {
	case errors.As(err, &full):
		return errors.Join(err, s.RemoveNote()) // others were quicker
	case errors.Is(err, discovery.ErrDuplicate):
		if !resume {
			err = errors.Join(err, s.RemoveNote()) // it is the other's place
		}
		return &Refusal{err}
	case errors.Is(err, discovery.ErrDataLost):
		return &Refusal{fmt.Errorf("%w\n%s", err, s.replaceHelp(string(token.IDOf(s.peerURLs(), s.Discovery.URL))))}
	case errors.Is(err, discovery.ErrRefused):
		return &Refusal{errors.Join(err, s.RemoveNote())} // it is not registered, and may be another next time
	case errors.Is(err, discovery.ErrUnknownURL), errors.Is(err, discovery.ErrSpelling):
		return &Refusal{err}
	}
	return err
}
