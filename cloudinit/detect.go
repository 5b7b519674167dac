package cloudinit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"regexp"
	"strings"
)

// Format is a kind of config that a host may be given.
type Format string

// The formats.
const (
	CloudConfig Format = "cloud-config"
	Script      Format = "script"
	Ignition    Format = "ignition"
	Butane      Format = "butane"
	Multipart   Format = "multipart"
	Unknown     Format = "unknown"
)

// MaxSize bounds a config, also once it is decompressed.
const MaxSize = 16 << 20

var butaneVariant = regexp.MustCompile(`(?m)^variant[ \t]*:`)

// Detect tells a config's format by how it begins. Compressed ones are for
// Decompress first.
func Detect(text []byte) Format {
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

// part is one document of a multipart config.
type part struct {
	text  []byte
	lines int // of the whole, before this part's text; encoded parts begin where they are encoded
}

func header(text []byte) (textproto.MIMEHeader, []byte, error) {
	r := bufio.NewReader(bytes.NewReader(text))
	h, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r)
	return h, body, err
}

func isMultipart(text []byte) bool {
	h, _, err := header(text)
	return err == nil && strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "multipart/")
}

// parts takes a multipart config apart, as Flatcar's coreos-cloudinit does. It
// looks for the boundaries itself to know the lines.
func parts(text []byte) ([]part, error) {
	h, body, err := header(text)
	if err != nil {
		return nil, err
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("Content-Type: %w", err)
	case kind != "multipart/mixed":
		return nil, fmt.Errorf("Content-Type: %s: only multipart/mixed is known", kind)
	case params["boundary"] == "":
		return nil, errors.New("Content-Type: there is no boundary")
	}
	var all []part
	line, from, start := bytes.Count(text[:len(text)-len(body)], []byte("\n")), -1, 0
	for at := 0; at < len(body); {
		end := len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		mark := strings.TrimRight(string(body[at:end]), " \t\r\n")
		line++
		last := mark == "--"+params["boundary"]+"--"
		if last || mark == "--"+params["boundary"] {
			if from >= 0 {
				p, err := decodePart(body[from:at], start)
				if err != nil {
					return nil, fmt.Errorf("the part at line %d: %w", start+1, err)
				}
				all = append(all, p)
			}
			from, start = end, line
		}
		if last {
			return all, nil
		}
		at = end
	}
	return nil, fmt.Errorf("the last boundary, --%s--, is missing: the config may be cut off", params["boundary"])
}

func decodePart(text []byte, lines int) (part, error) {
	h, body, err := header(text)
	if err != nil {
		return part{}, err
	}
	lines += bytes.Count(text[:len(text)-len(body)], []byte("\n"))
	switch enc := strings.ToLower(h.Get("Content-Transfer-Encoding")); enc {
	case "", "7bit", "8bit", "binary":
	case "base64":
		if body, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), "")); err != nil {
			return part{}, err
		}
	default:
		return part{}, fmt.Errorf("Content-Transfer-Encoding: %s is not known", enc)
	}
	if body, err = Decompress(body); err != nil {
		return part{}, err
	}
	return part{body, lines}, nil
}
