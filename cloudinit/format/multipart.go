package format

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/textproto"
	"strings"
)

// Part is one document of a multipart config.
type Part struct {
	Text  []byte
	Lines int // of the whole, before this part's text; encoded parts begin where they are encoded
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

// Parts takes a multipart config apart, as Flatcar's coreos-cloudinit does. It
// looks for the boundaries itself to know the lines.
func Parts(text []byte) ([]Part, error) {
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
	var all []Part
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

func decodePart(text []byte, lines int) (Part, error) {
	h, body, err := header(text)
	if err != nil {
		return Part{}, err
	}
	lines += bytes.Count(text[:len(text)-len(body)], []byte("\n"))
	switch enc := strings.ToLower(h.Get("Content-Transfer-Encoding")); enc {
	case "", "7bit", "8bit", "binary":
	case "base64":
		if body, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), "")); err != nil {
			return Part{}, err
		}
	default:
		return Part{}, fmt.Errorf("Content-Transfer-Encoding: %s is not known", enc)
	}
	if body, err = Decompress(body); err != nil {
		return Part{}, err
	}
	return Part{body, lines}, nil
}
