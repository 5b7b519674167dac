package functional

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/fleet-project/fleet/functional/platform"
)

const prefix = "/_coreos.com/fleet/"

// etcd asks a host's etcd by its own HTTP gateway, as somebody with etcdctl
// would.
func (w *world) etcd(h *platform.Host, verb string, body map[string]any) string {
	w.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.run(h, fmt.Sprintf("curl -sf -X POST http://127.0.0.1:2379/v3/kv/%s -d '%s'", verb, b))
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// past is the end of the range of all keys with a prefix.
func past(p string) string { return p[:len(p)-1] + string(p[len(p)-1]+1) }

// deletePrefix deletes all keys with a prefix by hand, and gives how many.
func (w *world) deletePrefix(h *platform.Host, p string) int {
	w.t.Helper()
	var resp struct{ Deleted string }
	out := w.etcd(h, "deleterange", map[string]any{"key": b64(p), "range_end": b64(past(p))})
	if err := json.Unmarshal([]byte(out), &resp); err != nil {
		w.t.Fatalf("%s: %v", out, err)
	}
	n, _ := strconv.Atoi(resp.Deleted) // absent when none
	return n
}

func (w *world) deleteKey(h *platform.Host, key string) {
	w.t.Helper()
	w.etcd(h, "deleterange", map[string]any{"key": b64(key)})
}

func (w *world) put(h *platform.Host, key, value string) {
	w.t.Helper()
	w.etcd(h, "put", map[string]any{"key": b64(key), "value": b64(value)})
}

type etcdRange struct {
	Header struct{ Revision string }
	Kvs    []struct{ Key, Value, Lease string }
}

// get reads all keys with a prefix.
func (w *world) get(h *platform.Host, p string) etcdRange {
	w.t.Helper()
	var resp etcdRange
	out := w.etcd(h, "range", map[string]any{"key": b64(p), "range_end": b64(past(p))})
	if err := json.Unmarshal([]byte(out), &resp); err != nil {
		w.t.Fatalf("%s: %v", out, err)
	}
	for i, kv := range resp.Kvs {
		k, _ := base64.StdEncoding.DecodeString(kv.Key)
		v, _ := base64.StdEncoding.DecodeString(kv.Value)
		resp.Kvs[i].Key, resp.Kvs[i].Value = string(k), string(v)
	}
	return resp
}

// revision is etcd's: it grows with every write.
func (w *world) revision(h *platform.Host) string {
	w.t.Helper()
	return w.get(h, prefix+"cluster").Header.Revision
}
