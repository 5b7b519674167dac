// Package format tells what kind of config a text is, by how it begins, and
// unwraps what several of them may be wrapped in: gzip and MIME multipart.
package format

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Kind is a kind of config that a host may be given.
type Kind string

// The kinds.
const (
	CloudConfig Kind = "cloud-config"
	Script      Kind = "script"
	Ignition    Kind = "ignition"
	Butane      Kind = "butane"
	Multipart   Kind = "multipart"
	Unknown     Kind = "unknown"
)

// MaxSize bounds a config, also once it is decompressed.
const MaxSize = 16 << 20

var butaneVariant = regexp.MustCompile(`(?m)^variant[ \t]*:`)

// Detect tells a config's kind by how it begins. Compressed ones are for
// Decompress first.
func Detect(text []byte) Kind {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	switch head := strings.TrimRight(string(first), " \t\r"); {
	case head == "#cloud-config":
		return CloudConfig
	case strings.HasPrefix(head, "#!"):
		return Script
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
		return Ignition
	case isMultipart(text):
		return Multipart
	case butaneVariant.Match(text):
		return Butane
	}
	return Unknown
}

// Decompress gives a gzipped config's text; any other as it is.
func Decompress(text []byte) ([]byte, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("the config is larger than %d MiB", MaxSize>>20)
	}
	if !bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
		return text, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if len(out) > MaxSize {
		return nil, fmt.Errorf("decompressed, it is larger than %d MiB", MaxSize>>20)
	}
	return out, nil
}
