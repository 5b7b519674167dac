package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sirupsen/logrus"
)

// tlsOf is what serves HTTPS with a certificate; nil without one. The files are
// read with each connection: a renewed certificate needs no restart, and while
// one is being written, the last that was good serves.
func tlsOf(certFile, keyFile string, log *logrus.Entry) (*tls.Config, error) {
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	if certFile == "" || keyFile == "" {
		return nil, errors.New("--cert-file and --key-file belong together: HTTPS needs both")
	}
	var good atomic.Pointer[tls.Certificate]
	read := func() error {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return fmt.Errorf("--cert-file %s --key-file %s: %w", certFile, keyFile, err)
		}
		good.Store(&pair)
		return nil
	}
	if err := read(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := read(); err != nil {
				log.WithError(err).Error("the certificate can't be read again: serving with the last one that could")
			}
			return good.Load(), nil
		},
	}, nil
}
