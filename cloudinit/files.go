package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/cloudinit/format"
	"go.yaml.in/yaml/v3"
)

type writeFile struct {
	path, owner string
	mode        int
	content     []byte
}

func (r *reader) writeFile(c *cloudConfig, n *yaml.Node, where string) {
	f := writeFile{mode: 0o644}
	var content, encoding string
	contentLine := n.Line
	r.mapping(n, where, map[string]take{
		"path": r.text(func(v string, n *yaml.Node, at string) {
			if err := checkPath(v); err != nil {
				r.problems.add(n.Line, Error, "%s: %v", at, err)
			}
			f.path = v
		}),
		"content": r.text(func(v string, n *yaml.Node, _ string) { content, contentLine = v, n.Line }),
		"owner": r.text(func(v string, n *yaml.Node, at string) {
			if strings.ContainsAny(v, " \t\n/") || strings.Count(v, ":") > 1 {
				r.problems.add(n.Line, Error, "%s: %q is not USER or USER:GROUP", at, v)
			}
			f.owner = v
		}),
		"permissions": r.text(func(v string, n *yaml.Node, at string) {
			mode, err := strconv.ParseUint(strings.TrimPrefix(v, "0o"), 8, 12)
			if err != nil {
				r.problems.add(n.Line, Error, "%s: %q is no octal mode such as 0644", at, v)
			}
			f.mode = int(mode)
		}),
		"encoding": r.oneOf(&encoding, "b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"),
	})
	if f.path == "" {
		r.problems.add(n.Line, Error, "%s has no path", where)
	}
	decoded, err := decode(content, encoding)
	if err != nil {
		r.problems.add(contentLine, Error, "%s.content is not %s: %v", where, encoding, err)
	}
	f.content = decoded
	c.files = append(c.files, f)
}

// checkPath takes only a path that means what it says.
func checkPath(p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("%q is not absolute: begin it with /", p)
	case path.Clean(p) != p || p == "/":
		return fmt.Errorf("%q is no plain path of a file: write it without empty, dot and dot-dot parts", p)
	}
	return nil
}

func decode(content, encoding string) ([]byte, error) {
	data := []byte(content)
	if strings.HasSuffix(encoding, "b64") || strings.HasSuffix(encoding, "base64") {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(content), "")); err != nil {
			return nil, err
		}
	}
	if !strings.HasPrefix(encoding, "gz") {
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, format.MaxSize+1))
	if err == nil && len(out) > format.MaxSize {
		err = fmt.Errorf("decompressed, it is larger than %d MiB", format.MaxSize>>20)
	}
	return out, err
}
