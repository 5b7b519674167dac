package source

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Checksum is what user-data must hash to, before it is decompressed. The zero
// value is met by anything.
type Checksum struct {
	algorithm string
	sum       []byte
}

var algorithms = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}

// ParseChecksum reads the hexadecimal digits that sha256sum or sha512sum print.
func ParseChecksum(algorithm, digits string) (Checksum, error) {
	make, ok := algorithms[algorithm]
	if !ok {
		return Checksum{}, fmt.Errorf("there is no checksum %q: use sha256 or sha512", algorithm)
	}
	sum, err := hex.DecodeString(strings.ToLower(strings.TrimSpace(digits)))
	if want := make().Size(); err != nil || len(sum) != want {
		return Checksum{}, fmt.Errorf("%s %q: it must be %d hexadecimal digits, as %ssum prints them", algorithm, digits, 2*want, algorithm)
	}
	return Checksum{algorithm, sum}, nil
}

// Verify fails for data that isn't what was meant.
func (c Checksum) Verify(data []byte) error {
	if c.algorithm == "" {
		return nil
	}
	h := algorithms[c.algorithm]()
	h.Write(data)
	if got := h.Sum(nil); subtle.ConstantTimeCompare(got, c.sum) != 1 {
		return fmt.Errorf("the config is not the one that was meant: its %s is %x, and must be %x; nothing is changed", c.algorithm, got, c.sum)
	}
	return nil
}
