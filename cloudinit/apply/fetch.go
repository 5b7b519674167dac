package apply

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/vincent-petithory/dataurl"
	"golang.org/x/net/http/httpproxy"
)

const (
	maxResource = 256 << 20 // of one file, decompressed: files are held in memory
	maxConfig   = 8 << 20   // of a config that another one names

	headersTimeout = 10 * time.Second // Ignition's default
	fetchTimeout   = 5 * time.Minute  // Ignition has none: it would wait for ever
	retryMin       = 200 * time.Millisecond
	retryMax       = 5 * time.Second
)

// fetcher gets what a config names by URL.
type fetcher struct {
	client *http.Client
	total  time.Duration // of one resource, retries included
}

// newFetcher heeds a config's time limits, proxy and authorities. These may have
// to be fetched themselves: with the system's authorities.
func newFetcher(ctx context.Context, ign types.Ignition, instead http.RoundTripper) (*fetcher, error) {
	headers, total := headersTimeout, fetchTimeout
	if s := ign.Timeouts.HTTPResponseHeaders; s != nil {
		headers = time.Duration(*s) * time.Second
	}
	if s := ign.Timeouts.HTTPTotal; s != nil && *s > 0 {
		total = time.Duration(*s) * time.Second
	}
	proxy := httpproxy.FromEnvironment()
	if p := ign.Proxy; p.HTTPProxy != nil || p.HTTPSProxy != nil || len(p.NoProxy) > 0 {
		proxy = &httpproxy.Config{HTTPProxy: orEmpty(p.HTTPProxy), HTTPSProxy: orEmpty(p.HTTPSProxy)}
		if p.HTTPSProxy == nil {
			proxy.HTTPSProxy = proxy.HTTPProxy
		}
		for _, no := range p.NoProxy {
			proxy.NoProxy += string(no) + ","
		}
	}
	via := proxy.ProxyFunc()
	transport := &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return via(r.URL) },
		ResponseHeaderTimeout: headers,
		TLSHandshakeTimeout:   headersTimeout,
		DisableCompression:    true, // or a verification would be of something else
		DisableKeepAlives:     true,
	}
	f := &fetcher{client: &http.Client{Transport: transport}, total: total}
	if instead != nil {
		f.client.Transport = instead
		return f, nil
	}
	if len(ign.Security.TLS.CertificateAuthorities) == 0 {
		return f, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, ca := range ign.Security.TLS.CertificateAuthorities {
		pem, err := f.get(ctx, ca, maxConfig)
		if err != nil {
			return nil, fmt.Errorf("ignition.security.tls.certificateAuthorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ignition.security.tls.certificateAuthorities: %s holds no certificate in PEM", shown(ca))
		}
	}
	transport = transport.Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	f.client = &http.Client{Transport: transport}
	return f, nil
}

// shown names a resource without what may be a secret in it.
func shown(r types.Resource) string {
	u, err := url.Parse(orEmpty(r.Source))
	if err != nil || u.Scheme == "data" {
		return "a data: URL"
	}
	u.RawQuery = ""
	return u.Redacted()
}

// get gives a resource's content, decompressed and verified.
func (f *fetcher) get(ctx context.Context, r types.Resource, max int64) ([]byte, error) {
	source := orEmpty(r.Source)
	u, err := url.Parse(source)
	if err != nil {
		return nil, errors.New("its source is no URL") // the error would quote it, with what is secret in it
	}
	var data []byte
	switch u.Scheme {
	case "":
		if source != "" {
			return nil, fmt.Errorf("%q is no URL", source)
		}
	case "data":
		d, err := dataurl.DecodeString(source)
		if err != nil {
			return nil, fmt.Errorf("its data: URL can't be read: %w", err)
		}
		data = d.Data
	case "http", "https":
		if data, err = f.download(ctx, u, r, max); err != nil {
			return nil, fmt.Errorf("fetching %s: %w", shown(r), err)
		}
	default:
		return nil, fmt.Errorf("%s: %s: URLs are fetched only by Ignition itself: use https or data", shown(r), u.Scheme)
	}
	if data, err = decompress(data, orEmpty(r.Compression), max); err != nil {
		return nil, fmt.Errorf("%s: %w", shown(r), err)
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("%s is larger than %d MiB", shown(r), max>>20)
	}
	if sum := hashOf(r.Verification, data); sum != orEmpty(r.Verification.Hash) {
		return nil, fmt.Errorf("%s has the hash %s, but the config wants %s", shown(r), sum, *r.Verification.Hash)
	}
	return data, nil
}

func decompress(data []byte, how string, max int64) ([]byte, error) {
	switch how {
	case "":
		return data, nil
	case "gzip":
	default:
		return nil, fmt.Errorf("its compression %q isn't known: there is gzip", how)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("it isn't gzip: %w", err)
	}
	if data, err = io.ReadAll(io.LimitReader(z, max+1)); err != nil {
		return nil, fmt.Errorf("it isn't whole gzip: %w", err)
	}
	return data, nil
}

// hashOf gives the hash of a content in the form of the verification; "" if
// there is none.
func hashOf(v types.Verification, data []byte) string {
	kind, _, _ := strings.Cut(orEmpty(v.Hash), "-")
	switch kind {
	case "sha256":
		sum := sha256.Sum256(data)
		return "sha256-" + hex.EncodeToString(sum[:])
	case "sha512":
		sum := sha512.Sum512(data)
		return "sha512-" + hex.EncodeToString(sum[:])
	}
	return ""
}

// finalError is an answer that trying again won't better.
type finalError struct{ error }

// download tries until time is up, as the network or the server may still be
// coming up.
func (f *fetcher) download(ctx context.Context, u *url.URL, r types.Resource, max int64) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, f.total)
	defer cancel()
	headers, err := r.HTTPHeaders.Parse()
	if err != nil {
		return nil, err
	}
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		data, err := f.once(limited, u, headers, max)
		if err == nil || errors.As(err, new(finalError)) {
			return data, err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return nil, fmt.Errorf("%w; the last try: %w", ctx.Err(), err)
			}
			return nil, fmt.Errorf("no success in %s, the last time: %w", f.total, err)
		case <-time.After(pause):
		}
	}
}

func (f *fetcher) once(ctx context.Context, u *url.URL, headers http.Header, max int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, finalError{err}
	}
	req.Header = headers.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "fleetd-cloudinit")
	}
	resp, err := f.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // it would quote the whole URL
		}
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) {
			return nil, finalError{err}
		}
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, errors.New(resp.Status)
	case resp.StatusCode != http.StatusOK:
		return nil, finalError{errors.New(resp.Status)}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, finalError{fmt.Errorf("it is larger than %d MiB", max>>20)}
	}
	return data, nil
}
