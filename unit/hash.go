package unit

import (
	"crypto/sha256"
	"encoding/hex"
)

// Hash names a unit file's text: the SHA-256 of its exact bytes, comments and
// all, as 64 lower-case hexadecimal digits.
type Hash string

// HashOf computes the hash of a unit file's text.
func HashOf(text []byte) Hash {
	sum := sha256.Sum256(text)
	return Hash(hex.EncodeToString(sum[:]))
}

// Short gives the first 7 characters, as fleetctl shows a hash.
func (h Hash) Short() string {
	if len(h) > 7 {
		return string(h[:7])
	}
	return string(h)
}
