package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

const (
	// askTimeout bounds one question to a member: longer than its disk may take.
	askTimeout = 3 * time.Second
	// maxAnswer bounds the answer: far more than etcd's largest cluster needs.
	maxAnswer = 1 << 20
	// clusterHeader is in each answer at a peer URL.
	clusterHeader = "X-Etcd-Cluster-Id"
)

// asker asks members who the members are, at their peer URLs: unlike the client
// URLs, which may want a user and a password, they tell every peer.
type asker struct{ http *http.Client }

func newAsker(info transport.TLSInfo) (*asker, error) {
	cfg, err := clientConfig(info)
	if err != nil {
		return nil, fmt.Errorf("the files of ETCD_PEER_*: %w", err)
	}
	return &asker{&http.Client{
		Transport: &http.Transport{TLSClientConfig: cfg, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		Timeout:   askTimeout,
	}}, nil
}

func (a *asker) close() { a.http.CloseIdleConnections() }

// ask gives what the member at that URL says, and the cluster that it is of.
func (a *asker) ask(ctx context.Context, peerURL string) (string, []Member, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(peerURL, "/")+"/members", nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return "", nil, reason(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", nil, reason(err)
	}
	var members []Member
	cluster := resp.Header.Get(clusterHeader)
	if resp.StatusCode != http.StatusOK || cluster == "" || json.Unmarshal(text, &members) != nil || len(members) == 0 {
		return "", nil, fmt.Errorf("what listens there does not answer as etcd does at a peer URL (%s)", resp.Status)
	}
	return cluster, members, nil
}

// reason leaves out what the reader knows: the method and the URL.
func reason(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || !strings.Contains(err.Error(), "://") {
			return err
		}
		err = inner
	}
}
