package member

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const discoveryURL = "http://d/tok"

func TestDecide(t *testing.T) {
	dir := t.TempDir()
	file, fileWithURL := filepath.Join(dir, "etcd.yaml"), filepath.Join(dir, "url.yaml")
	for path, text := range map[string]string{file: "name: a\n", fileWithURL: "name: a\ndiscovery: " + discoveryURL + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	registered := &Note{Phase: PhaseRegistered, URL: discoveryURL}
	complete := &Note{Phase: PhaseComplete, URL: discoveryURL, InitialCluster: "a=http://10.0.0.1:2380"}
	learner := &Note{Phase: PhaseLearner, InitialCluster: "a=http://10.0.0.1:2380"}
	url := []string{"ETCD_DISCOVERY=" + discoveryURL}
	static := []string{"ETCD_INITIAL_CLUSTER=a=http://10.0.0.1:2380"}
	for _, tc := range []struct {
		name    string
		environ []string
		disk    Disk
		role    Role
		refused string // what a refusal says
	}{
		{"nothing anywhere", nil, Disk{}, RunAlone, ""},
		{"a URL", url, Disk{}, RunJoin, ""},
		{"static", static, Disk{}, RunEtcd, ""},
		{"DNS", []string{"ETCD_DISCOVERY_SRV=example.com"}, Disk{}, RunEtcd, ""},
		{"etcd's own discovery", []string{"ETCD_DISCOVERY_TOKEN=t", "ETCD_DISCOVERY_ENDPOINTS=http://d:2379"}, Disk{}, RunEtcd, ""},
		{"a URL beside static", append(url, static...), Disk{}, 0, "and so is ETCD_INITIAL_CLUSTER"},
		{"a URL beside DNS", append(url, "ETCD_DISCOVERY_SRV=example.com"), Disk{}, 0, "and so is ETCD_DISCOVERY_SRV"},
		{"a URL beside etcd's own discovery", append(url, "ETCD_DISCOVERY_ENDPOINTS=http://d:2379"), Disk{}, 0, "and so is ETCD_DISCOVERY_ENDPOINTS"},
		{"a URL for a cluster that exists", append(url, "ETCD_INITIAL_CLUSTER_STATE=existing"), Disk{}, 0, "ETCD_INITIAL_CLUSTER_STATE=existing"},
		{"a URL beside a file", append(url, "ETCD_CONFIG_FILE="+file), Disk{}, 0, "ETCD_CONFIG_FILE (" + file},
		{"a file", []string{"ETCD_CONFIG_FILE=" + file}, Disk{}, RunEtcd, ""},
		{"a file with a URL in it", []string{"ETCD_CONFIG_FILE=" + fileWithURL}, Disk{}, 0, "would pass over"},
		{"a proxy by a URL", append(url, "ETCD_PROXY=on"), Disk{}, RunProxy, ""},
		{"a proxy of a static cluster", append(static, "ETCD_PROXY=readonly"), Disk{}, RunProxy, ""},
		{"a proxy of nobody", []string{"ETCD_PROXY=on"}, Disk{}, 0, "nothing says who the members are"},

		{"a member never asks again", url, Disk{Log: true}, RunEtcd, ""},
		{"nor if its configuration is wrong now", append(url, static...), Disk{Log: true}, RunEtcd, ""},
		{"a member stays one", []string{"ETCD_PROXY=on"}, Disk{Log: true}, RunEtcd, ""},
		{"a member that was killed before it forgot", url, Disk{Log: true, Note: complete}, RunEtcd, ""},
		{"a proxy never asks again", url, Disk{Proxy: true}, RunProxy, ""},
		{"a proxy stays one", append(url, "ETCD_PROXY=off"), Disk{Proxy: true}, RunProxy, ""},
		{"both", url, Disk{Log: true, Proxy: true}, 0, "/data/proxy"},

		{"cut off while it joined", url, Disk{Note: registered}, RunJoin, ""},
		{"cut off before etcd ran", url, Disk{Note: complete}, RunNoted, ""},
		{"cut off while it was replaced", url, Disk{Note: learner}, RunNoted, ""},
		{"replaced, with another URL", []string{"ETCD_DISCOVERY=http://d/other"}, Disk{Note: learner}, RunNoted, ""},
		{"cut off, and the URL is another now", []string{"ETCD_DISCOVERY=http://d/other"}, Disk{Note: complete}, RunJoin, ""},
		{"cut off, and the URL is gone", nil, Disk{Note: registered}, 0, "which ETCD_DISCOVERY no longer names"},
		{"cut off, and static now", static, Disk{Note: registered}, RunEtcd, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _, err := Parse([]string{"--data-dir=/data"}, tc.environ, lookup)
			if err != nil {
				t.Fatal(err)
			}
			role, err := Decide(s, tc.disk)
			if tc.refused == "" && (err != nil || role != tc.role) {
				t.Errorf("role %d, and not %d: %v", role, tc.role, err)
			}
			if tc.refused != "" && (err == nil || !errors.As(err, new(*Refusal)) || !strings.Contains(err.Error(), tc.refused)) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNote(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s, _, err := Parse(nil, []string{"ETCD_DATA_DIR=" + dir}, lookup)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.ReadDisk(); err != nil || d != (Disk{}) {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, n := range []Note{
		{Phase: PhaseRegistered, URL: discoveryURL, Peer: "a=http://10.0.0.1:2380"},
		{Phase: PhaseComplete, URL: discoveryURL, Peer: "a=http://10.0.0.1:2380", InitialCluster: "a=http://10.0.0.1:2380", Token: discoveryURL},
	} {
		if err := s.WriteNote(n); err != nil {
			t.Fatal(err)
		}
		if d, err := s.ReadDisk(); err != nil || d.Note == nil || *d.Note != n || d.Log || d.Proxy {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "fleet", ".*")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	if err := os.WriteFile(s.notePath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadDisk(); err == nil || !errors.As(err, new(*Refusal)) || !strings.Contains(err.Error(), s.notePath()) {
		t.Errorf("a damaged one: %v", err)
	}
	if err := s.RemoveNote(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestReadDiskSeesData(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		environ    []string
		want       Disk
	}{
		{"a log", "member/wal/0.wal", nil, Disk{Log: true}},
		{"a log elsewhere", "wal/0.wal", []string{"ETCD_WAL_DIR=$/wal"}, Disk{Log: true}},
		{"a log that was being made", "member/wal.tmp/0.wal", nil, Disk{}},
		{"a snapshot directory alone", "member/snap/db", nil, Disk{}},
		{"etcd 2's proxy", "proxy/cluster", nil, Disk{Proxy: true}},
		{"an empty proxy", "proxy/", nil, Disk{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(tc.file+"x")), 0o700); err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(tc.file, "/") {
				if err := os.WriteFile(filepath.Join(dir, tc.file), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			environ := []string{"ETCD_DATA_DIR=" + dir}
			for _, e := range tc.environ {
				environ = append(environ, strings.ReplaceAll(e, "$", dir))
			}
			s, _, err := Parse(nil, environ, lookup)
			if err != nil {
				t.Fatal(err)
			}
			if d, err := s.ReadDisk(); err != nil || d != tc.want {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}
