package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fleet-project/fleet/discovery/token"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Store keeps tokens in one file. It is bbolt, which etcd's server brings anyway,
// and not etcd: a discovery service is there before any etcd is.
type Store struct {
	db   *bbolt.DB
	path string
}

var bucket = []byte("tokens")

// OpenStore opens, or makes, the store in a directory. Only one process can have
// it open.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the data directory: %w", err)
	}
	s := &Store{path: filepath.Join(dir, "discovery.db")}
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("another fleetd discovery runs already (it holds %s): stop it, or choose another --data-dir", s.path)
	}
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucket)
			return err
		})
		if err != nil {
			db.Close()
		}
	}
	if err != nil {
		return nil, s.wrong(err)
	}
	s.db = db
	return s, nil
}

func (s *Store) wrong(err error) error {
	return fmt.Errorf("%s: %w (if the file is damaged, move it away: clusters that have formed don't need it, hosts that still wait need a new URL)", s.path, err)
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// All reads every token.
func (s *Store) All() ([]token.Token, error) {
	var all []token.Token
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, value []byte) error {
			var t token.Token
			if err := json.Unmarshal(value, &t); err != nil {
				return fmt.Errorf("token %q: %w", key, err)
			}
			if t.ID != token.ID(key) {
				return fmt.Errorf("token %q holds another one, %q", key, t.ID)
			}
			all = append(all, t)
			return nil
		})
	})
	if err != nil {
		return nil, s.wrong(err)
	}
	return all, nil
}

// Put stores a token; it is on the disk when Put returns.
func (s *Store) Put(t token.Token) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(t.ID), value) })
}

// Delete removes tokens.
func (s *Store) Delete(ids []token.ID) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if err := tx.Bucket(bucket).Delete([]byte(id)); err != nil {
				return err
			}
		}
		return nil
	})
}
