package main

import (
	"context"
	"sync"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// session follows units: all that a command wants to know of them, over one
// stream that is opened before anything is changed, so that no change is missed.
type session struct {
	client *api.Client
	// latest holds each unit's status as last heard.
	latest map[unit.Name]api.UnitStatus
	// templates are those that were asked for; nil: there is none.
	templates map[unit.Name]*localFile

	events chan api.Event
	ended  chan error // why the stream is over
	end    context.CancelFunc
	over   sync.WaitGroup
}

// follow opens the stream and waits until it has told of every unit.
func (c *cli) follow(ctx context.Context, names []unit.Name) (*session, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	watching, end := context.WithCancel(ctx)
	s := &session{
		client: client, latest: map[unit.Name]api.UnitStatus{}, templates: map[unit.Name]*localFile{},
		events: make(chan api.Event), ended: make(chan error, 1), end: end,
	}
	s.over.Go(func() {
		s.ended <- client.Watch(watching, names, func(e api.Event) error {
			select {
			case s.events <- e:
				return nil
			case <-watching.Done():
				return watching.Err()
			}
		})
	})
	for len(s.latest) < len(names) {
		if err := s.next(ctx); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// next waits for the next event and takes it over.
func (s *session) next(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-s.ended:
		return err
	case e := <-s.events:
		s.note(e)
		return nil
	}
}

func (s *session) note(e api.Event) {
	if e.Status != nil {
		s.latest[e.Status.Unit] = *e.Status
	}
}

// template gives a template of the cluster's, nil if there is none. It asks once,
// however many instances are started.
func (s *session) template(ctx context.Context, name unit.Name) (*localFile, error) {
	if file, asked := s.templates[name]; asked {
		return file, nil
	}
	u, err := s.client.Unit(ctx, name)
	if err != nil && !api.IsNotFound(err) {
		return nil, err
	}
	var file *localFile
	if err == nil {
		file = &localFile{path: string(name), text: textOf(u)}
	}
	s.templates[name] = file
	return file, nil
}

func (s *session) close() {
	s.end()
	s.over.Wait()
}
