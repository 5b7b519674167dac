// Package peers asks the members of an etcd cluster what every peer may know, at
// their peer URLs: who the members are. Unlike the client URLs, which may want a user and a
// password, these want at most a peer's certificate. It decides nothing.
package peers

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

// Member is a member as members tell of it.
type Member struct {
	ID         uint64   `json:"id"`
	Name       string   `json:"name,omitempty"` // "": it has not started yet
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	Learner    bool     `json:"isLearner,omitempty"`
}

// String names it, for people.
func (m Member) String() string {
	name := m.Name
	if name == "" {
		name = "not started yet"
	}
	return fmt.Sprintf("%x (%s, %s)", m.ID, name, strings.Join(m.PeerURLs, ","))
}

// Asker asks with a peer's certificate.
type Asker struct{ http *http.Client }

// New makes one.
func New(info transport.TLSInfo) (*Asker, error) {
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("the files of ETCD_PEER_*: %w", err)
	}
	cfg.ServerName = info.ServerName // else each member's own
	return &Asker{&http.Client{
		Transport: &http.Transport{TLSClientConfig: cfg, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		Timeout:   askTimeout,
	}}, nil
}

// Close ends the connections.
func (a *Asker) Close() { a.http.CloseIdleConnections() }

// Ask gives what the member at that URL says, and the cluster that it is of.
func (a *Asker) Ask(ctx context.Context, peerURL string) (cluster string, members []Member, err error) {
	resp, text, err := a.do(ctx, http.MethodGet, peerURL, "/members")
	if err != nil {
		return "", nil, err
	}
	cluster = resp.Header.Get(clusterHeader)
	if resp.StatusCode != http.StatusOK || cluster == "" || json.Unmarshal(text, &members) != nil || len(members) == 0 {
		return "", nil, fmt.Errorf("what listens there does not answer as etcd does at a peer URL (%s)", resp.Status)
	}
	return cluster, members, nil
}

// Errors of Promote.
var (
	// ErrNotReady says that the learner has not caught up yet.
	ErrNotReady = errors.New("the learner is not in sync yet")
	// ErrForbidden says that etcd wants a user for that, as it does once it has users.
	ErrForbidden = errors.New("etcd lets only its users do that")
)

// Promote has the member at that URL see to it that a learner becomes a full member.
func (a *Asker) Promote(ctx context.Context, peerURL string, id uint64) error {
	resp, text, err := a.do(ctx, http.MethodPost, peerURL, fmt.Sprintf("/members/promote/%d", id))
	said := strings.TrimSpace(string(text))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusOK:
		return nil
	case strings.Contains(said, "in sync with leader"):
		return ErrNotReady
	case strings.Contains(said, "user name is empty"), strings.Contains(said, "permission denied"):
		return ErrForbidden
	}
	return fmt.Errorf("%s: %.200s", resp.Status, said)
}

func (a *Asker) do(ctx context.Context, method, peerURL, path string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(peerURL, "/")+path, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, nil, reason(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, reason(err)
	}
	return resp, text, nil
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
