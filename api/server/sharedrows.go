package server

import (
	"reflect"
	"sync"

	"github.com/fleet-project/fleet/registry/record"
)

// sharedRows are the rows that a list's watches have told, each kept once
// however many watches have told it: a watch remembers all that it has told, and
// a thousand of them, of a list of thousands, must not fill the memory.
type sharedRows[T any] struct {
	mu      sync.Mutex
	rows    map[record.Key]*T
	watches int
}

// join and leave say that there is one watch more or less. The last one takes
// the rows with it.
func (s *sharedRows[T]) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches++; s.watches == 1 {
		s.rows = map[record.Key]*T{}
	}
}

func (s *sharedRows[T]) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches--; s.watches == 0 {
		s.rows = nil
	}
}

// keep gives where a row is kept; nobody may change it there.
func (s *sharedRows[T]) keep(k record.Key, row T) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.rows[k]; kept != nil && reflect.DeepEqual(*kept, row) {
		return kept
	}
	s.rows[k] = &row
	return &row
}

// drop forgets a row that is no more, in whichever form: the watch that told the
// latest may have ended. Should it be back already, it is kept twice at worst.
func (s *sharedRows[T]) drop(k record.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, k)
}
