package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// inProcess sends the request so many times on a connection that is open, and
// tells how long each took until its answer was read.
func inProcess(socket string, runs int) ([]time.Duration, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	var took []time.Duration
	for range runs {
		began := time.Now()
		answer, err := client.Get(url)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s", url, answer.Status)
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
