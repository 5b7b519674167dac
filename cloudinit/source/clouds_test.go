package source

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pages serves texts by path, 404 elsewhere.
func pages(texts map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, ok := texts[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, text)
	}
}

// wanting lets requests pass that have a header.
func wanting(key, value string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(key) != value {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

var ec2Pages = map[string]string{
	"/2009-04-04/":                                    "meta-data\nuser-data",
	"/2009-04-04/user-data":                           "hello",
	"/2009-04-04/meta-data/hostname":                  "ip-10-0-0-4.internal web-1.example.com",
	"/2009-04-04/meta-data/local-ipv4":                "10.0.0.4",
	"/2009-04-04/meta-data/public-ipv4":               "192.0.2.4\n",
	"/2009-04-04/meta-data/public-keys":               "0=me\n1=you",
	"/2009-04-04/meta-data/public-keys/0/openssh-key": "ssh-rsa A me\n",
	"/2009-04-04/meta-data/public-keys/1/openssh-key": "ssh-rsa B you",
}

// imdsV2 gives a token, and wants it.
func imdsV2(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, "TOKEN")
		return
	}
	wanting("X-aws-ec2-metadata-token", "TOKEN", pages(ec2Pages))(w, r)
}

func without(pages map[string]string, gone ...string) map[string]string {
	left := make(map[string]string)
	for path, text := range pages {
		keep := true
		for _, g := range gone {
			keep = keep && path != g
		}
		if keep {
			left[path] = text
		}
	}
	return left
}

func with(pages map[string]string, path, text string) map[string]string {
	all := without(pages)
	all[path] = text
	return all
}

type constructor = func(*Host, string) (Source, error)

var gcePages = map[string]string{
	"/computeMetadata/v1/":                                                           "instance/",
	"/computeMetadata/v1/instance/hostname":                                          "web-1.c.example.internal",
	"/computeMetadata/v1/instance/network-interfaces/0/ip":                           "10.0.0.4",
	"/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip": "",
	"/computeMetadata/v1/instance/attributes/user-data":                              "hello",
}

