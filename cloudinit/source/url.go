package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// URL is what an http or https URL has. It may end in #sha256=DIGITS or
// #sha512=DIGITS, which the config must then have. It has no metadata.
func (h *Host) URL(at string) (Source, error) {
	plain, sum, err := splitChecksum(at)
	if err != nil {
		return Source{}, err
	}
	u, err := parseURL(plain)
	if err != nil {
		return Source{}, err
	}
	c := h.newClient(true, nil)
	var data []byte // as soon as it is there
	return Source{
		Name: redact(u),
		available: func(ctx context.Context) error {
			got, err := c.once(ctx, "GET", plain, nil)
			var final *finalError
			switch {
			case isAbsent(err), errors.As(err, &final):
				return never("%v", err) // it has been answered
			case err != nil:
				return err
			}
			data = got
			return nil
		},
		read: func(context.Context) (Found, error) { return Found{UserData: data}, sum.Verify(data) },
	}, nil
}

// splitChecksum takes the checksum off a URL's end.
func splitChecksum(at string) (string, Checksum, error) {
	plain, fragment, found := strings.Cut(at, "#")
	if !found || fragment == "" {
		return plain, Checksum{}, nil
	}
	algorithm, digits, _ := strings.Cut(fragment, "=")
	sum, err := ParseChecksum(algorithm, digits)
	if err != nil {
		return "", Checksum{}, fmt.Errorf("what follows its #: %w", err)
	}
	return plain, sum, nil
}

// service is a metadata service below a URL.
type service struct {
	*client
	root string
}

// newService takes the URL that a service is at. Its name has the URL without
// secrets.
func (h *Host) newService(name, at string, header map[string][]string) (*service, string, error) {
	u, err := parseURL(at)
	if err != nil {
		return nil, "", err
	}
	root := (&url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host, Path: strings.TrimRight(u.Path, "/") + "/"}).String()
	return &service{h.newClient(false, header), root}, fmt.Sprintf("%s at %s", name, redact(u)), nil
}

// there says whether the service answers at a path.
func (s *service) there(path string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.once(ctx, "GET", s.root+path, nil)
		return err
	}
}

// text is a value of the service as text; "" if it has none.
func (s *service) text(ctx context.Context, path string) (string, error) {
	data, err := s.getOr(ctx, s.root+path)
	return strings.TrimSpace(string(data)), err
}
