package format

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
)

// What a multipart config may be at most.
const (
	maxParts = 100
	maxDepth = 4 // of parts that are multipart themselves
)

// Part is one document of a multipart config.
type Part struct {
	Kind Kind
	Text []byte
	// Lines of the whole are before this part's text. The text of a Wrapped one
	// has lines of its own: it is encoded or compressed.
	Lines   int
	Wrapped bool
}

// Parts takes a multipart config apart, as Flatcar's coreos-cloudinit does; a
// part that is multipart itself becomes its parts. It looks for the boundaries
// itself to know the lines.
func Parts(text []byte) ([]Part, error) {
	u := unpacker{left: MaxSize}
	h, body, err := header(text)
	if err != nil {
		return nil, err
	}
	if err := u.unpack(h, body, bytes.Count(text[:len(text)-len(body)], []byte("\n")), false, 1); err != nil {
		return nil, err
	}
	return u.parts, nil
}

type unpacker struct {
	parts []Part
	left  int // bytes that may still be unpacked
}

// unpack takes a body apart that begins after so many lines.
func (u *unpacker) unpack(h textproto.MIMEHeader, body []byte, lines int, wrapped bool, depth int) error {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	boundary := params["boundary"]
	switch {
	case depth > maxDepth:
		return fmt.Errorf("multipart is nested deeper than %d", maxDepth)
	case err != nil:
		return fmt.Errorf("Content-Type: %w", err)
	case kind != "multipart/mixed":
		return fmt.Errorf("Content-Type: %s: only multipart/mixed is known", kind)
	case boundary == "":
		return errors.New("Content-Type: there is no boundary")
	}
	line, from, start := lines, -1, 0
	for at := 0; at < len(body); {
		end := len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		mark := bytes.TrimRight(body[at:end], " \t\r\n")
		line++
		last := string(mark) == "--"+boundary+"--"
		if last || string(mark) == "--"+boundary {
			if from >= 0 {
				if err := u.part(body[from:at], start, wrapped, depth); err != nil {
					return inPart(err, start+1)
				}
			}
			from, start = end, line
		}
		if last {
			return nil
		}
		at = end
	}
	return fmt.Errorf("the last boundary, --%s--, is missing: the config may be cut off", boundary)
}

// PartError is what is wrong with one part.
type PartError struct {
	Line int // where the part begins
	Err  error
}

func (e *PartError) Error() string { return "a part: " + e.Err.Error() }

// Unwrap gives what is wrong.
func (e *PartError) Unwrap() error { return e.Err }

// inPart says where; a part of the part has said so already.
func inPart(err error, line int) error {
	var inner *PartError
	if errors.As(err, &inner) {
		return err
	}
	return &PartError{line, err}
}

func (u *unpacker) part(text []byte, lines int, wrapped bool, depth int) error {
	h, body, err := header(text)
	if err != nil {
		return err
	}
	lines += bytes.Count(text[:len(text)-len(body)], []byte("\n"))
	var r io.Reader
	switch enc := strings.ToLower(strings.TrimSpace(h.Get("Content-Transfer-Encoding"))); enc {
	case "", "7bit", "8bit", "binary":
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body))
	case "quoted-printable":
		r = quotedprintable.NewReader(bytes.NewReader(body))
	default:
		return fmt.Errorf("Content-Transfer-Encoding: %s is not known", enc)
	}
	if r != nil {
		wrapped = true
		if body, err = io.ReadAll(r); err != nil {
			return err
		}
	}
	if bytes.HasPrefix(body, gzipMagic) {
		wrapped = true
	}
	if body, err = Decompress(body); err != nil {
		return err
	}
	if u.left -= len(body); u.left < 0 {
		return fmt.Errorf("the parts are larger than %d MiB", MaxSize>>20)
	}
	kind, err := kindOf(h.Get("Content-Type"), body)
	switch {
	case err != nil:
		return err
	case kind == Multipart && strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "multipart/"):
		return u.unpack(h, body, lines, wrapped, depth+1)
	case kind == Multipart:
		inner, below, err := header(body)
		if err != nil {
			return err
		}
		return u.unpack(inner, below, lines+bytes.Count(body[:len(body)-len(below)], []byte("\n")), wrapped, depth+1)
	case len(u.parts) == maxParts:
		return fmt.Errorf("there are more than %d parts", maxParts)
	}
	u.parts = append(u.parts, Part{kind, body, lines, wrapped})
	return nil
}

// kindOf goes by a part's Content-Type where that says it, else by how the part
// begins. What cloud-init has types for and we don't take is refused by name.
func kindOf(contentType string, text []byte) (Kind, error) {
	name, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return Unknown, fmt.Errorf("Content-Type: %w", err)
	}
	if strings.HasPrefix(name, "multipart/") {
		return Multipart, nil
	}
	switch name {
	case "text/cloud-config":
		return CloudConfig, nil
	case "text/x-shellscript":
		if kind := Detect(text); kind != Script {
			return kind, errors.New("it is said to be a script, and must begin with #! then")
		}
		return Script, nil
	case "text/x-shellscript-per-boot", "text/x-shellscript-per-instance", "text/x-shellscript-per-once":
		return Unknown, fmt.Errorf("%s is not known: a text/x-shellscript runs whenever the config is applied; for anything else write a unit", name)
	}
	for _, f := range [...]struct{ name, head string }{
		{"text/x-include-url", "#include"}, {"text/x-include-once-url", "#include"},
		{"text/cloud-boothook", "#cloud-boothook"}, {"text/cloud-config-archive", "#cloud-config-archive"},
		{"text/cloud-config-jsonp", "#cloud-config-jsonp"}, {"text/part-handler", "#part-handler"},
		{"text/upstart-job", "#upstart-job"}, {"text/jinja2", "## template:"},
	} {
		if name == f.name {
			return Unknown, fmt.Errorf("%s is not taken: %s", name, foreign(f.head))
		}
	}
	return Detect(text), nil
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
