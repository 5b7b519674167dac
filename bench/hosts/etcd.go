package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// member is one host's etcd as a client on this machine sees it, by its JSON
// gateway: what it says is etcd's own word, not fleet's.
type member struct{ *platform.Host }

// asking bounds one request: a member whose leader has just died holds some back.
const asking = 2 * time.Second

// asker makes a connection for each request: hosts come and go, and with them
// whoever was at the other end of an earlier one.
var asker = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (m member) request(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.IP()+":2379"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := asker.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("etcd on %s: %s: %s: %s", m.Name(), path, resp.Status, text)
	}
	return text, err
}

// ask is one call of etcd's API; numbers come as strings.
func (m member) ask(ctx context.Context, path string, question map[string]any, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	text, err := m.request(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("etcd on %s: %s: %w: %s", m.Name(), path, err, text)
	}
	return nil
}

// status tells who this member is, and who leads.
func (m member) status(ctx context.Context) (id, leader string, err error) {
	var s struct {
		Header struct {
			MemberID string `json:"member_id"`
		} `json:"header"`
		Leader string `json:"leader"`
	}
	err = m.ask(ctx, "/v3/maintenance/status", map[string]any{}, &s)
	return s.Header.MemberID, s.Leader, err
}

// leadEtcd makes a host's etcd the leader.
func (b *bench) leadEtcd(ctx context.Context, to *platform.Host) error {
	id, _, err := member{to}.status(ctx)
	if err != nil {
		return err
	}
	for _, h := range b.Hosts {
		self, leader, err := member{h}.status(ctx)
		if err != nil {
			return err
		}
		if self == leader && self != id {
			return member{h}.ask(ctx, "/v3/maintenance/transfer-leadership", map[string]any{"targetID": id}, &struct{}{})
		}
	}
	return nil
}

// pair is a key with its value and its lease.
type pair struct {
	Key, Value     []byte
	Lease          string
	CreateRevision string `json:"create_revision"`
}

// list gives all below a prefix of fleet's, and etcd's revision, as this member
// knows them.
func (m member) list(ctx context.Context, prefix string) (all []pair, revision int64, err error) {
	key := "/_coreos.com/fleet/" + prefix
	end := []byte(key)
	end[len(end)-1]++
	var resp struct {
		Header struct{ Revision string }
		Kvs    []pair
	}
	err = m.ask(ctx, "/v3/kv/range", map[string]any{
		"key": base64.StdEncoding.EncodeToString([]byte(key)), "range_end": base64.StdEncoding.EncodeToString(end),
		"sort_order": "ASCEND", "sort_target": "CREATE", "serializable": true,
	}, &resp)
	if err != nil {
		return nil, 0, err
	}
	revision, err = strconv.ParseInt(resp.Header.Revision, 10, 64)
	return resp.Kvs, revision, err
}

// engineLeader is the host whose engine leads.
func (b *bench) engineLeader(ctx context.Context) (*platform.Host, error) {
	keys, _, err := member{b.Any()}.list(ctx, "leader/")
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		for _, h := range b.Hosts {
			if h.MachineID() == string(keys[0].Value) {
				return h, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody leads: there are %d candidates", len(keys))
}

// remaining is how many whole seconds are left of a machine's lease.
func (m member) remaining(ctx context.Context, lease string) (int, error) {
	var resp struct{ TTL string }
	if err := m.ask(ctx, "/v3/lease/timetolive", map[string]any{"ID": lease}, &resp); err != nil {
		return 0, err
	}
	return strconv.Atoi(resp.TTL)
}

// counters are a member's metrics of some names, each summed over its labels
// that contain a text.
func (m member) counters(ctx context.Context, wanted map[string]string) (map[string]float64, error) {
	text, err := m.request(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	sums := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		for as, of := range wanted {
			metric, labels, _ := strings.Cut(of, "{")
			if is, has, _ := strings.Cut(name, "{"); is == metric && strings.Contains(has, labels) {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return nil, fmt.Errorf("etcd on %s: its metric %s: %w", m.Name(), name, err)
				}
				sums[as] += v
			}
		}
	}
	return sums, nil
}
