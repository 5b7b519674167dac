package server

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/fleet-project/fleet/discovery/token"
	"github.com/prometheus/client_golang/prometheus"
)

// tokens are all that are alive, in memory as on the disk. What changed is on
// the disk before anybody is told.
type tokens struct {
	store    *Store
	lifetime token.Lifetime
	most     int
	now      func() time.Time
	// forgotten counts those that expired.
	forgotten prometheus.Counter

	writing sync.Mutex // one change at a time, the disk included
	mu      sync.RWMutex
	all     map[token.ID]*entry
}

// entry is a token, and a channel that is closed when the token is replaced.
type entry struct {
	token   token.Token
	changed chan struct{}
}

var (
	errUnknown = errors.New("no such token")
	errMost    = errors.New("too many tokens are alive")
)

// load reads the store.
func (ts *tokens) load() error {
	all, err := ts.store.All()
	if err != nil {
		return err
	}
	ts.all = make(map[token.ID]*entry, len(all))
	for _, t := range all {
		ts.all[t.ID] = &entry{token: t, changed: make(chan struct{})}
	}
	return nil
}

// get gives a token, and what is closed once it is another.
func (ts *tokens) get(id token.ID) (token.Token, <-chan struct{}, error) {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	e := ts.all[id]
	if e == nil || ts.expired(e.token) {
		return token.Token{}, nil, errUnknown
	}
	return e.token, e.changed, nil
}

func (ts *tokens) expired(t token.Token) bool { return !ts.now().Before(t.Expires(ts.lifetime)) }

// create makes a token.
func (ts *tokens) create(size int, random io.Reader) (token.Token, error) {
	ts.writing.Lock()
	defer ts.writing.Unlock()
	id, err := token.NewID(random)
	if err != nil {
		return token.Token{}, err
	}
	t, err := token.New(id, size, ts.now().UTC())
	if err != nil {
		return token.Token{}, err
	}
	if ts.count() >= ts.most {
		if gone, err := ts.forget(); err != nil || gone == 0 {
			return token.Token{}, errors.Join(errMost, err)
		}
	}
	return t, ts.put(t)
}

// join adds a member to a token.
func (ts *tokens) join(id token.ID, member token.MemberID, value string) (token.Token, error) {
	ts.writing.Lock()
	defer ts.writing.Unlock()
	t, _, err := ts.get(id)
	if err != nil {
		return token.Token{}, err
	}
	after, err := t.Join(member, value)
	if err != nil {
		return t, err
	}
	return after, ts.put(after)
}

// put stores a token, and then tells. The caller holds writing.
func (ts *tokens) put(t token.Token) error {
	if err := ts.store.Put(t); err != nil {
		return err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if old := ts.all[t.ID]; old != nil {
		close(old.changed)
	}
	ts.all[t.ID] = &entry{token: t, changed: make(chan struct{})}
	return nil
}

// sweep forgets what has expired, and says how many those are.
func (ts *tokens) sweep() (int, error) {
	ts.writing.Lock()
	defer ts.writing.Unlock()
	return ts.forget()
}

// forget is sweep for who holds writing.
func (ts *tokens) forget() (int, error) {
	var gone []token.ID
	ts.mu.RLock()
	for id, e := range ts.all {
		if ts.expired(e.token) {
			gone = append(gone, id)
		}
	}
	ts.mu.RUnlock()
	if len(gone) == 0 {
		return 0, nil
	}
	if err := ts.store.Delete(gone); err != nil {
		return 0, err
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, id := range gone {
		close(ts.all[id].changed)
		delete(ts.all, id)
	}
	ts.forgotten.Add(float64(len(gone)))
	return len(gone), nil
}

func (ts *tokens) count() int {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	return len(ts.all)
}

// tally counts the tokens that wait for members, and those that have all.
func (ts *tokens) tally() (unfinished, complete int) {
	ts.mu.RLock()
	defer ts.mu.RUnlock()
	for _, e := range ts.all {
		if e.token.Complete() {
			complete++
		} else {
			unfinished++
		}
	}
	return unfinished, complete
}
