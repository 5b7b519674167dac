package member

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/fleet-project/fleet/discovery/token"
	"go.etcd.io/etcd/server/v3/embed"
	"sigs.k8s.io/yaml"
)

// peer is what this host registers as.
func (s Settings) peer() token.Peer { return token.Peer{Name: s.Name, URLs: s.peerURLs()} }

// checkPeer refuses what others could not reach this host by. A registration is
// for good, so it must be right.
func (s Settings) checkPeer() error {
	const example = "set ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$private_ipv4:2380"
	if len(s.AdvertisePeerURLs) == 0 {
		return refuse("by which address shall the other members reach this one? etcd's default, %s, is every host's own: %s", embed.DefaultInitialAdvertisePeerURLs, example)
	}
	if err := token.CheckName(s.Name); err != nil {
		return refuse("ETCD_NAME: %w", err)
	}
	for _, u := range s.AdvertisePeerURLs {
		if u.Hostname() == "" {
			return refuse("ETCD_INITIAL_ADVERTISE_PEER_URLS: %s has no address in it; was $private_ipv4 empty where it was written? %s, and fleetd etcd fills it in", &u, example)
		}
		if err := token.CheckPeerURL(u.String()); err != nil {
			return refuse("ETCD_INITIAL_ADVERTISE_PEER_URLS: %w", err)
		}
		if !s.values.has("listen-peer-urls") && !isLoopback(u.Hostname()) {
			return refuse("ETCD_LISTEN_PEER_URLS is not set, so etcd would listen on %s only, and the others would come to %s in vain: set it", embed.DefaultListenPeerURLs, &u)
		}
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkStart tries what can be tried of starting etcd without starting it.
func (s Settings) checkStart() error {
	cfg, err := s.values.etcd()
	if err != nil {
		return &Refusal{err}
	}
	if err := cfg.Validate(); err != nil {
		return &Refusal{err}
	}
	if err := errors.Join(
		checkTLS("peer", cfg.ListenPeerUrls, cfg.PeerTLSInfo.CertFile, cfg.PeerTLSInfo.KeyFile, cfg.PeerAutoTLS),
		checkTLS("client", cfg.ListenClientUrls, cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile, cfg.ClientAutoTLS),
		checkFile("ETCD_PEER_TRUSTED_CA_FILE", cfg.PeerTLSInfo.TrustedCAFile),
		checkFile("ETCD_TRUSTED_CA_FILE", cfg.ClientTLSInfo.TrustedCAFile)); err != nil {
		return err
	}
	for name, urls := range map[string][]url.URL{
		"ETCD_LISTEN_PEER_URLS": cfg.ListenPeerUrls, "ETCD_LISTEN_CLIENT_URLS": cfg.ListenClientUrls,
		"ETCD_LISTEN_CLIENT_HTTP_URLS": cfg.ListenClientHttpUrls, "ETCD_LISTEN_METRICS_URLS": cfg.ListenMetricsUrls,
	} {
		if err := checkListen(name, urls); err != nil {
			return err
		}
	}
	return nil
}

// checkConfigFile refuses a file with a discovery URL in it: etcd would pass over
// it, and form a cluster of its own. What else is in it is etcd's to say.
func checkConfigFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("ETCD_CONFIG_FILE: %w", err)
	}
	var file struct {
		Discovery string `json:"discovery"`
	}
	if err := yaml.Unmarshal(text, &file); err == nil && file.Discovery != "" {
		return refuse("%s has a discovery URL, which etcd 3.7 would pass over: with a URL, configure etcd by ETCD_* or its flags, not by a file", path)
	}
	return nil
}

// checkTLS loads a certificate if one is needed.
func checkTLS(who string, listen []url.URL, cert, key string, auto bool) error {
	prefix := map[string]string{"peer": "ETCD_PEER_", "client": "ETCD_"}[who]
	for _, u := range listen {
		if u.Scheme != "https" && u.Scheme != "unixs" || auto {
			continue
		}
		if cert == "" || key == "" {
			return refuse("%sCERT_FILE and %[1]sKEY_FILE are needed to listen on %s", prefix, &u)
		}
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			return fmt.Errorf("%[1]sCERT_FILE=%[2]s and %[1]sKEY_FILE=%[3]s: %[4]w", prefix, cert, key, err)
		}
		return nil
	}
	return nil
}

func checkFile(name, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.ReadFile(path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkListen sees whether etcd can listen where it shall.
func checkListen(name string, urls []url.URL) error {
	for _, u := range urls {
		if u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		l, err := net.Listen("tcp", u.Host)
		if err != nil {
			return fmt.Errorf("%s: cannot listen on %s (is another etcd running? is the address this host's?): %w", name, &u, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
