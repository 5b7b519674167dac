package cloudinit

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/cloudinit/format"
	"go.yaml.in/yaml/v3"
)

type writeFile struct {
	path, owner string
	mode        *int
	content     []byte
	append      bool
	source      string // a URL, instead of content
	headers     [][2]string
}

var octal = regexp.MustCompile(`^(0|0o)?[0-7]{3,4}$`)

func (r *reader) writeFile(c *cloudConfig, n *yaml.Node, where string) {
	var f writeFile
	var content, encoding string
	var deferred bool
	contentLine := 0
	r.mapping(n, where, map[string]take{
		"path": r.text(func(v string, n *yaml.Node, at string) {
			r.filePath(v, n.Line, at)
			f.path = v
		}),
		"content": r.text(func(v string, n *yaml.Node, _ string) { content, contentLine = v, n.Line }),
		"owner": r.text(func(v string, n *yaml.Node, at string) {
			if strings.ContainsAny(v, " \t\n\x00/") || strings.Count(v, ":") > 1 {
				r.problems.Add(n.Line, Error, "%s: %.80q is not USER or USER:GROUP", at, v)
			}
			f.owner = v
		}),
		"permissions": r.text(func(v string, n *yaml.Node, at string) {
			if !octal.MatchString(v) {
				r.problems.Add(n.Line, Error, "%s: %.80q is no octal mode such as 0644", at, v)
				return
			}
			mode, _ := strconv.ParseUint(strings.TrimPrefix(v, "0o"), 8, 16) // as octal says
			m := int(mode)
			f.mode = &m
		}),
		"encoding": r.oneOf(&encoding, "b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64", "text/plain"),
		// What follows is cloud-init's.
		"append": r.flag(&f.append),
		"defer":  r.flag(&deferred), // files are written once the users are there, all of them
		"source": func(n *yaml.Node, at string) { r.source(&f, n, at) },
	})
	if f.path == "" {
		r.problems.Add(n.Line, Error, "%s has no path", where)
	}
	if f.source != "" && contentLine > 0 {
		r.problems.Add(contentLine, Error, "%s has a source, beside which its content is not used: write only one of them", where)
	}
	decoded, err := r.decode(content, encoding)
	if err != nil {
		r.problems.Add(max(contentLine, n.Line), Error, "%s.content is not %s: %v", where, encoding, err)
	}
	f.content = decoded
	c.files = append(c.files, f)
}

// source reads where a file's content is fetched from when it is written.
func (r *reader) source(f *writeFile, n *yaml.Node, where string) {
	r.mapping(n, where, map[string]take{
		"uri": r.text(func(v string, n *yaml.Node, at string) {
			u, err := url.Parse(v)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				r.problems.Add(n.Line, Error, "%s: %.80q is no http or https URL", at, v)
			}
			f.source = v
		}),
		"headers": func(n *yaml.Node, at string) {
			n, ok := r.resolve(n)
			if !ok {
				return
			}
			if n.Kind != yaml.MappingNode {
				r.wrongType(n, at, "keys and values")
				return
			}
			for i := 0; i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				r.text(func(v string, _ *yaml.Node, _ string) { f.headers = append(f.headers, [2]string{name, v}) })(n.Content[i+1], at+"."+name)
			}
		},
	})
}

// filePath checks where a file goes.
func (r *reader) filePath(p string, line int, at string) {
	if err := checkPath(p); err != nil {
		r.problems.Add(line, Error, "%s: %v", at, err)
		return
	}
	switch {
	case strings.HasPrefix(p, "/usr/"):
		r.problems.Add(line, Warning, "%s: %s: /usr is read-only on Flatcar and its like, and a package's elsewhere: write below /etc or /opt", at, p)
	case strings.HasPrefix(p, "/run/") && r.persistent:
		r.problems.Add(line, Warning, "%s: %s: /run is made anew at each boot: the file will not be there", at, p)
	}
}

// maxPath is the kernel's PATH_MAX without the byte that ends a path.
const maxPath = 4095

// checkPath takes only a path that means what it says, and where files can be.
func checkPath(p string) error {
	switch {
	case len(p) > maxPath:
		return fmt.Errorf("%.80q… is longer than %d bytes", p, maxPath)
	case strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return fmt.Errorf("%.80q has control characters", p)
	case !path.IsAbs(p):
		return fmt.Errorf("%.80q is not absolute: begin it with /", p)
	case path.Clean(p) != p || p == "/":
		return fmt.Errorf("%.80q is no plain path of a file: write it without empty, dot and dot-dot parts", p)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return fmt.Errorf("%.80q: %s is the kernel's, and no place for files: use sysctl.d, tmpfiles.d or udev rules", p, dir)
		}
	}
	return nil
}

// decode unpacks a file's content. All files together have a bound, for a
// config that would become much larger than it is.
func (r *reader) decode(content, encoding string) ([]byte, error) {
	data := []byte(content)
	var err error
	if strings.HasSuffix(encoding, "b64") || strings.HasSuffix(encoding, "base64") {
		if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(content), "")); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(encoding, "gz") {
		if data, err = format.Gunzip(data, format.MaxSize); err != nil {
			return nil, err
		}
	}
	if r.unpacked += len(data); r.unpacked > format.MaxSize {
		return nil, fmt.Errorf("all contents together are larger than %d MiB", format.MaxSize>>20)
	}
	return data, nil
}