func TestServices(t *testing.T) {
	ec2 := Metadata{
		Hostname: "ip-10-0-0-4.internal", SSHKeys: []string{"ssh-rsa A me", "ssh-rsa B you"},
		Addresses: map[string]string{"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4"},
	}
	for _, c := range []struct {
		name    string
		from    constructor
		handler http.HandlerFunc
		data    string
		want    Metadata
		err     string
	}{
		{"EC2, IMDSv1", (*Host).EC2, pages(ec2Pages), "hello", ec2, ""},
		{"EC2, IMDSv2", (*Host).EC2, imdsV2, "hello", ec2, ""},
		{"EC2, no user-data", (*Host).EC2, pages(without(ec2Pages, "/2009-04-04/user-data")), "", ec2, ""},
		{"EC2, user-data alone", (*Host).EC2, pages(map[string]string{"/2009-04-04/": "", "/2009-04-04/user-data": "hello"}), "hello", Metadata{}, ""},
		{"EC2, a key is missing", (*Host).EC2, pages(without(ec2Pages, "/2009-04-04/meta-data/public-keys/1/openssh-key")), "", Metadata{}, `the key "you" is listed, and not there`},
		{"EC2, bad list of keys", (*Host).EC2, pages(with(ec2Pages, "/2009-04-04/meta-data/public-keys", "me")), "", Metadata{}, `"me" is not NUMBER=NAME`},
		{"EC2, keys elsewhere", (*Host).EC2, pages(with(ec2Pages, "/2009-04-04/meta-data/public-keys", "../../x=me")), "", Metadata{}, "is not NUMBER=NAME"},
		{"EC2, bad address", (*Host).EC2, pages(with(ec2Pages, "/2009-04-04/meta-data/local-ipv4", "fd00::1")), "", Metadata{}, `"fd00::1" as $private_ipv4 is no such address`},
		{"GCE", (*Host).GCE, wanting("Metadata-Flavor", "Google", pages(gcePages)), "hello",
			Metadata{Hostname: "web-1.c.example.internal", Addresses: map[string]string{"private_ipv4": "10.0.0.4"}}, ""},
		{"GCE, no user-data", (*Host).GCE, pages(without(gcePages, "/computeMetadata/v1/instance/attributes/user-data")), "",
			Metadata{Hostname: "web-1.c.example.internal", Addresses: map[string]string{"private_ipv4": "10.0.0.4"}}, ""},
		{"DigitalOcean", (*Host).DigitalOcean, pages(map[string]string{
			"/metadata/v1": "id\n", "/metadata/v1/user-data": "hello",
			"/metadata/v1.json": `{"hostname": "web-1", "public_keys": ["ssh-rsa A", "ssh-rsa A", ""], "interfaces": {
				"public": [{"ipv4": {"ip_address": "192.0.2.4"}, "ipv6": {"ip_address": "2001:DB8::4"}, "anchor_ipv4": {"ip_address": "10.9.0.4"}}],
				"private": [{"ipv4": {"ip_address": "10.0.0.4"}}]}}`,
		}), "hello", Metadata{Hostname: "web-1", SSHKeys: []string{"ssh-rsa A"},
			Addresses: map[string]string{"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4", "public_ipv6": "2001:db8::4"}}, ""},
		{"DigitalOcean, bad metadata", (*Host).DigitalOcean, pages(map[string]string{"/metadata/v1": "", "/metadata/v1.json": "x"}), "", Metadata{}, "its metadata/v1.json: invalid character"},
		{"Packet", (*Host).Packet, pages(map[string]string{
			"/userdata": "hello",
			"/metadata": `{"hostname": "web-1", "ssh_keys": ["ssh-rsa A"], "network": {"addresses": [
				{"address": "192.0.2.4", "public": true, "address_family": 4}, {"address": "2001:db8::4", "public": true, "address_family": 6},
				{"address": "10.0.0.4", "public": false}, {"address": "192.0.2.99", "public": true}]}}`,
		}), "hello", Metadata{Hostname: "web-1", SSHKeys: []string{"ssh-rsa A"},
			Addresses: map[string]string{"private_ipv4": "10.0.0.4", "public_ipv4": "192.0.2.4", "public_ipv6": "2001:db8::4"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, _ := serve(t, c.handler)
			h := fast()
			s, err := c.from(h, base)
			if err != nil {
				t.Fatal(err)
			}
			found, err := h.First(context.Background(), 0, s)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("%v; want %s", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, found.Metadata); err != nil || diff != "" || string(found.UserData) != c.data || !found.Shared {
				t.Errorf("%q, shared %v, %v (-want +got):\n%s", found.UserData, found.Shared, err, diff)
			}
		})
	}
}

// What a service says on its way up is no reason to do without it.
func TestServiceThatComesLate(t *testing.T) {
	base, requests := serve(t, func() http.HandlerFunc {
		late := twice(status(http.StatusNotFound))
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/2009-04-04/" {
				late(w, r)
				return
			}
			pages(ec2Pages)(w, r)
		}
	}())
	h := fast()
	s, err := h.EC2(base)
	if err != nil {
		t.Fatal(err)
	}
	found, err := h.First(context.Background(), time.Hour, s)
	if err != nil || string(found.UserData) != "hello" {
		t.Errorf("%q, %v", found.UserData, err)
	}
	if requests.Load() < 8 {
		t.Errorf("only %d requests", requests.Load())
	}
}

// A service that takes the question and never answers keeps nobody from another
// one, and is let go of.
func TestServiceThatHangs(t *testing.T) {
	asked, left := make(chan struct{}), make(chan struct{})
	hanging, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})
	there, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/2009-04-04/" {
			<-asked // for the other one to be in the middle of it
		}
		pages(ec2Pages)(w, r)
	})
	h := fast()
	url, err := h.URL(hanging)
	if err != nil {
		t.Fatal(err)
	}
	ec2, err := h.EC2(there)
	if err != nil {
		t.Fatal(err)
	}
	found, err := h.First(context.Background(), time.Hour, url, ec2)
	if err != nil || string(found.UserData) != "hello" {
		t.Errorf("%q, %v", found.UserData, err)
	}
	<-left
}
