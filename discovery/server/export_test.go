package server

// Hasty has the store not wait for the disk.
func (s *Store) Hasty() { s.db.NoSync = true }
