package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"
)

// tlsFiles are the files for TLS to etcd; all may be empty.
type tlsFiles struct{ ca, cert, key string }

// config reads the files as they are now.
func (f tlsFiles) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("etcd_cafile: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd_cafile %s: there is no PEM certificate in it", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		cert, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("etcd_certfile %s, etcd_keyfile %s: %w", orNone(f.cert), orNone(f.key), err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// expired says that the certificate is, if it is; for a message.
func (f tlsFiles) expired() string {
	cfg, err := f.config()
	if err != nil || len(cfg.Certificates) == 0 || cfg.Certificates[0].Leaf == nil {
		return ""
	}
	if end := cfg.Certificates[0].Leaf.NotAfter; time.Now().After(end) {
		return fmt.Sprintf(" (it expired at %s)", end.Format(time.RFC3339))
	}
	return ""
}
