package source

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// The metadata services' usual addresses.
const (
	EC2Address          = "http://169.254.169.254/"
	GCEAddress          = "http://metadata.google.internal/"
	DigitalOceanAddress = "http://169.254.169.254/"
	PacketAddress       = "https://metadata.packet.net/"
)

const (
	ec2Version = "2009-04-04/"
	ec2Token   = "X-aws-ec2-metadata-token"
)

// EC2 is the metadata service of EC2, and of those that speak as it did in
// 2009. Where it wants a token (IMDSv2) it gets one.
func (h *Host) EC2(at string) (Source, error) {
	s, name, err := h.newService("the EC2 metadata service", at, nil)
	if err != nil {
		return Source{}, err
	}
	s.header = make(http.Header)
	return Source{
		Name: name,
		available: func(ctx context.Context) error {
			// Without the token, old services and those set to IMDSv1 answer; a
			// token that is too far away (a hop limit) must not keep from those.
			token, err := s.once(ctx, http.MethodPut, s.root+"latest/api/token", http.Header{ec2Token + "-ttl-seconds": {"21600"}})
			if err == nil {
				s.header[ec2Token] = []string{strings.TrimSpace(string(token))}
			}
			return s.there(ec2Version)(ctx)
		},
		read: s.readEC2,
	}, nil
}

func (s *service) readEC2(ctx context.Context) (found Found, err error) {
	found.Shared = true
	meta := func(path string) string {
		var text string
		if err == nil {
			text, err = s.text(ctx, ec2Version+"meta-data/"+path)
		}
		return text
	}
	for line := range strings.Lines(meta("public-keys")) {
		number, name, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.ContainsAny(number, "/?#") {
			return Found{}, fmt.Errorf("metadata: public-keys: %q is not NUMBER=NAME", strings.TrimSpace(line))
		}
		key := meta("public-keys/" + number + "/openssh-key")
		if key == "" && err == nil {
			return Found{}, fmt.Errorf("metadata: the key %q is listed, and not there", name)
		}
		found.Metadata.addKeys(strings.Split(key, "\n")...)
	}
	hostname, _, _ := strings.Cut(meta("hostname"), " ") // some list aliases after it
	found.Metadata.Hostname = hostname
	for _, address := range [][2]string{{"private_ipv4", "local-ipv4"}, {"public_ipv4", "public-ipv4"}} {
		if value := meta(address[1]); err == nil {
			err = found.Metadata.setAddress(address[0], value)
		}
	}
	if err == nil {
		found.UserData, err = s.getOr(ctx, s.root+ec2Version+"user-data")
	}
	return found, err
}
