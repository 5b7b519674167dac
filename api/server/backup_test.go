package server_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

func (f *fixture) backup() api.Backup {
	f.t.Helper()
	var b api.Backup
	if err := json.Unmarshal([]byte(f.want(200, "GET", "backup", "", "")), &b); err != nil {
		f.t.Fatal(err)
	}
	return b
}

func TestBackup(t *testing.T) {
	f := newFixture(t, server.Options{Version: "2.3.4"})
	empty := f.backup()
	if diff := cmp.Diff(api.Backup{
		Cluster: "test", Schema: "1.0.0", Version: "2.3.4", Revision: empty.Revision,
		Units: []api.BackupUnit{}, Files: []api.BackupFile{}, Machines: []api.MachineOverrides{},
	}, empty); diff != "" {
		t.Errorf("of an empty cluster: %s", diff)
	}

	const odd = "[Unit]\r\nDescription=a\t \r\n[Service]\nExecStart=/bin/true"
	f.want(201, "PUT", "units/web@2.service", body(m{"text": web, "desiredState": "launched"}), "")
	f.want(201, "PUT", "units/web@1.service", body(m{"text": web, "desiredState": "loaded"}), "")
	f.want(201, "PUT", "units/odd.service", body(m{"text": odd}), "")
	f.want(201, "PUT", "units/gone.service", body(m{"text": "[Unit]\nDescription=Gone\n"}), "")
	f.want(204, "DELETE", "units/gone.service", "", "")
	words := m{"metadata": m{"disk": "ssd"}, "removed": []string{"region"}, "cordoned": true}
	f.want(204, "PATCH", "machines", body([]m{{"op": "replace", "path": "/" + string(node2) + "/overrides", "value": words}}), "")
	// Of a machine that isn't there, and of one of which nothing is said any more.
	f.want(204, "PATCH", "machines", body([]m{
		{"op": "replace", "path": "/33333333333333333333333333333333/overrides", "value": m{"cordoned": true}},
		{"op": "replace", "path": "/" + string(node1) + "/overrides", "value": m{}},
	}), "")
	got := f.backup()
	if got.Revision <= empty.Revision {
		t.Errorf("revision %d, before all that %d", got.Revision, empty.Revision)
	}
	hash, oddHash := unit.HashOf([]byte(web)), unit.HashOf([]byte(odd))
	files := []api.BackupFile{{Hash: hash, Text: web}, {Hash: oddHash, Text: odd}}
	if oddHash < hash {
		files[0], files[1] = files[1], files[0]
	}
	if diff := cmp.Diff(api.Backup{
		Cluster: "test", Schema: "1.0.0", Version: "2.3.4", Revision: got.Revision,
		Units: []api.BackupUnit{{Name: "odd.service", DesiredState: "inactive", Hash: oddHash}, {Name: "web@1.service", DesiredState: "loaded", Hash: hash}, {Name: "web@2.service", DesiredState: "launched", Hash: hash}},
		Files: files,
		Machines: []api.MachineOverrides{
			{ID: string(node2), Metadata: map[string]string{"disk": "ssd"}, Removed: []string{"region"}, Cordoned: true},
			{ID: "33333333333333333333333333333333", Cordoned: true},
		},
	}, got); diff != "" {
		t.Error(diff)
	}

	f.cluster.Break(errors.New("the cable is cut"))
	f.want(503, "GET", "backup", "", "the cable is cut")
}

// What etcd lacks, or holds though fleet didn't put it there, is told as it is.
func TestBackupOfWhatOthersWrote(t *testing.T) {
	f := newFixture(t, server.Options{})
	v := f.cluster.View()
	binary := []byte("[Unit]\nDescription=\xff\n")
	h := unit.HashOf(binary)
	v.Files[h] = binary
	v.Units["binary.service"] = record.Unit{File: h, Target: unit.TargetInactive}
	v.Units["lost.service"] = record.Unit{File: "feed", Target: unit.TargetLaunched}
	v.Overrides[machine.ID("4")] = record.Overrides{Removed: []string{"b", "a", "b"}}
	f.cluster.Fill(v)
	got := f.backup()
	if diff := cmp.Diff(api.Backup{
		Cluster: "test", Schema: "1.0.0", Revision: got.Revision,
		Units:    []api.BackupUnit{{Name: "binary.service", DesiredState: "inactive", Hash: h}, {Name: "lost.service", DesiredState: "launched", Hash: "feed"}},
		Files:    []api.BackupFile{{Hash: h, Base64: "W1VuaXRdCkRlc2NyaXB0aW9uPf8K"}},
		Machines: []api.MachineOverrides{{ID: "4", Removed: []string{"a", "b"}}},
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Replacing a machine's overrides leaves nothing of what was said before, in the
// order of the patch.
func TestPatchReplacesOverrides(t *testing.T) {
	f := newFixture(t, server.Options{})
	of := "/" + string(node1)
	f.want(204, "PATCH", "machines", body([]m{
		{"op": "add", "path": of + "/metadata/old", "value": "1"}, {"op": "remove", "path": of + "/metadata/region"},
	}), "")
	f.want(204, "PATCH", "machines", body([]m{
		{"op": "replace", "path": of + "/overrides", "value": m{"metadata": m{"new": "2"}, "cordoned": true}},
		{"op": "add", "path": of + "/metadata/later", "value": "3"},
	}), "")
	want := record.Overrides{Metadata: map[string]string{"new": "2", "later": "3"}, Cordoned: true}
	if diff := cmp.Diff(want, f.cluster.View().Overrides[node1]); diff != "" {
		t.Error(diff)
	}
	f.want(204, "PATCH", "machines", body([]m{{"op": "remove", "path": of + "/metadata"}}), "")
	if !f.cluster.View().Overrides[node1].Cordoned {
		t.Error("taking back a machine's metadata took its cordon, too")
	}
	before := f.cluster.View().Overrides[node1]
	for name, bad := range map[string]m{
		"another op":          {"op": "add", "path": of + "/overrides", "value": m{}},
		"removal":             {"op": "remove", "path": of + "/overrides"},
		"null":                {"op": "replace", "path": of + "/overrides", "value": nil},
		"no value":            {"op": "replace", "path": of + "/overrides"},
		"a string":            {"op": "replace", "path": of + "/overrides", "value": "x"},
		"what nobody can say": {"op": "replace", "path": of + "/overrides", "value": m{"metadata": m{"a": "b,c"}}},
		"an empty key":        {"op": "replace", "path": of + "/overrides", "value": m{"removed": []string{""}}},
		"no machine":          {"op": "replace", "path": "/nobody/overrides", "value": m{}},
		"a key below":         {"op": "replace", "path": of + "/overrides/cordoned", "value": m{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := *f
			f.t = t
			f.want(400, "PATCH", "machines", body([]m{bad}), "")
		})
	}
	if diff := cmp.Diff(before, f.cluster.View().Overrides[node1]); diff != "" {
		t.Errorf("a refused patch changed: %s", diff)
	}
}
