package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/fleet-project/fleet/unit"
)

// prefix is of all fleet's keys.
const prefix = "/_coreos.com/fleet/"

// sh runs a shell line on a host and gives what it says.
func sh(ctx context.Context, h *platform.Host, line string) (string, error) {
	out, err := h.Run(ctx, "sh", "-ec", line)
	return strings.TrimSpace(out), err
}

// etcd asks a host's etcd by its HTTP gateway.
func etcd(ctx context.Context, h *platform.Host, path string, question map[string]any, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	out, err := sh(ctx, h, fmt.Sprintf("curl -sf -m 10 http://127.0.0.1:2379/v3/%s -d '%s'", path, body))
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("etcd's answer to %s on %s: %w", path, h.Name(), err)
	}
	return nil
}

// keys are all of fleet's keys, without the prefix, with their values.
func keys(ctx context.Context, h *platform.Host) (map[string][]byte, error) {
	var answer struct {
		Kvs []struct{ Key, Value []byte }
	}
	end := prefix[:len(prefix)-1] + "0" // what follows the slash
	err := etcd(ctx, h, "kv/range", map[string]any{"key": []byte(prefix), "range_end": []byte(end)}, &answer)
	all := map[string][]byte{}
	for _, kv := range answer.Kvs {
		all[strings.TrimPrefix(string(kv.Key), prefix)] = kv.Value
	}
	return all, err
}

// unitsOf reads the units off the keys.
func unitsOf(keys map[string][]byte) (map[unit.Name]stored, error) {
	all := map[unit.Name]stored{}
	for key, value := range keys {
		name, is := strings.CutPrefix(key, "units/")
		if !is {
			continue
		}
		var s stored
		if err := json.Unmarshal(value, &s); err != nil {
			return nil, fmt.Errorf("etcd's key %s: %w", key, err)
		}
		all[unit.Name(name)] = s
	}
	return all, nil
}

// compact has etcd forget all history, and free its room.
func (s *soak) compact(ctx context.Context, h *platform.Host) error {
	var answer struct{ Header struct{ Revision string } }
	if err := etcd(ctx, h, "kv/range", map[string]any{"key": base64.StdEncoding.EncodeToString([]byte(prefix))}, &answer); err != nil {
		return err
	}
	question := fmt.Sprintf(`{"revision":%q,"physical":true}`, answer.Header.Revision)
	said, err := sh(ctx, h, "curl -s -m 10 http://127.0.0.1:2379/v3/kv/compaction -d '"+question+"'")
	if err == nil && strings.Contains(said, `"code"`) && !strings.Contains(said, "has been compacted") { // nothing was written since
		err = fmt.Errorf("etcd on %s can't compact: %s", h.Name(), said)
	}
	return err
}

// leases is how many etcd has.
func leases(ctx context.Context, h *platform.Host) (int, error) {
	var answer struct{ Leases []struct{ ID string } }
	err := etcd(ctx, h, "lease/leases", map[string]any{}, &answer)
	return len(answer.Leases), err
}

// gauges reads metrics, summed up over their labels.
func gauges(ctx context.Context, h *platform.Host, curl string) (map[string]float64, error) {
	out, err := sh(ctx, h, "curl -sf -m 10 "+curl)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 || strings.HasPrefix(line, "#") {
			continue
		}
		v, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		name, _, _ := strings.Cut(f[0], "{")
		all[name] += v
	}
	return all, nil
}

// running are the units of a host that systemd has active.
func running(ctx context.Context, h *platform.Host) ([]unit.Name, error) {
	out, err := sh(ctx, h, "systemctl list-units --plain --no-legend --state=active,activating,deactivating,reloading '"+ours+"*' | awk '{print $1}'")
	var all []unit.Name
	for _, name := range strings.Fields(out) {
		all = append(all, unit.Name(name))
	}
	return all, err
}
